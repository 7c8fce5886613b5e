import CElfutils
import SystemPackage

/// A section header, without the section's content.
struct ElfSection {
    /// libelf's handle, valid for the lifetime of the ElfFile.
    let handle: OpaquePointer
    let header: GElf_Shdr

    var address: UInt64 { header.sh_addr }
    /// The first address after the section; limited to the address space.
    var end: UInt64 {
        let (sum, overflow) = header.sh_addr.addingReportingOverflow(header.sh_size)
        return overflow ? UInt64.max : sum
    }
    var isCode: Bool {
        header.sh_flags & UInt64(SHF_ALLOC) != 0 && header.sh_flags & UInt64(SHF_EXECINSTR) != 0
    }
}

/// An open ELF file, of either word size and byte order, read through libelf.
///
/// libelf reads with pread and never maps the file: if another process truncates it, that must be an error, not a SIGBUS.
struct ElfFile: ~Copyable {
    let name: String
    /// The size of the file, or of its image, in bytes; 0 if unknown.
    let size: UInt64
    let header: GElf_Ehdr
    private let elf: OpaquePointer
    /// The memory from which libelf reads if there is no file.
    private let image: UnsafeMutableRawBufferPointer?

    /// The descriptor must stay open for the lifetime of this value.
    init(reading file: FileDescriptor, named name: String) throws(SymbolFileError) {
        // libelf fails on every call until the version is set.
        elf_version(UInt32(EV_CURRENT))
        guard let elf = elf_begin(file.rawValue, ELF_C_READ, nil) else {
            throw Self.broken(name, "no header")
        }
        do throws(SymbolFileError) {
            header = try Self.header(of: elf, named: name)
        } catch {
            elf_end(elf)
            throw error
        }
        var status = stat()
        size = fstat(file.rawValue, &status) == 0 ? UInt64(clamping: status.st_size) : 0
        self.name = name
        self.elf = elf
        self.image = nil
    }

