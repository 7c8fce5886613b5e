import CElfutils

/// The sections of debugging information (DWARF) in one file, or the part of a package (.dwp) that belongs to one unit. Sections that are missing are empty.
final class DwarfSections {
    /// The sections that kiln reads.
    enum Kind: Int, CaseIterable {
        case entries, abbreviations, text, lineText, textOffsets, addresses, ranges, rangeLists, unitIndex

        /// Behind `.debug_`.
        fileprivate var name: String {
            switch self {
            case .entries: "info"
            case .abbreviations: "abbrev"
            case .text: "str"
            case .lineText: "line_str"
            case .textOffsets: "str_offsets"
            case .addresses: "addr"
            // Up to DWARF 4.
            case .ranges: "ranges"
            case .rangeLists: "rnglists"
            case .unitIndex: "cu_index"
            }
        }
    }

    private let bytes: [UnsafeRawBufferPointer]
    /// What the bytes lie in.
    private let file: DebugFile
    private let memory: [DecompressedSection]

    subscript(kind: Kind) -> UnsafeRawBufferPointer { bytes[kind.rawValue] }

    /// Nil if the file has no entries. `isSplit`: reads the sections that end in `.dwo`.
    init?(of file: DebugFile, isSplit: Bool = false) throws(SymbolFileError) {
        guard file.elf.isLittleEndian else { return nil }
        let kinds = Dictionary(uniqueKeysWithValues: Kind.allCases.map { ($0.name + (isSplit && $0 != .unitIndex ? ".dwo" : ""), $0) })
        var bytes = [UnsafeRawBufferPointer](repeating: UnsafeRawBufferPointer(start: nil, count: 0), count: Kind.allCases.count)
        var memory: [DecompressedSection] = []
        // Compressed sections are decompressed only after their sizes were added up.
        var found: [(ElfSection, Kind, isGNUForm: Bool)] = []
        var total: UInt64 = 0
        for section in try file.elf.sections() where section.header.sh_type != UInt32(SHT_NOBITS) {
            guard let name = file.elf.name(of: section), let prefix = [".debug_", ".zdebug_"].first(where: name.hasPrefix),
                let kind = kinds[String(name.dropFirst(prefix.count))]
            else { continue }
            found.append((section, kind, prefix == ".zdebug_"))
            total = total.saturatingAdd(file.elf.statedSize(of: section, isGNUForm: prefix == ".zdebug_"))
        }
        guard total <= ElfFile.largestDecompressed else {
            throw SymbolFileError(
                file: file.elf.name, problem: .unsupported("its compressed sections claim to hold \(total) bytes, more than kiln decompresses"))
        }
        for (section, kind, isGNUForm) in found {
            if let decompressed = try file.elf.decompressedZstd(section) {
                memory.append(decompressed)
                bytes[kind.rawValue] = decompressed.bytes
                continue
            }
            try file.elf.decompress(section, isGNUForm: isGNUForm)
            let content = try file.elf.content(of: section, as: "section .debug_\(kind.name)").pointee
            bytes[kind.rawValue] = UnsafeRawBufferPointer(start: content.d_buf, count: content.d_size)
        }
        guard bytes[Kind.entries.rawValue].count > 0 else { return nil }
        self.bytes = bytes
        self.file = file
        self.memory = memory
    }

    /// The part of a package that belongs to one unit. `parts`: a range in each section that is divided.
    init?(of package: DwarfSections, parts: [(Kind, offset: UInt64, size: UInt64)]) {
        var bytes = package.bytes
        for (kind, offset, size) in parts {
            let whole = package[kind], place = kind.rawValue
            guard offset <= UInt64(whole.count), size <= UInt64(whole.count) - offset else { return nil }
            bytes[place] = UnsafeRawBufferPointer(rebasing: whole[Int(offset)..<Int(offset + size)])
        }
        self.bytes = bytes
        file = package.file
        memory = package.memory
    }

    /// Reads from a place of a section to its end, or to `end`.
    func reader(_ kind: Kind, at offset: UInt64, to end: UInt64 = .max) -> DwarfReader? {
        let section = self[kind]
        guard offset < UInt64(section.count), let start = section.baseAddress else { return nil }
        return DwarfReader(from: start + Int(offset), to: start + Int(min(end, UInt64(section.count))))
    }

    /// The text at a place of a section; nil if it does not end there.
    func text(_ kind: Kind, at offset: UInt64) -> String? {
        guard var reader = reader(kind, at: offset) else { return nil }
        let bytes = reader.string()
        return reader.hasFailed ? nil : String(decoding: bytes, as: UTF8.self)
    }
}
