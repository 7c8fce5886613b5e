/// Values for address ranges, which may overlap and nest. An address belongs to the containing range that starts last.
struct RangeIndex<Value> {
    private struct Entry {
        let start, end: UInt64
        /// The largest end of this range and all earlier ones: a search may stop there.
        var reach: UInt64
        let value: Value
    }

    private var entries: [Entry] = []

    mutating func add(from start: UInt64, to end: UInt64, _ value: Value) {
        if start < end { entries.append(Entry(start: start, end: end, reach: end, value: value)) }
    }

    /// Adds ranges with one value, as long as the index has no more than `most`.
    mutating func add(_ ranges: some Sequence<Range<UInt64>>, _ value: Value, most: Int) {
        for range in ranges.prefix(max(0, most - entries.count)) { add(from: range.lowerBound, to: range.upperBound, value) }
    }

    /// Called once, after the last `add` and before the first lookup. Of equal ranges, the one added last wins.
    mutating func sort() {
        entries = entries.enumerated().sorted {
            ($0.element.start, $1.element.end, $0.offset) < ($1.element.start, $0.element.end, $1.offset)
        }.map(\.element)
        var reach: UInt64 = 0
        for index in entries.indices {
            reach = max(reach, entries[index].end)
            entries[index].reach = reach
        }
    }

    func value(at address: UInt64) -> Value? {
        guard var index = entries.lastIndex(startingAtOrBelow: address, start: \.start) else { return nil }
        while entries[index].reach > address {
            if entries[index].end > address { return entries[index].value }
            index -= 1
        }
        return nil
    }
}
