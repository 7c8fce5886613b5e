/// A unit of debugging information: what one compiler run wrote of one source file.
final class DwarfUnit {
    /// Numbers of DWARF 5 section 7.5, and of GNU's extensions.
    enum Tag {
        static let compileUnit: UInt16 = 0x11, inlined: UInt16 = 0x1d, function: UInt16 = 0x2e, skeleton: UInt16 = 0x4a
        /// Types. Where the entry behind a type's children is known (gcc), no function in it has code, because methods have theirs outside; but
        /// those of types in functions, as lambdas, have theirs in the type.
        static let array: UInt16 = 0x01, classType: UInt16 = 0x02, enumeration: UInt16 = 0x04, structure: UInt16 = 0x13, functionType: UInt16 = 0x15
        static let union: UInt16 = 0x17
    }

    fileprivate enum Name {
        static let sibling: UInt16 = 0x01, name: UInt16 = 0x03, lowest: UInt16 = 0x11, highest: UInt16 = 0x12, directory: UInt16 = 0x1b
        static let declaration: UInt16 = 0x3c, callFile: UInt16 = 0x58, callLine: UInt16 = 0x59
        static let origin: UInt16 = 0x31, specification: UInt16 = 0x47, ranges: UInt16 = 0x55, linkageName: UInt16 = 0x6e, linkageNameMIPS: UInt16 = 0x2007
        static let textOffsetsBase: UInt16 = 0x72, addressBase: UInt16 = 0x73, rangeListsBase: UInt16 = 0x74, splitFile: UInt16 = 0x76
        static let gnuSplitFile: UInt16 = 0x2130, gnuIdentity: UInt16 = 0x2131, gnuRangesBase: UInt16 = 0x2132, gnuAddressBase: UInt16 = 0x2133
    }

    /// The kinds of units (DWARF 5 section 7.5.1); older ones have only the tag of their first entry.
    private enum Kind { static let compile: UInt8 = 1, type: UInt8 = 2, partial: UInt8 = 3, skeleton: UInt8 = 4, splitCompile: UInt8 = 5, splitType: UInt8 = 6 }

    /// What the first entry says of the whole unit.
    private struct Root {
        var tag: UInt16 = 0
        var place = CodePlace()
        /// By default there is no header in front of the tables: up to DWARF 4, or in a table that this unit has alone.
        var textOffsetsBase: UInt64?
        var addressBase: UInt64 = 0
        var rangeListsBase: UInt64?
        var rangesBase: UInt64 = 0
        var identity: UInt64?
        var splitFile: DwarfValue?
        var directory: DwarfValue?
    }

    /// Where code is, by an entry's attributes.
    struct CodePlace {
        var lowest: DwarfValue?
        var highest: DwarfValue?
        var ranges: DwarfValue?
        /// Of something inlined: where it is called, a number in the unit's table of files, and a line; 0: not known.
        var callFile: UInt64 = 0, callLine: UInt64 = 0

        fileprivate mutating func take(_ name: UInt16, _ value: DwarfValue) {
            switch name {
            case Name.lowest: lowest = value
            case Name.highest: highest = value
            case Name.ranges: ranges = value
            case Name.callFile: if case .constant(let number) = value { callFile = number }
            case Name.callLine: if case .constant(let number) = value { callLine = number }
            default: break
            }
        }
    }

    /// Where another file has the rest of a unit (DWARF 5 section 3.1.3).
    struct SplitPlace {
        let identity: UInt64
        let name: String
        let directory: String?
    }

    let sections: DwarfSections
    let abbreviations: DwarfAbbreviations
    /// In the section of entries.
    let start, firstEntry, end: UInt64
    private let kind: UInt8?
    private let format: DwarfFormat
    private let headerIdentity: UInt64?
    /// What the code's addresses are read with: for the unit of a split file, its skeleton.
    private let skeleton: DwarfUnit?
    private lazy var root: Root = readRoot()

