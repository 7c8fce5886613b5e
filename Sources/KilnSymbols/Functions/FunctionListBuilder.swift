/// Collects the functions of a file from all sources; each place once.
struct FunctionListBuilder {
    typealias Entry = FunctionList.Entry

    /// By address.
    private(set) var entries: [Entry] = []
    private(set) var names: [FunctionList.NameRange] = []
    private(set) var strings: [UInt8]

    init(_ symbols: SymbolCandidates) {
        strings = symbols.strings
        let candidates = symbols.candidates, order = Self.order(of: symbols)
        var position = 0, covered: UInt64 = 0
        while position < order.count {
            let start = candidates[order[position]].start
            let group = order[position...].prefix { candidates[$0].start == start }
            add(group, insideOfFunction: start < covered, symbols)
            for index in group where candidates[index].preference != .untyped { covered = max(covered, candidates[index].end) }
            position = group.endIndex
        }
    }

    /// By address; at one address, the preferred name first, as in flamegraphs.
    private static func order(of symbols: SymbolCandidates) -> [Int] {
        let candidates = symbols.candidates
        return symbols.strings.withUnsafeBufferPointer { strings in
            candidates.indices.sorted { first, second in
                let one = candidates[first], other = candidates[second]
                if one.start != other.start { return one.start < other.start }
                if one.preference != other.preference { return one.preference < other.preference }
                if one.nameLength != other.nameLength { return one.nameLength < other.nameLength }
                if one.nameOffset == other.nameOffset { return first < second }
                return strings[one.name].lexicographicallyPrecedes(strings[other.name])
            }
        }
    }

    /// Symbols at one place, by their numbers.
    private mutating func add(_ group: ArraySlice<Int>, insideOfFunction: Bool, _ symbols: SymbolCandidates) {
        guard let number = group.first else { return }
        let first = symbols.candidates[number], isStub = first.preference == .linkageStub
        // A label inside of a function is no function.
        if insideOfFunction && first.preference == .untyped { return }
        var traits: FunctionList.Traits = isStub ? [.linkageStub] : []
        if Self.isColdPart(strings[first.name]) { traits.insert(.part) }
        let firstName = names.count
        var size: UInt64 = 0
        for symbol in group.map({ symbols.candidates[$0] }) where (symbol.preference == .linkageStub) == isStub {
            if symbol.isIndirect { traits.insert(.indirect) }
            if size == 0 { size = symbol.end - symbol.start }
            let name = strings[symbol.name]
            let isKnown = names[firstName...].contains { strings[Int($0.offset)..<Int($0.offset) + Int($0.length)].elementsEqual(name) }
            if !isKnown, names.count - firstName < Int(UInt16.max) {
                names.append(.init(offset: symbol.nameOffset, length: symbol.nameLength))
            }
        }
        let table = symbols.tables.last { $0.first <= number }
        entries.append(
            Entry(
                address: first.start, size: UInt32(clamping: size), firstName: UInt32(clamping: firstName),
                nameCount: UInt16(clamping: names.count - firstName), source: isStub ? .linkageTable : table?.source ?? .symbolTable,
                traits: traits))
    }

    /// The name ends with `.cold`, or with `.cold.` and a number: the compiler moved rare code of a function away.
    static func isColdPart(_ name: ArraySlice<UInt8>) -> Bool {
        let digits = name.reversed().prefix { UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 }.count
        let isNumbered = digits > 0 && name.dropLast(digits).last == UInt8(ascii: ".")
        return (isNumbered ? name.dropLast(digits + 1) : name).suffix(5).elementsEqual(".cold".utf8)
    }

    /// The functions of Go's table.
    mutating func add(_ table: GoFunctionTable) {
        var found: [Entry] = []
        table.forEachFunction { start, end, name in
            guard let offset = UInt32(exactly: strings.count), let length = UInt16(exactly: name.count) else { return }
            found.append(
                Entry(
                    address: start, size: UInt32(clamping: end - start), firstName: UInt32(clamping: names.count), nameCount: 1, source: .goTable,
                    traits: []))
            names.append(.init(offset: offset, length: length))
            strings.append(contentsOf: name)
        }
        found.sort { $0.address < $1.address }
        merge(found)
    }

    /// Ranges of code, sorted.
    mutating func add(_ functions: [FrameFunction]) {
        merge(
            functions.map {
                Entry(
                    address: $0.start, size: UInt32(clamping: $0.end - $0.start), firstName: 0, nameCount: 0, source: .callFrames,
                    traits: $0.isPart ? [.part] : [])
            })
    }

    /// Adds what no known function covers. A known function at the same place gets a size if it has none.
    private mutating func merge(_ found: [Entry]) {
        var merged: [Entry] = []
        merged.reserveCapacity(entries.count + found.count)
        var next = 0, covered: UInt64 = 0
        for more in found {
            while next < entries.count, entries[next].address < more.address {
                covered = max(covered, entries[next].address &+ UInt64(entries[next].size))
                merged.append(entries[next])
                next += 1
            }
            if next < entries.count, entries[next].address == more.address {
                if entries[next].size == 0 { entries[next].size = more.size }
                entries[next].traits.formUnion(more.traits)
            } else if more.address >= covered, merged.last?.address != more.address {
                merged.append(more)
            }
        }
        merged.append(contentsOf: entries[next...])
        entries = merged
    }
}
