import KilnModel

/// A complete histogram, one line for each power of two, in bpftrace's format:
/// `[8 us, 16 us)        1234 |@@@@@@@@                |`
func histogramLines(_ histogram: Histogram) -> [String] {
    let octaves = histogram.octaves
    let largest = octaves.map(\.count).max() ?? 0
    guard largest > 0 else { return [] }
    let width = 52
    let digits = max(8, String(largest).count)
    return octaves.map { lower, count in
        let upper = binary(Nanoseconds(max(2, lower.count * 2)))
        let range = lower >= Histogram.limit ? "[\(binary(lower)), ...)" : "[\(binary(lower)), \(upper))"
        let bar = Int((Double(count) / Double(largest) * Double(width)).rounded(.up))
        return range.padded(to: 18) + String(count).paddedLeft(to: digits) + " |"
            + String(repeating: "@", count: bar).padded(to: width) + "|"
    }
}

extension [Line] {
    /// A table with a column of distributions behind the others, one for each row.
    static func table(_ table: Table, distributions: [Histogram]) -> [Line] {
        var lines = self.table(table.lines)
        let sparklines = Sparklines(distributions)
        lines[0].bold += "  " + sparklines.header
        for (row, histogram) in distributions.enumerated() { lines[row + 1].text = (lines[row + 1].text + "  " + sparklines.line(histogram)).trimmedRight }
        return lines
    }
}

/// The distributions of several histograms over the same powers of two, with one block character for each power.
struct Sparklines {
    private let octaves: ClosedRange<Int>
    private static let blocks = Array("▁▂▃▄▅▆▇█")
    private static let leastWidth = 14

    init(_ histograms: [Histogram]) {
        let lowers = histograms.flatMap { $0.octaves.lazy.filter { $0.count != 0 }.map { Self.octave($0.lower) } }
        let low = lowers.min() ?? 0
        octaves = low...max(lowers.max() ?? 0, low + Self.leastWidth - 1)
    }

    /// The ends of the scale, as wide as the lines.
    var header: String {
        let first = binary(Nanoseconds(1 << UInt64(octaves.lowerBound)))
        let last = binary(Nanoseconds(1 << UInt64(octaves.upperBound + 1)))
        return first + String(repeating: " ", count: max(1, octaves.count - first.count - last.count)) + last
    }

    func line(_ histogram: Histogram) -> String {
        let counts = Dictionary(uniqueKeysWithValues: histogram.octaves.map { (Self.octave($0.lower), $0.count) })
        let largest = counts.values.max() ?? 0
        return String(
            octaves.map { octave -> Character in
                guard let count = counts[octave], count != 0 else { return " " }
                let level = Int((Double(count) / Double(largest) * Double(Self.blocks.count)).rounded(.up))
                return Self.blocks[min(max(level, 1), Self.blocks.count) - 1]
            })
    }

    private static func octave(_ lower: Nanoseconds) -> Int {
        lower.count == 0 ? 0 : UInt64.bitWidth - 1 - lower.count.leadingZeroBitCount
    }
}

/// A power of two of nanoseconds, rounded, as a short label of an axis: 512 ns, 1 us, 64 us, 2 ms, 1 s.
private func binary(_ time: Nanoseconds) -> String {
    switch time.count {
    case ..<1_000: "\(time.count) ns"
    case ..<1_000_000: "\(time.count / 1_000) us"
    case ..<1_000_000_000: "\(time.count / 1_000_000) ms"
    default: "\(time.count / 1_000_000_000) s"
    }
}