    /// Reads the header at an offset; nil if it is not one. `abbreviations`: finds or makes a table. `skeleton`: of a unit in a split file.
    init?(
        in sections: DwarfSections, at offset: UInt64, skeleton: DwarfUnit? = nil, abbreviations: (UInt64, DwarfFormat) -> DwarfAbbreviations
    ) {
        guard var reader = sections.reader(.entries, at: offset) else { return nil }
        var length = UInt64(reader.number(UInt32.self)), offsetSize: UInt8 = 4
        if length == 0xffff_ffff {
            length = reader.number(UInt64.self)
            offsetSize = 8
        }
        guard length <= UInt64(reader.remaining), length > 0 else { return nil }
        let end = UInt64(sections[.entries].count - reader.remaining) + length
        let version = reader.number(UInt16.self)
        guard (2...5).contains(version) else { return nil }
        var kind: UInt8?, addressSize: UInt8 = 0, identity: UInt64?
        let table: UInt64
        if version == 5 {
            kind = reader.number(UInt8.self)
            addressSize = reader.number(UInt8.self)
            table = reader.word(ofSize: offsetSize)
            switch kind {
            case Kind.skeleton, Kind.splitCompile: identity = reader.number(UInt64.self)
            case Kind.type, Kind.splitType: reader.skip(8 + UInt64(offsetSize))
            default: break
            }
        } else {
            table = reader.word(ofSize: offsetSize)
            addressSize = reader.number(UInt8.self)
        }
        guard !reader.hasFailed, addressSize == 4 || addressSize == 8 else { return nil }
        self.sections = sections
        format = DwarfFormat(version: version, offsetSize: offsetSize, addressSize: addressSize)
        self.abbreviations = abbreviations(table, format)
        start = offset
        firstEntry = UInt64(sections[.entries].count - reader.remaining)
        self.end = end
        self.kind = kind
        headerIdentity = identity
        self.skeleton = skeleton
    }

    /// It describes code, and not only types or what other units share.
    var hasCode: Bool {
        switch kind {
        case nil: root.tag == Tag.compileUnit
        case Kind.compile, Kind.skeleton, Kind.splitCompile: true
        default: false
        }
    }

    /// The number that a unit and its split file have in common.
    var identity: UInt64? { headerIdentity ?? root.identity }

    /// Nil for a unit that is whole.
    var splitPlace: SplitPlace? {
        guard let identity, let name = root.splitFile.flatMap(text) else { return nil }
        return SplitPlace(identity: identity, name: name, directory: root.directory.flatMap(text))
    }

    /// Of all its code.
    var codeRanges: [Range<UInt64>] { ranges(root.place, isRoot: true) }

    // MARK: Entries

    /// Behind the number of an entry.
    @inline(__always)
    func entry(at offset: UInt64) -> (DwarfReader, DwarfAbbreviations.Abbreviation)? {
        guard offset >= firstEntry, offset < end, var reader = sections.reader(.entries, at: offset, to: end) else { return nil }
        let code = reader.unsignedLEB()
        guard code != 0, !reader.hasFailed, let abbreviation = abbreviations.abbreviation(code) else { return nil }
        return (reader, abbreviation)
    }

    /// Where an entry's code is, and where the entry after its children begins, if it says so. Leads the reader behind the entry.
    func codePlace(
        _ abbreviation: DwarfAbbreviations.Abbreviation, _ reader: inout DwarfReader
    ) -> (place: CodePlace, next: UInt64?, isDeclaration: Bool) {
        var place = CodePlace(), next: UInt64?, isDeclaration = false
        for attribute in abbreviations.attributes(of: abbreviation) {
            switch attribute.name {
            case Name.lowest, Name.highest, Name.ranges, Name.callFile, Name.callLine:
                place.take(attribute.name, reader.value(attribute.form, attribute.implicit, format))
            case Name.sibling:
                if case .reference(let offset) = reader.value(attribute.form, attribute.implicit, format) { next = start &+ offset }
            default:
                if attribute.name == Name.declaration { isDeclaration = true }
                reader.skip(DwarfSkip(attribute.form, format), format)
            }
        }
        return (place, next, isDeclaration)
    }

    /// The linker name, which includes the scopes, the plain name, and the entry of which this one is a copy. `shared`: of the file that several share.
    func names(at offset: UInt64, shared: DwarfSections?) -> (linkage: String?, plain: String?, origin: DwarfValue?) {
        guard let (behindCode, abbreviation) = entry(at: offset) else { return (nil, nil, nil) }
        var reader = behindCode
        var linkage: DwarfValue?, plain: DwarfValue?, origin: DwarfValue?
        for attribute in abbreviations.attributes(of: abbreviation) {
            let value = reader.value(attribute.form, attribute.implicit, format)
            switch attribute.name {
            case Name.linkageName, Name.linkageNameMIPS: linkage = value
            case Name.name: plain = value
            case Name.origin: origin = value
            case Name.specification: origin = origin ?? value
            default: break
            }
        }
        func text(_ value: DwarfValue?) -> String? {
            if case .sharedText(let offset) = value { return shared?.text(.text, at: offset) }
            return value.flatMap(self.text)
        }
        return reader.hasFailed ? (nil, nil, nil) : (text(linkage), text(plain), origin)
    }

