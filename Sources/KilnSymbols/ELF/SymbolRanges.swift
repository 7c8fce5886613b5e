/// Cuts the address space into disjoint ranges, each named by one symbol or by none.
///
/// The rules, each there because real files need it:
/// 1. Where symbols overlap, the one that starts last wins: it is the inner one.
/// 2. Among symbols that start at the same address (aliases) a function beats an untyped label, then
///    global beats weak beats local, then the shorter name, then the one first in the alphabet.
///    What a longer alias covers beyond the winner's end still belongs to the longer one.
/// 3. A symbol without a size (assembly) counts only where nothing says otherwise: not inside a
///    sized symbol, only up to the next symbol or the end of its section, and only in a file with
///    .symtab. Without .symtab the next symbol may be far away, with unnamed functions between.
/// 4. A range ends where its symbol ends: what lies between belongs to nobody.
struct SymbolRanges {
    private(set) var starts: [UInt64] = []
    /// For each range an index into `symbols`, or `SymbolTable.nobody`.
    private(set) var owners: [UInt32] = []
    private(set) var symbols: [NamedAddress] = []

    init(resolving found: SymbolCandidates) {
        let sorted = Self.sorted(found)
        let bounded = Self.withEnds(sorted, acceptsUnsized: found.hasFullTable)
        sweep(bounded)
    }

    /// By start; at the same start the preferred one last, so that it ends up on top of the stack.
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

    /// Gives unsized symbols their end by rule 3, or drops them.
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

    /// Walks the addresses upwards with a stack of the symbols that are open: the top one owns.
    private mutating func sweep(_ sorted: [SymbolCandidate]) {
        var open: [Int] = []
        // The number in `symbols` that a candidate got when it first owned a range. One that never
        // owns any, an alias that lost, takes no room.
        var identifiers = [UInt32](repeating: SymbolTable.nobody, count: sorted.count)
        var position: UInt64 = 0

        func owner(_ candidate: Int, _ ranges: inout Self) -> UInt32 {
            if identifiers[candidate] != SymbolTable.nobody { return identifiers[candidate] }
            let symbol = sorted[candidate]
            let identifier = UInt32(clamping: ranges.symbols.count)
            ranges.symbols.append(
                NamedAddress(
                    address: symbol.start, nameOffset: symbol.nameOffset, nameLength: symbol.nameLength,
                    isLinkageStub: symbol.preference == .linkageStub))
            identifiers[candidate] = identifier
            return identifier
        }

        /// Gives everything from `position` up to `limit` to the symbols that are open.
        func close(until limit: UInt64, _ ranges: inout Self) {
            while position < limit {
                while let top = open.last, sorted[top].end <= position { open.removeLast() }
                guard let top = open.last else {
                    ranges.append(position, SymbolTable.nobody)
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
