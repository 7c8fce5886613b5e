import CElfutils

/// Places in the source code of a program's units, read by libdw. Where that is too old for a compression of sections (zstd before 0.189), there are none.
final class SourceLines {
    private let dwarf: OpaquePointer
    // `dwarf` reads from `elf`, and that from `file`. A copy, because other readers decompress sections of theirs.
    private let elf: ElfFile
    private let file: DebugFile

    /// Nil if the file has no lines, or strings that don't end, which libdw (0.188) reads beyond their section.
    init?(of file: DebugFile) {
        guard let elf = try? ElfFile(reading: file.descriptor, named: file.elf.name), let sections = try? elf.sections() else { return nil }
        for section in sections where [".debug_line_str", ".debug_str", ".zdebug_str"].contains(elf.name(of: section)) {
            guard (try? elf.decompress(section, isGNUForm: elf.name(of: section) == ".zdebug_str")) != nil,
                let content = try? elf.content(of: section, as: "strings").pointee,
                UnsafeRawBufferPointer(start: content.d_buf, count: content.d_size).last == 0
            else { return nil }
        }
        guard let dwarf = elf.beginDebugInformation() else { return nil }
        self.dwarf = dwarf
        self.elf = elf
        self.file = file
    }

    deinit { dwarf_end(dwarf) }

    /// The line from which an instruction was made. `unit`: the offset of the first entry of the unit that has the address.
    func place(at address: UInt64, inUnit unit: UInt64) -> SourcePlace? {
        var entry = Dwarf_Die(), number: Int32 = 0
        guard dwarf_offdie(dwarf, unit, &entry) != nil, let line = dwarf_getsrc_die(&entry, address), dwarf_lineno(line, &number) == 0, number > 0,
            let file = dwarf_linesrc(line, nil, nil)
        else { return nil }
        return SourcePlace(file: String(cString: file), line: Int(number))
    }

    /// A line of a file of the unit's table.
    func place(file number: UInt64, line: UInt64, inUnit unit: UInt64) -> SourcePlace? {
        var entry = Dwarf_Die(), files: OpaquePointer?, count = 0
        guard line > 0, dwarf_offdie(dwarf, unit, &entry) != nil, dwarf_getsrcfiles(&entry, &files, &count) == 0, number < count,
            let path = dwarf_filesrc(files, Int(number), nil, nil)
        else { return nil }
        return SourcePlace(file: String(cString: path), line: Int(clamping: line))
    }
}