    /// All functions that have code, with its addresses.
    func forEachFunction(_ body: (_ entry: UInt64, _ ranges: [Range<UInt64>]) -> Void) {
        guard let base = sections[.entries].baseAddress, var reader = sections.reader(.entries, at: firstEntry, to: end) else { return }
        /// Where the last function with children ends.
        var functionEnd: UInt64 = 0
        while !reader.isAtEnd {
            let offset = UInt64(reader.position - base)
            let code = reader.unsignedLEB()
            if code == 0 { continue }
            guard let abbreviation = abbreviations.abbreviation(code) else { return }
            switch abbreviation.tag {
            case Tag.function, Tag.structure, Tag.classType, Tag.array, Tag.enumeration, Tag.functionType, Tag.union:
                let (place, next, isDeclaration) = codePlace(abbreviation, &reader)
                guard abbreviation.tag != Tag.function || isDeclaration else {
                    let found = ranges(place)
                    if !found.isEmpty { body(offset, found) }
                    if abbreviation.hasChildren { functionEnd = max(functionEnd, next ?? end) }
                    continue
                }
                if abbreviation.hasChildren, offset >= functionEnd, let next, next > UInt64(reader.position - base) {
                    reader.skip(next - UInt64(reader.position - base))
                }
            default: abbreviations.skip(abbreviation, &reader)
            }
        }
    }

    /// The entries below another one, on all levels. `begin` leads the reader behind the entry; `end` is called behind the last child of each.
    func forEachEntry(
        below parent: UInt64, begin: (_ offset: UInt64, DwarfAbbreviations.Abbreviation, inout DwarfReader) -> Void, end: () -> Void
    ) {
        guard let base = sections[.entries].baseAddress, let (behindCode, own) = entry(at: parent), own.hasChildren else { return }
        var reader = behindCode, depth = 1
        abbreviations.skip(own, &reader)
        while depth > 0, !reader.isAtEnd {
            let offset = UInt64(reader.position - base)
            let code = reader.unsignedLEB()
            if code == 0 {
                depth -= 1
                if depth > 0 { end() }
                continue
            }
            guard let abbreviation = abbreviations.abbreviation(code) else { return }
            begin(offset, abbreviation, &reader)
            if abbreviation.hasChildren { depth += 1 }
        }
    }

    private func readRoot() -> Root {
        var root = Root()
        guard let (behindCode, abbreviation) = entry(at: firstEntry) else { return root }
        var reader = behindCode
        root.tag = abbreviation.tag
        for attribute in abbreviations.attributes(of: abbreviation) {
            let value = reader.value(attribute.form, attribute.implicit, format)
            root.place.take(attribute.name, value)
            switch (attribute.name, value) {
            case (Name.splitFile, _), (Name.gnuSplitFile, _): root.splitFile = value
            case (Name.directory, _): root.directory = value
            case (Name.gnuIdentity, .constant(let number)): root.identity = number
            // Up to DWARF 3 offsets were written as constants.
            case (Name.textOffsetsBase, .offset(let base)): root.textOffsetsBase = base
            case (Name.rangeListsBase, .offset(let base)): root.rangeListsBase = base
            case (Name.addressBase, .offset(let base)), (Name.gnuAddressBase, .offset(let base)), (Name.gnuAddressBase, .constant(let base)):
                root.addressBase = base
            case (Name.gnuRangesBase, .offset(let base)), (Name.gnuRangesBase, .constant(let base)): root.rangesBase = base
            default: break
            }
        }
        return root
    }

    // MARK: Values

    private func text(_ value: DwarfValue) -> String? {
        switch value {
        case .text(let bytes): return String(decoding: bytes, as: UTF8.self)
        case .textOffset(let kind, let offset): return sections.text(kind, at: offset)
        case .textIndex(let index):
            // In a split file, each unit's table has a header of its own and no attribute that says so.
            let base = root.textOffsetsBase ?? (format.version < 5 ? 0 : format.offsetSize == 4 ? 8 : 16)
            guard var reader = element(index, ofSize: format.offsetSize, in: .textOffsets, of: sections, from: base) else { return nil }
            return sections.text(.text, at: reader.word(ofSize: format.offsetSize))
        default: return nil
        }
    }

    private func element(_ index: UInt64, ofSize size: UInt8, in kind: DwarfSections.Kind, of sections: DwarfSections, from base: UInt64) -> DwarfReader? {
        let (offset, overflow) = index.multipliedReportingOverflow(by: UInt64(size))
        return overflow ? nil : sections.reader(kind, at: base.saturatingAdd(offset))
    }

