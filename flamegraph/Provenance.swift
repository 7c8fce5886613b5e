/// The lines at the foot of the picture: what was counted, what is not shown, what could not be read, the caller's notes.
func footLines(_ stacks: borrowing FoldedStacks, _ layout: Layout, _ options: FlamegraphOptions) -> [String] {
    var lines: [String] = []
    if !stacks.isEmpty {
        let total = amountText(stacks.total, stacks, options)
        let stackCount = decimalText(UInt64(stacks.stackCount), decimals: 0, grouped: true)
        let drawn = decimalText(UInt64(layout.boxes.count - 1), decimals: 0, grouped: true)
        let difference = stacks.isDifference
        var line = (difference ? differenceText(stacks, options) : "\(total)\(eventText(stacks, options))")
        line += " in \(stackCount) \(stacks.stackCount == 1 ? "stack" : "stacks")"
        if layout.hiddenFrames == 0 {
            line += layout.boxes.count == 2 ? " · its only frame drawn" : " · all \(drawn) frames drawn"
        } else {
            let frames = decimalText(UInt64(stacks.frameCount), decimals: 0, grouped: true)
            let hidden = decimalText(UInt64(layout.hiddenFrames), decimals: 0, grouped: true)
            let share = percentText(layout.hiddenWeight, of: stacks.total)
            line += " · \(drawn) of \(frames) frames drawn · \(hidden) narrower than \(percentNumber(options.minWidth)) %"
            line += " hidden; \(share) of all \(nanoseconds(of: options.countName) == nil ? "\(options.countName) pass" : "time passes") through hidden frames"
        }
        lines.append(line)
    }
    if stacks.isDifference, !stacks.isEmpty {
        let judged =
            "a box is as wide as the mean of both; grey: differences that sampling alone makes in 19 of 20 cases; "
            + "a band at the upper edge: more, at the lower edge: less"
        let unknown =
            "a box is as wide as the mean of both; nothing says what one sample weighs, so sampling noise is unknown and no "
            + "difference is coloured: --sample-weight names it"
        lines.append(options.difference.sampleWeight == nil ? unknown : judged)
    }
    if stacks.rejectedCount > 0 {
        let count = decimalText(UInt64(stacks.rejectedCount), decimals: 0, grouped: true)
        let first = stacks.rejectedLines.first.map { ", the first at \($0)" } ?? ""
        lines.append("\(count) input \(stacks.rejectedCount == 1 ? "line" : "lines") could not be read\(first)")
    }
    lines.append(contentsOf: options.notes)
    return lines
}

/// The nanoseconds of a unit of time; nil for counts.
private func nanoseconds(of unit: String) -> Double? {
    ["ns": 1, "nanoseconds": 1, "us": 1e3, "microseconds": 1e3, "ms": 1e6, "milliseconds": 1e6][unit]
}

/// A weight with its unit; a time with three digits.
private func amountText(_ weight: UInt64, _ stacks: borrowing FoldedStacks, _ options: FlamegraphOptions) -> String {
    guard let scale = nanoseconds(of: options.countName) else {
        return "\(decimalText(weight, decimals: stacks.decimals, grouped: true)) \(options.countName)"
    }
    var time = Double(weight) * scale
    for _ in 0..<stacks.decimals { time /= 10 }
    let (size, name) = [(1e9, "s"), (1e6, "ms"), (1e3, "us")].first { time >= $0.0 } ?? (1, "ns")
    let count = time / size
    // Of a hundred and more, whole ones have three digits.
    guard count < 100 else { return "\(decimalText(UInt64(count.rounded()), decimals: 0, grouped: true)) \(name) of time" }
    let places = count >= 10 ? 10.0 : 100.0, rounded = (count * places).rounded() / places
    return "\(rounded == rounded.rounded() ? String(Int(rounded)) : String(rounded)) \(name) of time"
}

/// What was counted, where the unit doesn't say it.
private func eventText(_ stacks: borrowing FoldedStacks, _ options: FlamegraphOptions) -> String {
    guard let event = stacks.measure.event, event != options.countName else { return "" }
    return " of \(event)"
}

private func differenceText(_ stacks: borrowing FoldedStacks, _ options: FlamegraphOptions) -> String {
    let before = stacks.weightBefore(FrameTree.root)
    let old = amountText(before, stacks, options), new = amountText(stacks.total - before, stacks, options)
    let scale = options.difference.beforeScale
    let scaled = scale == 1 ? "" : " (multiplied by \((scale * 10_000).rounded() / 10_000))"
    return "\(old) before\(scaled), \(new) after,"
}

/// A share in percent with two digits after the point; what is too little to show is not shown as nothing.
func percentText(_ part: UInt64, of total: UInt64) -> String {
    if part == 0 || total == 0 { return "0 %" }
    if part == total { return "100 %" }
    let hundredths = (Double(part) / Double(total) * 10_000).rounded()
    if hundredths < 1 { return "<0.01 %" }
    if hundredths >= 10_000 { return ">99.99 %" }
    let value = Int(hundredths)
    let fraction = value % 100
    return "\(value / 100).\(fraction < 10 ? "0" : "")\(fraction) %"
}

/// A percentage as given by the caller, without a fraction when it has none.
private func percentNumber(_ percent: Double) -> String {
    percent == percent.rounded() ? String(Int(percent)) : String(percent)
}

/// Breaks a line at blanks into pieces of at most that many columns. A longer word stands on its own line.
func wrapped(_ line: String, columns: Int) -> [String] {
    var rows: [String] = []
    var row = ""
    for word in line.split(separator: " ", omittingEmptySubsequences: true) {
        if !row.isEmpty, row.count + 1 + word.count > columns {
            rows.append(row)
            row = ""
        }
        row += row.isEmpty ? word : " " + word
    }
    if !row.isEmpty { rows.append(row) }
    return rows
}
