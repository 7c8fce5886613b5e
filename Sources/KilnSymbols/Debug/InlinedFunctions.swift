/// The functions inlined at an address, and places in source code, from a file's debugging information (DWARF 2 to 5).
///
/// A lookup takes three steps: an index of all units, made at the first lookup; an index of one unit's functions, made at the first lookup in that
/// unit; and the tree of what is inlined into the one function, made at its first lookup.
final class InlinedFunctions {
    /// A unit that has code, and where its functions are.
    private struct UnitFunctions {
        let units: DwarfUnits
        let unit: DwarfUnit
        /// Offsets of the functions' entries.
        var index = RangeIndex<UInt64>()
    }

    private let units: DwarfUnits
    /// With parts that this file shares with others.
    private let shared: (sections: DwarfSections, units: DwarfUnits)?
    private let split: SplitFiles?
    /// Nil if lines are not wanted, or can't be read.
    private let lines: SourceLines?
    /// False if the file with the shared parts is missing.
    let isComplete: Bool
    /// Positions among the units.
    private lazy var places: RangeIndex<Int> = indexUnits()
    private var functions: [Int: UnitFunctions] = [:]
    /// By the offset of a function's entry in the unit that has it.
    private var trees: [FunctionPlace: InlinedTree] = [:]

    private struct FunctionPlace: Hashable {
        let unit: Int
        let entry: UInt64
    }

    /// Nil if the file has no debugging information.
    ///
    /// - Parameters:
    ///   - sharedFile: The file with the parts that several share; looked for if this one has debugging information.
    ///   - split: Finds the entries of units that have them in other files.
    ///   - lines: Places in source code are wanted, too.
    init?(_ file: DebugFile, shared sharedFile: @autoclosure () -> DebugFile?, split: SplitFiles? = nil, lines: Bool = false) throws(SymbolFileError) {
        guard let sections = try DwarfSections(of: file) else { return nil }
        units = DwarfUnits(of: sections)
        if let sharedFile = sharedFile(), let sections = try DwarfSections(of: sharedFile) {
            shared = (sections, DwarfUnits(of: sections))
        } else {
            shared = nil
        }
        self.split = split
        self.lines = lines ? SourceLines(of: file) : nil
        let link = try file.elf.sharedDebugLink()
        isComplete = shared != nil || link == nil
    }

    /// What the source code has at an address (an ELF virtual address); nil if it is in no unit.
    func frames(at address: UInt64) -> SourceFrames? {
        guard let place = places.value(at: address) else { return nil }
        let found = functions(of: place), unit = units.all[place].firstEntry
        let calls = found.index.value(at: address).map { entry in
            let key = FunctionPlace(unit: place, entry: entry)
            let tree = trees[key] ?? InlinedTree(of: entry, in: found.unit)
            trees[key] = tree
            return tree.calls(at: address)
        }
        var frames = SourceFrames(inlined: [], places: [])
        for call in calls ?? [] {
            frames.inlined.append(name(of: call.entry, found.unit, found.units) ?? "[unknown]")
            frames.places.append(lines?.place(file: call.file, line: call.line, inUnit: unit))
        }
        frames.places.append(lines?.place(at: address, inUnit: unit))
        return frames
    }

    /// In an index. More than compilers write; a hostile file may have many entries that share one long list.
    private static let mostIndexedRanges = 1 << 22

    private func indexUnits() -> RangeIndex<Int> {
        var index = RangeIndex<Int>()
        for (place, unit) in units.all.enumerated() where unit.hasCode { index.add(unit.codeRanges, place, most: Self.mostIndexedRanges) }
        index.sort()
        return index
    }

    private func functions(of place: Int) -> UnitFunctions {
        if let known = functions[place] { return known }
        let own = units.all[place]
        var found: UnitFunctions
        if let other = split?.units(of: own) {
            found = UnitFunctions(units: other.units, unit: other.unit)
        } else {
            found = UnitFunctions(units: units, unit: own)
        }
        found.unit.forEachFunction { entry, ranges in found.index.add(ranges, entry, most: Self.mostIndexedRanges) }
        found.index.sort()
        functions[place] = found
        return found
    }

    /// Copies that refer to copies that refer to copies: more than compilers write.
    private static let longestChain = 16

    /// The linker name of an entry or of what it is a copy of, or else the plain name.
    private func name(of entry: UInt64, _ unit: DwarfUnit, _ units: DwarfUnits) -> String? {
        var (entry, unit, units, plain) = (entry, unit, units, String?.none)
        for _ in 0..<Self.longestChain {
            let names = unit.names(at: entry, shared: shared?.sections)
            if let linkage = names.linkage { return linkage }
            plain = plain ?? names.plain
            switch names.origin {
            case .reference(let offset): entry = unit.start &+ offset
            case .sectionReference(let offset):
                entry = offset
                guard let other = units.unit(at: offset) else { return plain }
                unit = other
            case .sharedReference(let offset):
                guard let shared, let other = shared.units.unit(at: offset) else { return plain }
                (entry, unit, units) = (offset, other, shared.units)
            default: return plain
            }
        }
        return plain
    }
}

/// The tree of what is inlined into one function.
private struct InlinedTree {
    private struct Node {
        let call: Call
        let ranges: Range<Int>
        /// The position behind all that is inlined into this one.
        var next: Int
    }

    /// Something that is inlined, and where it is called; 0: not known.
    struct Call {
        let entry: UInt64
        let file: UInt64
        let line: UInt64
    }

    /// Each before what is inlined into it.
    private var nodes: [Node] = []
    private var ranges: [Range<UInt64>] = []

    /// No function has more; a file in which one does would multiply its size in memory.
    private static let mostRanges = 1 << 20

    init(of function: UInt64, in unit: DwarfUnit) {
        /// For each entry that has not ended its node, if it has one.
        var open: [Int?] = []
        unit.forEachEntry(below: function) { offset, abbreviation, reader in
            var node: Int?
            if abbreviation.tag == DwarfUnit.Tag.inlined, ranges.count < Self.mostRanges {
                let place = unit.codePlace(abbreviation, &reader).place, own = unit.ranges(place)
                node = nodes.count
                nodes.append(
                    Node(
                        call: Call(entry: offset, file: place.callFile, line: place.callLine), ranges: ranges.count..<ranges.count + own.count,
                        next: nodes.count + 1))
                ranges += own
            } else {
                unit.abbreviations.skip(abbreviation, &reader)
            }
            if abbreviation.hasChildren { open.append(node) }
        } end: {
            if case let node?? = open.popLast() { nodes[node].next = nodes.count }
        }
        for case let node? in open { nodes[node].next = nodes.count }
    }

    /// What is inlined at an address, the outermost first.
    func calls(at address: UInt64) -> [Call] {
        var (calls, index, end): ([Call], Int, Int) = ([], 0, nodes.count)
        while index < end {
            let node = nodes[index]
            if ranges[node.ranges].contains(where: { $0.contains(address) }) {
                calls.append(node.call)
                end = node.next
                index += 1
            } else {
                index = node.next
            }
        }
        return calls
    }
}
