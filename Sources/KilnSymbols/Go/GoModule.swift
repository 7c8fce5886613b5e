import CElfutils

/// The places in memory that a Go program's run-time library knows of itself (`moduledata` of `runtime/symtab.go`), found in its file.
///
/// Only two of them are needed, and the order of fields has changed with versions of Go: they are taken from places that hold for all of 1.18 to 1.27.
struct GoModule {
    /// The address of the first instruction of Go code. That of C code, which other linkers put before it, differs.
    let text: UInt64
    /// The start of the functions' data, with the trees of inlined calls.
    let functionData: UInt64

    /// Fields, in words of 8 bytes.
    private enum Field {
        static let header = 0, names = 1, text = 22
        static let count = 44
    }

    /// `table`: .gopclntab, at `address`. Nil if the file has no such data, or is older than Go 1.18.
    init?(in elf: borrowing ElfFile, _ sections: [ElfSection], table: UnsafeRawBufferPointer, at address: UInt64) {
        guard table.count >= 64, elf.isLittleEndian64Bit else { return nil }
        let magic = table.loadUnaligned(as: UInt32.self), names = address &+ table.loadUnaligned(fromByteOffset: 32, as: UInt64.self)
        guard magic == 0xffff_fff0 || magic == 0xffff_fff1 else { return nil }
        for words in Self.candidates(in: elf, sections, at: address, names: names) {
            text = words[Field.text]
            functionData = words[Self.functionDataField(words, isOld: magic == 0xffff_fff0)]
            return
        }
        return nil
    }

    private static func functionDataField(_ words: [UInt64], isOld: Bool) -> Int {
        // Go 1.20 added two fields for coverage.
        if isOld { return 38 }
        // Go 1.27 put the size of the types' descriptions between the start and the end of the types, and two fields behind that.
        return words[38] >= words[37] ? 40 : 43
    }

    /// Data that begins with the addresses of the table and of its names, as the loader leaves it.
    private static func candidates(in elf: borrowing ElfFile, _ sections: [ElfSection], at address: UInt64, names: UInt64) -> [[UInt64]] {
        var found: [[UInt64]] = []
        let size = Field.count * 8
        for section in sections where [".go.module", ".noptrdata", ".data", ".data.rel.ro"].contains(elf.name(of: section)) {
            guard section.header.sh_type == UInt32(SHT_PROGBITS), let content = try? elf.content(of: section, as: "data").pointee else { continue }
            let bytes = UnsafeRawBufferPointer(start: content.d_buf, count: content.d_size)
            func word(_ place: Int) -> UInt64 { bytes.loadUnaligned(fromByteOffset: place, as: UInt64.self) }
            for place in stride(from: 0, through: bytes.count - size, by: 8) where word(place) == address && word(place + Field.names * 8) == names {
                found.append((0..<Field.count).map { word(place + $0 * 8) })
                break
            }
        }
        return found.isEmpty ? relocated(in: elf, sections, at: address).filter { $0[Field.names] == names } : found
    }

    /// The same in files whose data is set by the loader (R_X86_64_RELATIVE): position-independent programs, and plugins.
    private static func relocated(in elf: borrowing ElfFile, _ sections: [ElfSection], at address: UInt64) -> [[UInt64]] {
        guard let section = sections.first(where: { elf.name(of: $0) == ".rela.dyn" && $0.header.sh_type == UInt32(SHT_RELA) }),
            let content = try? elf.content(of: section, as: ".rela.dyn")
        else { return [] }
        let count = content.pointee.d_size / elf.entrySize(of: ELF_T_RELA)
        func each(_ body: (_ place: UInt64, _ value: UInt64) -> Void) {
            for index in 0..<count {
                var entry = GElf_Rela()
                guard gelf_getrela(content, Int32(clamping: index), &entry) != nil, entry.r_info & 0xffff_ffff == UInt64(R_X86_64_RELATIVE) else { continue }
                body(entry.r_offset, UInt64(bitPattern: entry.r_addend))
            }
        }
        var starts: [UInt64] = []
        each { place, value in if value == address, starts.count < 64 { starts.append(place) } }
        return starts.map { start in
            var words = [UInt64](repeating: 0, count: Field.count)
            each { place, value in
                if place >= start, place - start < UInt64(Field.count * 8), (place - start) % 8 == 0 { words[Int((place - start) / 8)] = value }
            }
            return words
        }
    }
}
