import CElfutils

extension ElfFile {
    /// The 8-byte word at an address; nil if the file has none.
    func word(at address: UInt64, _ loadable: LoadableSegments) -> UInt64? {
        guard let place = loadable.place(of: address), place.count >= 8 else { return nil }
        return bytes(at: place.fileOffset, count: 8)?.loadUnaligned(as: UInt64.self)
    }

    /// The file's sections with call frame information, .eh_frame before .debug_frame. Valid for the lifetime of the ElfFile.
    func callFrameSections(_ loadable: LoadableSegments) throws(SymbolFileError) -> [CallFrameSection] {
        var bases: (text: UInt64, data: UInt64) = (0, 0)
        var loaded: [(ElfSection, name: String)] = []
        var debugging: [(ElfSection, name: String)] = []
        for section in try sections() where section.header.sh_type != UInt32(SHT_NOBITS) {
            switch name(of: section) {
            case ".eh_frame": loaded.append((section, ".eh_frame"))
            case ".debug_frame": debugging.append((section, ".debug_frame"))
            case ".zdebug_frame": debugging.append((section, ".zdebug_frame"))
            case ".text": bases.text = section.address
            // The target of DT_PLTGOT, which libgcc uses as the base.
            case ".got.plt": bases.data = section.address
            case ".got": if bases.data == 0 { bases.data = section.address }
            default: break
            }
        }
        var found: [CallFrameSection] = []
        for (section, name) in loaded + debugging {
            let isDebugFrame = name != ".eh_frame"
            if isDebugFrame { try decompress(section, isGNUForm: name == ".zdebug_frame") }
            let content = try content(of: section, as: name).pointee
            found.append(
                CallFrameSection(
                    bytes: UnsafeRawBufferPointer(start: content.d_buf, count: content.d_size),
                    address: isDebugFrame ? 0 : section.address, isDebugFrame: isDebugFrame, isEndKnown: true,
                    dataBase: bases.data, textBase: bases.text))
        }
        if loaded.isEmpty, let section = try frameSectionFromProgramHeaders(loadable) { found.insert(section, at: 0) }
        return found
    }

    /// Call frame information made from a Go program's function table, in memory of its own; nil for other programs.
    func goFrameSection() throws(SymbolFileError) -> OwnedFrameSection? {
        try goFunctionTable().map { OwnedFrameSection($0.callFrameInformation()) }
    }

    /// The function table of a Go program; nil for other programs. Valid for the lifetime of the ElfFile.
    func goFunctionTable() throws(SymbolFileError) -> GoFunctionTable? {
        guard let table = try goTable(sections()) else { return nil }
        let content = try content(of: table.section, as: ".gopclntab").pointee
        let bytes = UnsafeRawBufferPointer(start: content.d_buf, count: content.d_size)
        return GoFunctionTable(bytes, text: table.text)
    }

    /// .eh_frame of a file without section headers, found by the segment with .eh_frame_hdr.
    private func frameSectionFromProgramHeaders(_ loadable: LoadableSegments) throws(SymbolFileError) -> CallFrameSection? {
        for header in try segments(ofType: Int32(PT_GNU_EH_FRAME)) {
            guard let start = bytes(at: header.fileOffset, count: min(header.fileSize, 16)), start.count >= 8, start[0] == 1,
                let first = start.baseAddress
            else { continue }
            let section = CallFrameSection(
                bytes: start, address: header.address, isDebugFrame: false, isEndKnown: false,
                // In this section "data relative" means relative to its own start.
                dataBase: header.address, textBase: 0)
            var reader = DwarfReader(from: first + 4, to: first + start.count)
            let address = reader.pointer(PointerEncoding(rawValue: start[1]), in: section)
            guard !reader.hasFailed, let place = loadable.place(of: address), place.fileOffset < size,
                let content = bytes(at: place.fileOffset, count: min(place.count, size - place.fileOffset))
            else { continue }
            return CallFrameSection(
                bytes: content, address: address, isDebugFrame: false, isEndKnown: false, dataBase: 0, textBase: 0)
        }
        return nil
    }
}

/// Call frame information in memory that does not belong to a file.
final class OwnedFrameSection {
    private let memory: UnsafeMutableRawBufferPointer

    init(_ bytes: [UInt8]) {
        memory = .allocate(byteCount: bytes.count, alignment: 16)
        memory.copyBytes(from: bytes)
    }

    deinit { memory.deallocate() }

    /// Valid for the lifetime of the owner.
    var section: CallFrameSection {
        CallFrameSection(
            bytes: UnsafeRawBufferPointer(memory), address: 0, isDebugFrame: true, isEndKnown: true, dataBase: 0, textBase: 0)
    }
}
