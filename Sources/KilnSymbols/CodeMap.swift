/// A piece of executable address space and where its code comes from.
struct PlacedCode {
    enum Source {
        case file(MappedFile)
        case nothing(UnknownReason)
    }

    let mapping: Mapping
    let source: Source
    /// What a person calls the mapping; nil for anonymous memory.
    let module: String?
    /// The part of the mapping that is still this code's: a later mapping may have taken the rest.
    private(set) var start: UInt64
    private(set) var end: UInt64

    init(mapping: Mapping, source: Source) {
        self.mapping = mapping
        self.source = source
        module = mapping.moduleName
        start = mapping.start
        end = mapping.end
    }

    func fileOffset(of address: UInt64) -> UInt64 { address &- mapping.start &+ mapping.fileOffset }

    /// What is left between two addresses; nil if nothing is.
    func part(from low: UInt64, to high: UInt64) -> PlacedCode? {
        var part = self
        part.start = max(start, low)
        part.end = min(end, high)
        return part.start < part.end ? part : nil
    }
}

/// The executable address space of a process, as it is and as it was.
///
/// Stacks sampled before the last look at the mappings may hold addresses that are unmapped by now.
/// So old code stays until new code takes its addresses.
struct CodeMap {
    /// Sorted, disjoint.
    private(set) var pieces: [PlacedCode] = []

    var isEmpty: Bool { pieces.isEmpty }

    func code(at address: UInt64) -> PlacedCode? {
        guard let index = pieces.lastIndex(startingAtOrBelow: address, start: \.start) else { return nil }
        return address < pieces[index].end ? pieces[index] : nil
    }

    /// The code that a mapping had when it was seen before, if it was.
    func placement(of mapping: Mapping) -> PlacedCode? {
        guard let index = pieces.lastIndex(startingAtOrBelow: mapping.start, start: \.start) else { return nil }
        let piece = pieces[index]
        return piece.mapping == mapping && piece.start == mapping.start && piece.end == mapping.end ? piece : nil
    }

    /// Lays the mappings of now (sorted, disjoint) over those that were known.
    mutating func replace(by current: [PlacedCode]) {
        var merged: [PlacedCode] = []
        merged.reserveCapacity(current.count)
        var old = pieces[...]
        /// The first address that no current mapping has taken yet.
        var free: UInt64 = 0

        for new in current {
            Self.keep(&old, from: free, to: new.start, into: &merged)
            merged.append(new)
            free = new.end
        }
        Self.keep(&old, from: free, to: .max, into: &merged)
        pieces = merged
    }

    /// Moves old pieces that lie between two addresses over, and passes those that end there.
    private static func keep(
        _ old: inout ArraySlice<PlacedCode>, from low: UInt64, to high: UInt64, into merged: inout [PlacedCode]
    ) {
        while let piece = old.first, piece.start < high {
            if let part = piece.part(from: low, to: high) { merged.append(part) }
            if piece.end > high { return }
            old.removeFirst()
        }
    }
}