    /// Reads an ELF file in memory, such as a vDSO.
    init(image bytes: [UInt8], named name: String) throws(SymbolFileError) {
        guard !bytes.isEmpty else { throw SymbolFileError(file: name, problem: .notELF) }
        elf_version(UInt32(EV_CURRENT))
        let image = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 16)
        image.copyBytes(from: bytes)
        guard let elf = elf_memory(image.baseAddress?.assumingMemoryBound(to: CChar.self), bytes.count) else {
            image.deallocate()
            throw Self.broken(name, "no header")
        }
        do throws(SymbolFileError) {
            header = try Self.header(of: elf, named: name)
        } catch {
            elf_end(elf)
            image.deallocate()
            throw error
        }
        size = UInt64(bytes.count)
        self.name = name
        self.elf = elf
        self.image = image
    }

    deinit {
        elf_end(elf)
        image?.deallocate()
    }

    /// The loadable segments, in the order of the file.
    func segments() throws(SymbolFileError) -> [ElfSegment] { try segments(ofType: PT_LOAD) }

    /// The segments of one type, in the order of the file.
    func segments(ofType type: Int32) throws(SymbolFileError) -> [ElfSegment] {
        var count = 0
        guard elf_getphdrnum(elf, &count) == 0 else { throw broken("program header count") }
        var segments: [ElfSegment] = []
        for index in 0..<count {
            var program = GElf_Phdr()
            guard gelf_getphdr(elf, Int32(clamping: index), &program) != nil else {
                throw broken("program header \(index)")
            }
            guard program.p_type == UInt32(type) else { continue }
            segments.append(
                ElfSegment(
                    fileOffset: program.p_offset, fileSize: program.p_filesz, address: program.p_vaddr,
                    isExecutable: program.p_flags & UInt32(PF_X) != 0))
        }
        return segments
    }

    /// The sections, by the index that symbols use. The first one is always the null section.
    func sections() throws(SymbolFileError) -> [ElfSection] {
        var count = 0
        guard elf_getshdrnum(elf, &count) == 0 else { throw broken("section header count") }
        // libelf treats a file that was truncated before its section headers like one without sections.
        if count == 0 && header.e_shoff != 0 { throw broken("the section headers lie beyond the end of the file") }
        var sections: [ElfSection] = []
        for index in 0..<count {
            var section = GElf_Shdr()
            guard let handle = elf_getscn(elf, index), gelf_getshdr(handle, &section) != nil else {
                throw broken("section header \(index)")
            }
            sections.append(ElfSection(handle: handle, header: section))
        }
        return sections
    }

    /// The name of a section; nil if the section name table doesn't have it.
    func name(of section: ElfSection) -> String? {
        var table = 0
        guard elf_getshdrstrndx(elf, &table) == 0,
            let name = elf_strptr(elf, table, Int(section.header.sh_name))
        else { return nil }
        return String(cString: name)
    }

    /// A section's content in the host's byte order. Valid for the lifetime of the ElfFile.
    func content(of section: ElfSection, as what: String) throws(SymbolFileError) -> UnsafeMutablePointer<Elf_Data> {
        guard section.header.sh_type != UInt32(SHT_NOBITS), let content = elf_getdata(section.handle, nil),
            content.pointee.d_buf != nil || content.pointee.d_size == 0
        else { throw broken(what) }
        return content
    }

    /// Raw bytes of the file; nil if it ends before. Valid for the lifetime of the ElfFile.
    func bytes(at offset: UInt64, count: UInt64) -> UnsafeRawBufferPointer? {
        guard let offset = Int64(exactly: offset), let count = Int(exactly: count), count > 0,
            let chunk = elf_getdata_rawchunk(elf, offset, count, ELF_T_BYTE), let start = chunk.pointee.d_buf
        else { return nil }
        return UnsafeRawBufferPointer(start: start, count: chunk.pointee.d_size)
    }

    /// Notes at a place of the file, for `gelf_getnote`. Valid for the lifetime of the ElfFile.
    func notes(at offset: UInt64, count: UInt64) -> UnsafeMutablePointer<Elf_Data>? {
        guard let offset = Int64(exactly: offset), let count = Int(exactly: count) else { return nil }
        return elf_getdata_rawchunk(elf, offset, count, ELF_T_NHDR)
    }

    /// The byte order of the file.
    var isLittleEndian: Bool { header.e_ident.5 == UInt8(ELFDATA2LSB) }

    var isLittleEndian64Bit: Bool { isLittleEndian && header.e_ident.4 == UInt8(ELFCLASS64) }

    /// Decompresses a section (SHF_COMPRESSED, or the older GNU form named .zdebug_) in memory; leaves others unchanged. libelf rejects
    /// sizes that compression can't reach.
    func decompress(_ section: ElfSection, isGNUForm: Bool) throws(SymbolFileError) {
        if isGNUForm {
            guard elf_compress_gnu(section.handle, 0, 0) >= 0 else { throw broken("compressed section") }
        } else if section.header.sh_flags & UInt64(SHF_COMPRESSED) != 0 {
            guard elf_compress(section.handle, 0, 0) >= 0 else { throw broken("compressed section") }
        }
    }

    /// The size of a table entry in bytes, for this file's word size.
    func entrySize(of type: Elf_Type) -> Int {
        max(1, gelf_fsize(elf, type, 1, UInt32(EV_CURRENT)))
    }

    /// An error about a part of this file, with libelf's message.
    func broken(_ part: String) -> SymbolFileError { Self.broken(name, part) }

    private static func header(of elf: OpaquePointer, named name: String) throws(SymbolFileError) -> GElf_Ehdr {
        guard elf_kind(elf) == ELF_K_ELF else { throw SymbolFileError(file: name, problem: .notELF) }
        var header = GElf_Ehdr()
        guard gelf_getehdr(elf, &header) != nil else { throw broken(name, "ELF header") }
        return header
    }

    private static func broken(_ name: String, _ part: String) -> SymbolFileError {
        let code = elf_errno()
        guard code != 0, let message = elf_errmsg(code) else {
            return SymbolFileError(file: name, problem: .broken(part))
        }
        return SymbolFileError(file: name, problem: .broken("\(part): \(String(cString: message))"))
    }
}
