import CElfutils

/// A function symbol from a file, before aliases and overlaps are resolved.
struct SymbolCandidate {
    /// Which of several symbols for the same bytes is used: the one with the lowest value.
    enum Preference: UInt8, Comparable {
        case global, weak, local
        /// Without a type: a label in handwritten assembly.
        case untyped
        /// Made by kiln for a slot of the procedure linkage table.
        case linkageStub

        static func < (one: Self, other: Self) -> Bool { one.rawValue < other.rawValue }
    }

    let start: UInt64
    /// The first address after the symbol; equal to `start` if the file has no size for it.
    var end: UInt64
    /// The end of its section. No symbol extends into the next section.
    let sectionEnd: UInt64
    let nameOffset: UInt32
    let nameLength: UInt16
    let preference: Preference
    /// Its code chooses the function that is called by this name (STT_GNU_IFUNC).
    let isIndirect: Bool

    var isSized: Bool { end > start }
    var name: Range<Int> { Int(nameOffset)..<Int(nameOffset) + Int(nameLength) }
}

/// Collects the function symbols of .symtab and .dynsym, and the slots of the procedure linkage table.
struct SymbolCandidates {
    private(set) var candidates: [SymbolCandidate] = []
    /// The string tables, concatenated. They are kept whole: with a copy of each name, a hostile file could multiply its string table by
    /// its number of symbols.
    private(set) var strings: [UInt8] = []
    /// The file has a .symtab, which includes static functions.
    private(set) var hasFullTable = false

    /// The index of the first candidate from each table, in the order of reading.
    private(set) var tables: [(first: Int, source: FunctionList.Source)] = []

    /// No compiler writes longer names; a longer one means a string table without terminators.
    static let longestName = 32 * 1024

    init() {}

    /// All symbols of a program or library: its own, and if it was stripped, those of its debug file, or else of .gnu_debugdata, or else of a debug file that
    /// a server has. `problem` is set if one of these can't be read, and no other one has the symbols.
    init(
        of elf: borrowing ElfFile, _ sections: [ElfSection], debugFile: () -> DebugFileSearch.Result, fetched: () -> DebugFileSearch.Result = { .none },
        problem: inout SymbolFileError?
    ) throws(SymbolFileError) {
        try read(from: elf, sections: sections)
        var first: SymbolFileError?
        if !hasFullTable { first = readStripped(from: debugFile) }
        if !hasFullTable {
            do throws(SymbolFileError) {
                if let compressed = try elf.bytes(ofSectionNamed: ".gnu_debugdata") {
                    let image = try ElfFile(image: try MiniDebugInfo.image(compressed, in: elf.name), named: elf.name + "(.gnu_debugdata)")
                    try readStripped(from: image, as: .compressedSymbols)
                }
            } catch {
                first = first ?? error
            }
        }
        if !hasFullTable { first = readStripped(from: fetched) ?? first }
        if !hasFullTable { problem = problem ?? first }
    }

    /// The same of a file of this host, without servers.
    init(
        ofProgram elf: borrowing ElfFile, _ sections: [ElfSection], at path: String, problem: inout SymbolFileError?
    ) throws(SymbolFileError) {
        let search = DebugFileSearch(process: nil, host: try? FileTree.host())
        try self.init(of: elf, sections, debugFile: { search.debugFile(of: elf, at: path) }, problem: &problem)
    }

    private mutating func readStripped(from search: () -> DebugFileSearch.Result) -> SymbolFileError? {
        do throws(SymbolFileError) {
            switch search() {
            case .found(let debug): try readStripped(from: debug.elf)
            case .refused(let error): return error
            case .none: break
            }
            return nil
        } catch {
            return error
        }
    }

    /// The symbols in the file itself.
    mutating func read(from elf: borrowing ElfFile, sections: [ElfSection]) throws(SymbolFileError) {
        try readFullTable(of: elf, sections: sections, as: .symbolTable)
        if let dynamic = sections.firstIndex(where: { $0.header.sh_type == UInt32(SHT_DYNSYM) }) {
            tables.append((candidates.count, .dynamicSymbols))
            let stringsStart = try readTable(dynamic, in: elf, sections: sections)
            let stubs = try LinkageStubs(of: elf, sections: sections, dynamicSymbols: dynamic)
            for stub in stubs.slots {
                add(stub, stringsAt: stringsStart)
            }
        }
    }

    /// Adds the symbols that were stripped from a file into a debug file. Adds nothing if that is malformed.
    mutating func readStripped(from debug: borrowing ElfFile, as source: FunctionList.Source = .debugFile) throws(SymbolFileError) {
        var extended = self
        try extended.readFullTable(of: debug, sections: debug.sections(), as: source)
        self = extended
    }

    /// Adds the functions of a Go program's own table, which stripping leaves.
    mutating func read(_ table: GoFunctionTable) {
        table.forEachFunction { start, end, name in
            let place = strings.count
            strings.append(contentsOf: name)
            add(start: start, size: end - start, sectionEnd: end, name: place..<strings.count, .local)
        }
    }

