import CElfutils
import SystemPackage

/// The ELF virtual addresses of what leads to the structures of Python's interpreter. CPython exports them since 3.11.
struct PythonSymbols: Sendable {
    let runtime: UInt64
    let version: UInt64
    let codeType: UInt64
    /// The part of the interpreter's function that the compiler has moved away, of a file whose symbols don't name it.
    let movedPart: Range<UInt64>?

    static let nameOfMovedPart = "_PyEval_EvalFrameDefault.cold"

    /// Nil: the file has no Python of these versions.
    init?(_ elf: borrowing ElfFile) throws(SymbolFileError) {
        let found = try elf.places(ofSymbols: ["_PyRuntime", "Py_Version", "PyCode_Type", "_PyEval_EvalFrameDefault"])
        guard let runtime = found["_PyRuntime"], let version = found["Py_Version"], let codeType = found["PyCode_Type"] else { return nil }
        self.runtime = runtime.lowerBound
        self.version = version.lowerBound
        self.codeType = codeType.lowerBound
        let sections = try elf.sections()
        if let function = found["_PyEval_EvalFrameDefault"], !sections.contains(where: { $0.header.sh_type == UInt32(SHT_SYMTAB) }) {
            movedPart = try elf.movedPart(of: function)
        } else {
            movedPart = nil
        }
    }

    /// Whether a file with this name may have them: `python3.12`, `libpython3.12.so.1.0`.
    static func mayBe(in file: String) -> Bool {
        let name = file.split(separator: "/").last ?? ""
        return name.hasPrefix("python") || name.hasPrefix("libpython")
    }

    /// The number behind `3.` in such a name.
    static func version(ofFile file: String) -> Int? {
        guard mayBe(in: file), let name = file.split(separator: "/").last else { return nil }
        let parts = name.split(separator: ".")
        return parts.count > 1 && parts[0].hasSuffix("python3") ? Int(parts[1].prefix { $0.isNumber }) : nil
    }
}

extension ElfFile {
    /// The places of symbols of any kind, by its dynamic symbols first. Those that it doesn't define are missing.
    fileprivate func places(ofSymbols names: [String]) throws(SymbolFileError) -> [String: Range<UInt64>] {
        let sections = try sections(), longest = names.map(\.utf8.count).max() ?? 0
        var found: [String: Range<UInt64>] = [:]
        for type in [SHT_DYNSYM, SHT_SYMTAB] where found.count < names.count {
            guard let table = sections.first(where: { $0.header.sh_type == UInt32(type) }), Int(table.header.sh_link) < sections.count else { continue }
            let entries = try content(of: table, as: "symbol table")
            let strings = try content(of: sections[Int(table.header.sh_link)], as: "string table").pointee
            let text = UnsafeRawBufferPointer(start: strings.d_buf, count: strings.d_size)
            for index in 0..<entries.pointee.d_size / entrySize(of: ELF_T_SYM) {
                var symbol = GElf_Sym()
                guard gelf_getsym(entries, Int32(clamping: index), &symbol) != nil, symbol.st_shndx != UInt16(SHN_UNDEF), Int(symbol.st_name) < text.count
                else { continue }
                let name = text[Int(symbol.st_name)...].prefix(longest + 1).prefix { $0 != 0 }
                guard let wanted = names.first(where: { name.elementsEqual($0.utf8) }), found[wanted] == nil else { continue }
                found[wanted] = symbol.st_value..<symbol.st_value.saturatingAdd(symbol.st_size)
            }
        }
        return found
    }

    /// The part of a function that jumps lead to from all over it, while none lead to other parts of functions. x86-64.
    fileprivate func movedPart(of function: Range<UInt64>) throws(SymbolFileError) -> Range<UInt64>? {
        let loadable = LoadableSegments(try segments())
        guard header.e_machine == UInt16(EM_X86_64), function.upperBound - function.lowerBound <= Self.longestFunction,
            let place = loadable.place(of: function.lowerBound),
            let code = bytes(at: place.fileOffset, count: min(place.count, function.upperBound - function.lowerBound))
        else { return nil }
        let parts = try frameFunctions(loadable, try sections()).filter(\.isPart)
        var targets: [Int: Set<UInt64>] = [:]
        for index in 0..<max(0, code.count - 6) {
            let length: Int
            switch (code[index], code[index + 1]) {
            case (0xe9, _): length = 5  // jmp
            case (0x0f, 0x80...0x8f): length = 6  // a conditional jump
            default: continue
            }
            let distance = code.loadUnaligned(fromByteOffset: index + length - 4, as: Int32.self)
            let target = function.lowerBound &+ UInt64(index + length) &+ UInt64(bitPattern: Int64(distance))
            guard !function.contains(target), let part = parts.lastIndex(startingAtOrBelow: target, start: \.start), target < parts[part].end else { continue }
            targets[part, default: []].insert(target)
        }
        guard let (part, found) = targets.max(by: { $0.value.count < $1.value.count }), found.count >= Self.leastJumps else { return nil }
        return parts[part].start..<parts[part].end
    }

    /// Debian's interpreter's function has 56 KiB.
    private static let longestFunction: UInt64 = 1 << 20

    /// What looks like a jump may be part of another instruction; the interpreter's function of Debian 12 has 313 jumps to its part.
    private static let leastJumps = 8
}
