import CElfutils

/// The slots of the procedure linkage table (.plt, .plt.sec, .plt.got): a few bytes of code each, through which calls go to shared
/// libraries. No symbol covers them, so each is named after the function to which it jumps: `name@plt`, as in debuggers.
///
/// The code itself has the target: on x86-64 a slot contains `jmp *displacement(%rip)`, and a relocation names the symbol whose address the
/// loader writes to that location. On other architectures slots are not found, and their frames stay module+offset.
struct LinkageStubs {
    struct Slot {
        let address: UInt64
        let size: UInt64
        let sectionEnd: UInt64
        /// Offset in the string table of the dynamic symbols.
        let nameOffset: UInt32
    }

    private(set) var slots: [Slot] = []

    init(of elf: borrowing ElfFile, sections: [ElfSection], dynamicSymbols: Int) throws(SymbolFileError) {
        guard elf.header.e_machine == UInt16(EM_X86_64) else { return }
        let tables = sections.filter { section in
            guard section.isCode, let name = elf.name(of: section) else { return false }
            return name == ".plt" || name.hasPrefix(".plt.")
        }
        guard !tables.isEmpty else { return }
        let symbolAtPointer = try Self.relocations(of: elf, sections: sections, dynamicSymbols: dynamicSymbols)
        let symbols = try elf.content(of: sections[dynamicSymbols], as: "dynamic symbols")
        for table in tables where table.header.sh_type == UInt32(SHT_PROGBITS) {
            let code = try elf.content(of: table, as: "procedure linkage table").pointee
            let bytes = UnsafeRawBufferPointer(start: code.d_buf, count: code.d_size)
            // .plt has slots of 16 bytes; .plt.got has 8, or 16 with branch tracking.
            let step = table.header.sh_entsize == 8 ? 8 : 16
            for offset in stride(from: 0, to: bytes.count - step + 1, by: step) {
                let slot = UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + step])
                let address = table.address &+ UInt64(offset)
                guard let pointer = Self.jumpTarget(of: slot, at: address), let index = symbolAtPointer[pointer] else {
                    continue
                }
                var symbol = GElf_Sym()
                guard gelf_getsym(symbols, index, &symbol) != nil else { continue }
                slots.append(
                    Slot(address: address, size: UInt64(step), sectionEnd: table.end, nameOffset: symbol.st_name))
            }
        }
    }

    /// For each pointer that the loader sets to a function's address: the number of that function's symbol.
    private static func relocations(
        of elf: borrowing ElfFile, sections: [ElfSection], dynamicSymbols: Int
    ) throws(SymbolFileError) -> [UInt64: Int32] {
        var symbolAtPointer: [UInt64: Int32] = [:]
        for (number, section) in sections.enumerated()
        where section.header.sh_type == UInt32(SHT_RELA) && Int(section.header.sh_link) == dynamicSymbols {
            let content = try elf.content(of: section, as: "relocations in section \(number)")
            for index in 0..<content.pointee.d_size / elf.entrySize(of: ELF_T_RELA) {
                var relocation = GElf_Rela()
                guard gelf_getrela(content, Int32(clamping: index), &relocation) != nil else {
                    throw elf.broken("relocation \(index) of section \(number)")
                }
                let type = kiln_relocation_type(relocation.r_info)
                guard type == UInt64(R_X86_64_JUMP_SLOT) || type == UInt64(R_X86_64_GLOB_DAT),
                    let symbol = Int32(exactly: kiln_relocation_symbol(relocation.r_info)), symbol > 0
                else { continue }
                symbolAtPointer[relocation.r_offset] = symbol
            }
        }
        return symbolAtPointer
    }

    /// The address of the pointer that a slot uses.
    private static func jumpTarget(of slot: UnsafeRawBufferPointer, at address: UInt64) -> UInt64? {
        // The jump may follow endbr64 (f3 0f 1e fa) and may have a bnd prefix (f2).
        let branchMark: [UInt8] = [0xf3, 0x0f, 0x1e, 0xfa]
        var position = slot.starts(with: branchMark) ? branchMark.count : 0
        if position < slot.count, slot[position] == 0xf2 { position += 1 }
        guard position + 6 <= slot.count, slot[position] == 0xff, slot[position + 1] == 0x25 else { return nil }
        let displacement = slot.loadUnaligned(fromByteOffset: position + 2, as: Int32.self)
        return address &+ UInt64(position + 6) &+ UInt64(bitPattern: Int64(displacement))
    }
}
