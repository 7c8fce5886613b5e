/// Divides the address space into disjoint ranges, each with one symbol or none.
///
/// Real files need each of these rules:
/// 1. If symbols overlap, the one that starts last wins, because it is the inner one.
/// 2. Among symbols with the same start (aliases), a function beats an untyped label, then global beats weak beats local, then the shorter
/// name wins, then the alphabetically first. If a longer alias extends beyond the winner's end, the rest belongs to the alias.
/// 3. A symbol without a size (assembly) is used only outside sized symbols, only up to the next symbol or the end of its section, and only
/// in a file with .symtab. Without .symtab the next symbol may be far away, with unnamed functions between.
/// 4. A range ends where its symbol ends. The gap up to the next symbol has no name.
struct SymbolRanges {
    private(set) var starts: [UInt64] = []
    /// For each range, an index into `symbols` or `SymbolTable.noSymbol`.
    private(set) var owners: [UInt32] = []
    private(set) var symbols: [NamedAddress] = []

    init(resolving found: SymbolCandidates) {
        let sorted = Self.sorted(found)
        let bounded = Self.withEnds(sorted, acceptsUnsized: found.hasFullTable)
        sweep(bounded)
    }

    /// By start; for the same start, the preferred one last, so that it is on top of the stack.
    private static func sorted(_ found: SymbolCandidates) -> [SymbolCandidate] {
        found.strings.withUnsafeBufferPointer { strings in
            found.candidates.sorted { one, other in
                if one.start != other.start { return one.start < other.start }
                if one.preference != other.preference { return one.preference > other.preference }
                if one.nameLength != other.nameLength { return one.nameLength > other.nameLength }
                let names = (strings[one.name], strings[other.name])
                if names.1.lexicographicallyPrecedes(names.0) { return true }
                if names.0.lexicographicallyPrecedes(names.1) { return false }
                return one.end > other.end
            }
        }
    }

    /// Gives symbols without a size their end by rule 3, or drops them.
    private static func withEnds(_ sorted: [SymbolCandidate], acceptsUnsized: Bool) -> [SymbolCandidate] {
        var bounded: [SymbolCandidate] = []
        bounded.reserveCapacity(sorted.count)
        var sizedUntil: UInt64 = 0
        var index = 0
        while index < sorted.count {
            let start = sorted[index].start
            let group = sorted[index...].prefix { $0.start == start }
            for symbol in group where symbol.isSized { sizedUntil = max(sizedUntil, symbol.end) }
            let next = group.endIndex < sorted.count ? sorted[group.endIndex].start : UInt64.max
            for var symbol in group {
                if !symbol.isSized {
                    guard acceptsUnsized && sizedUntil <= start else { continue }
                    symbol.end = min(symbol.sectionEnd, next)
                }
                bounded.append(symbol)
            }
            index = group.endIndex
        }
        return bounded
    }

    /// Goes through the addresses upwards with a stack of the open symbols. The top one owns the range.
    private mutating func sweep(_ sorted: [SymbolCandidate]) {
        var open: [Int] = []
        // The number in `symbols` of a candidate, assigned when it first owns a range. A candidate that never owns one takes no memory.
        var identifiers = [UInt32](repeating: SymbolTable.noSymbol, count: sorted.count)
        var position: UInt64 = 0

        func owner(_ candidate: Int, _ ranges: inout Self) -> UInt32 {
            if identifiers[candidate] != SymbolTable.noSymbol { return identifiers[candidate] }
            let symbol = sorted[candidate]
            let identifier = UInt32(clamping: ranges.symbols.count)
            ranges.symbols.append(
                NamedAddress(
                    address: symbol.start, nameOffset: symbol.nameOffset, nameLength: symbol.nameLength,
                    isLinkageStub: symbol.preference == .linkageStub))
            identifiers[candidate] = identifier
            return identifier
        }

        /// Assigns everything from `position` up to `limit` to the open symbols.
        func close(until limit: UInt64, _ ranges: inout Self) {
            while position < limit {
                while let top = open.last, sorted[top].end <= position { open.removeLast() }
                guard let top = open.last else {
                    ranges.append(position, SymbolTable.noSymbol)
                    position = limit
                    return
                }
                ranges.append(position, owner(top, &ranges))
                position = min(limit, sorted[top].end)
            }
        }

        for (index, symbol) in sorted.enumerated() {
            close(until: symbol.start, &self)
            open.append(index)
        }
        close(until: UInt64.max, &self)
    }

    private mutating func append(_ start: UInt64, _ owner: UInt32) {
        if owners.last == owner { return }
        starts.append(start)
        owners.append(owner)
    }
}