    private mutating func readFullTable(
        of elf: borrowing ElfFile, sections: [ElfSection], as source: FunctionList.Source
    ) throws(SymbolFileError) {
        // The format allows only one table.
        guard let full = sections.firstIndex(where: { $0.header.sh_type == UInt32(SHT_SYMTAB) }) else { return }
        tables.append((candidates.count, source))
        _ = try readTable(full, in: elf, sections: sections)
        hasFullTable = true
    }

    /// Reads one symbol table. Returns the start of its strings in `strings`.
    private mutating func readTable(
        _ number: Int, in elf: borrowing ElfFile, sections: [ElfSection]
    ) throws(SymbolFileError) -> Int {
        let table = sections[number]
        // libelf has checked that the table consists of whole entries inside the file.
        let content = try elf.content(of: table, as: "symbol table in section \(number)")
        let link = Int(table.header.sh_link)
        guard link < sections.count, sections[link].header.sh_type == UInt32(SHT_STRTAB) else {
            throw elf.broken("symbol table in section \(number) names section \(link) as its string table, which is not one")
        }
        let stringsStart = strings.count
        let stringContent = try elf.content(of: sections[link], as: "string table in section \(link)").pointee
        strings.append(contentsOf: UnsafeRawBufferPointer(start: stringContent.d_buf, count: stringContent.d_size))

        let count = content.pointee.d_size / elf.entrySize(of: ELF_T_SYM)
        candidates.reserveCapacity(candidates.count + count)
        for index in 0..<count {
            var symbol = GElf_Sym()
            guard gelf_getsym(content, Int32(clamping: index), &symbol) != nil else {
                throw elf.broken("symbol \(index) of section \(number)")
            }
            add(symbol, sections: sections, stringsAt: stringsStart)
        }
        return stringsStart
    }

    private mutating func add(_ symbol: GElf_Sym, sections: [ElfSection], stringsAt stringsStart: Int) {
        let section = Int(symbol.st_shndx)
        // Undefined and absolute symbols are not code of this file.
        guard section > 0, section < Int(SHN_LORESERVE), section < sections.count,
            sections[section].isCode,
            // Rejects _etext and the like, which lie just after the code.
            sections[section].address <= symbol.st_value, symbol.st_value < sections[section].end,
            let preference = Self.preference(of: symbol),
            let name = nameRange(at: UInt64(symbol.st_name), stringsAt: stringsStart)
        else { return }
        // `.L` and `.annobin` labels, and the $a $d $t $x symbols of ARM, are notes for tools, not functions.
        if preference == .untyped, [UInt8(ascii: "."), UInt8(ascii: "$")].contains(strings[name.lowerBound]) { return }
        add(
            start: symbol.st_value, size: symbol.st_size, sectionEnd: sections[section].end, name: name, preference,
            isIndirect: kiln_symbol_type(symbol.st_info) == UInt32(STT_GNU_IFUNC)
        )
    }

    private mutating func add(_ stub: LinkageStubs.Slot, stringsAt stringsStart: Int) {
        guard let name = nameRange(at: UInt64(stub.nameOffset), stringsAt: stringsStart) else { return }
        add(start: stub.address, size: stub.size, sectionEnd: stub.sectionEnd, name: name, .linkageStub)
    }

    private mutating func add(
        start: UInt64, size: UInt64, sectionEnd: UInt64, name: Range<Int>, _ preference: SymbolCandidate.Preference, isIndirect: Bool = false
    ) {
        guard let offset = UInt32(exactly: name.lowerBound) else { return }
        candidates.append(
            SymbolCandidate(
                start: start, end: min(start.saturatingAdd(size), sectionEnd), sectionEnd: sectionEnd,
                nameOffset: offset, nameLength: UInt16(clamping: name.count), preference: preference,
                isIndirect: isIndirect))
    }

    /// The name's bytes, without a symbol version (`@@GLIBC_2.14`). Nil if it is empty or unterminated.
    private func nameRange(at offset: UInt64, stringsAt stringsStart: Int) -> Range<Int>? {
        guard offset < UInt64(strings.count - stringsStart) else { return nil }
        let start = stringsStart + Int(offset)
        let limit = min(strings.count, start + Self.longestName)
        guard let end = strings[start..<limit].firstIndex(of: 0) else { return nil }
        let version = strings[start..<end].firstIndex(of: UInt8(ascii: "@")) ?? end
        return version > start ? start..<version : nil
    }

    private static func preference(of symbol: GElf_Sym) -> SymbolCandidate.Preference? {
        switch kiln_symbol_type(symbol.st_info) {
        case UInt32(STT_FUNC), UInt32(STT_GNU_IFUNC):
            switch kiln_symbol_binding(symbol.st_info) {
            case UInt32(STB_LOCAL): .local
            case UInt32(STB_WEAK): .weak
            default: .global
            }
        case UInt32(STT_NOTYPE): .untyped
        default: nil
        }
    }
}
