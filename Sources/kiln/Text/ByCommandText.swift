import KilnModel

/// What the target's threads worked on, as tables: the CPU, and time off it.
struct ByCommandText {
    let record: SessionRecord
    /// The number of functions that are shown of each row.
    let top: Int
    let tableRows: Int

    var lines: [Line] {
        let keptLines = KeptCallsText(record, tableRows: tableRows)?.lines ?? []
        guard let byCommand = record.samples.byCommand else { return keptLines }
        return keptLines + cpuTable(byCommand) + waitTable(byCommand) + reasons(byCommand.rest)
    }

    /// A row for each command with samples, then the rest; below each row the functions that were sampled most as the innermost frame.
    private func cpuTable(_ byCommand: SessionRecord.ByCommand) -> [Line] {
        let (rows, left) = shown(byCommand.commands, byCommand.rest) { $0.samples != 0 }
        guard !rows.isEmpty else { return [] }
        var table = Table(["CPU BY COMMAND", "of CPU", "95 % interval", "samples", "calls", "exec", "read", "reply"], leftAligned: 1)
        for row in rows {
            let phases = [row.execSamples, row.readSamples, row.replySamples].map { count in
                count.map { Self.percent((row.share ?? 0) * Double($0) / Double(max(row.samples, 1))) + " %" } ?? "-"
            }
            table.add(
                [title(row), row.share.map { Self.percent($0) + " %" } ?? "-", interval(row), grouped(row.samples), row.calls.map(grouped) ?? "-"] + phases
            )
        }
        let lines = [Line].table(table.lines)
        return lines.prefix(1) + zip(lines.dropFirst(), rows).flatMap { [$0] + functions(of: $1) } + left
    }

    private func functions(of row: SessionRecord.WorkRow) -> [Line] {
        guard top > 0, !row.functions.isEmpty else { return [] }
        return [Line("    self: " + row.functions.prefix(top).map { "\($0.function) \(Self.percent($0.share)) %" }.joined(separator: ", "))]
    }

    /// The time off the CPU by state, with the functions in which threads waited longest.
    private func waitTable(_ byCommand: SessionRecord.ByCommand) -> [Line] {
        let (rows, left) = shown(byCommand.longestWaitsFirst, byCommand.rest) { $0.offCPU?.ns ?? 0 != 0 }
        let states = WaitState.allCases.filter { state in rows.contains { $0.offCPU?.ns(state) ?? 0 != 0 } }
        guard !rows.isEmpty else { return [] }
        var table = Table(["OFF-CPU BY COMMAND", "time", "waits"] + states.map(\.name), leftAligned: 1)
        for row in rows {
            guard let waits = row.offCPU else { continue }
            table.add([title(row), "\(Nanoseconds(waits.ns))", grouped(waits.waits)] + states.map { time(waits.ns($0)) })
        }
        var lines = [Line].table(table.lines)
        guard top > 0 else { return lines + left }
        lines[0].bold += "  longest in"
        for (index, row) in rows.enumerated() {
            if let longest = row.offCPU?.functions.first { lines[index + 1].text += "  \(longest.function) \(Self.percent(longest.share)) %" }
        }
        return lines + left
    }

    private func time(_ ns: UInt64) -> String { ns == 0 ? "-" : "\(Nanoseconds(ns))" }

    /// The commands that a table shows, as many as fit, and the rest; and the line for the commands that are left out.
    private func shown(
        _ commands: [SessionRecord.WorkRow], _ rest: [SessionRecord.WorkRow], _ isIn: (SessionRecord.WorkRow) -> Bool
    ) -> (rows: [SessionRecord.WorkRow], left: [Line]) {
        let commands = commands.filter(isIn)
        return (commands.prefix(tableRows) + rest.filter(isIn), [IntervalText.restLine(commands.count - tableRows, "commands")].compactMap { $0 })
    }

    private func title(_ row: SessionRecord.WorkRow) -> String {
        row.name + (row.reason.map { ": \($0)" } ?? "") + (row.verdict.map { " (\($0))" } ?? "")
    }

    private func interval(_ row: SessionRecord.WorkRow) -> String {
        guard let low = row.shareLow, let high = row.shareHigh else { return "-" }
        return "\(Self.percent(low)) to \(Self.percent(high))"
    }

    /// Why it is not known what threads worked on.
    private func reasons(_ rest: [SessionRecord.WorkRow]) -> [Line] {
        Set(rest.filter { $0.samples != 0 || $0.offCPU?.ns ?? 0 != 0 }.compactMap(\.reason)).sorted().compactMap { reason in
            Work.meaning(ofReason: reason).map { "  \(reason): \($0)" }
        }
    }

    /// `31`, `3.1`: two digits, or one decimal. From a file it may be any number.
    static func percent(_ share: Double) -> String {
        let percent = share * 100, rounded = percent.rounded()
        return abs(percent) >= 9.95 && abs(rounded) < 1e15 ? "\(Int64(rounded))" : "\((percent * 10).rounded() / 10)"
    }
}

extension SessionRecord.KeptCalls {
    /// `10.0 ms`, or `p99`.
    var slowerThan: String? {
        if let slowerThanNs { return "\(Nanoseconds(slowerThanNs))" }
        guard let share = slowerThanPercentile else { return nil }
        let percent = (share * 1e6).rounded() / 1e4
        return "p" + (percent == percent.rounded() && abs(percent) < 1e15 ? "\(Int64(percent))" : "\(percent)")
    }
}