    private func address(_ value: DwarfValue?) -> UInt64? {
        switch value {
        case .address(let address): return address
        case .addressIndex(let index):
            let owner = skeleton ?? self
            guard var reader = element(index, ofSize: format.addressSize, in: .addresses, of: owner.sections, from: owner.root.addressBase) else { return nil }
            let address = reader.word(ofSize: format.addressSize)
            return reader.hasFailed ? nil : address
        default: return nil
        }
    }

    /// The addresses of an entry's code. `isRoot`: the unit's own.
    func ranges(_ place: CodePlace, isRoot: Bool = false) -> [Range<UInt64>] {
        if let list = place.ranges { return ranges(list, isRoot: isRoot) }
        guard let lowest = address(place.lowest), let highest = place.highest else { return [] }
        if case .constant(let size) = highest { return Self.range(lowest, lowest.saturatingAdd(size)) }
        return address(highest).map { Self.range(lowest, $0) } ?? []
    }

    /// Nothing for code that the linker removed, which begins at 0 or, by newer linkers, at a number that is no address.
    private static func range(_ start: UInt64, _ end: UInt64) -> [Range<UInt64>] { start > 0 && start < end ? [start..<end] : [] }

    /// No compiler divides a function into more parts; a file that does would multiply its size in memory.
    private static let mostRanges = 1 << 16

    private func ranges(_ list: DwarfValue, isRoot: Bool) -> [Range<UInt64>] {
        var ranges: [Range<UInt64>] = []
        let base = address((skeleton ?? self).root.place.lowest) ?? 0
        if format.version < 5 {
            let offset: UInt64
            switch list {
            case .offset(let number), .constant(let number): offset = number
            default: return []
            }
            // Those of a split file lie in the program, among those of other units.
            let owner = skeleton ?? self
            let from = skeleton != nil && !isRoot ? owner.root.rangesBase.saturatingAdd(offset) : offset
            if let reader = owner.sections.reader(.ranges, at: from) { readRanges(reader, base, &ranges) }
            return ranges
        }
        switch list {
        case .offset(let offset): if let reader = sections.reader(.rangeLists, at: offset) { readRangeList(reader, base, &ranges) }
        case .rangeList(let index):
            let tables = root.rangeListsBase ?? (format.offsetSize == 4 ? 12 : 20)
            guard var reader = element(index, ofSize: format.offsetSize, in: .rangeLists, of: sections, from: tables) else { return [] }
            let offset = tables.saturatingAdd(reader.word(ofSize: format.offsetSize))
            if !reader.hasFailed, let list = sections.reader(.rangeLists, at: offset) { readRangeList(list, base, &ranges) }
        default: break
        }
        return ranges
    }

    /// DWARF 4 section 2.17.3.
    private func readRanges(_ from: DwarfReader, _ base: UInt64, _ ranges: inout [Range<UInt64>]) {
        var reader = from, base = base
        let highest: UInt64 = format.addressSize == 8 ? .max : 0xffff_ffff
        for _ in 0..<Self.mostRanges {
            let start = reader.word(ofSize: format.addressSize), end = reader.word(ofSize: format.addressSize)
            if reader.hasFailed || start == 0 && end == 0 { return }
            if start == highest { base = end } else { ranges += Self.range(base &+ start, base &+ end) }
        }
    }

    /// DWARF 5 section 2.17.3.
    private func readRangeList(_ from: DwarfReader, _ base: UInt64, _ ranges: inout [Range<UInt64>]) {
        var reader = from, base = base
        for _ in 0..<Self.mostRanges where !reader.hasFailed {
            var found: (start: UInt64?, end: UInt64?)?
            switch reader.number(UInt8.self) {
            case 1: base = address(.addressIndex(reader.unsignedLEB())) ?? base
            case 2: found = (address(.addressIndex(reader.unsignedLEB())), address(.addressIndex(reader.unsignedLEB())))
            case 3:
                let start = address(.addressIndex(reader.unsignedLEB()))
                let length = reader.unsignedLEB()
                found = (start, start?.saturatingAdd(length))
            case 4: found = (base &+ reader.unsignedLEB(), base &+ reader.unsignedLEB())
            case 5: base = reader.word(ofSize: format.addressSize)
            case 6: found = (reader.word(ofSize: format.addressSize), reader.word(ofSize: format.addressSize))
            case 7:
                let start = reader.word(ofSize: format.addressSize)
                found = (start, start.saturatingAdd(reader.unsignedLEB()))
            default: return
            }
            if !reader.hasFailed, let start = found?.start, let end = found?.end { ranges += Self.range(start, end) }
        }
    }
}
