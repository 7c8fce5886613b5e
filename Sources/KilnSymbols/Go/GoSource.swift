import CElfutils

/// Files, lines and inlined functions of a Go program, from the tables of its own tracebacks: they are there in stripped programs, too.
///
/// Formats: `runtime/symtab.go` and `runtime/symtabinl.go`. Inlined functions are known for Go 1.18 and later.
final class GoSource {
    private let table: OwnedBytes
    private let functionData: OwnedBytes?
    private let functions: GoFunctionTable

    /// Nil if the file is no Go program.
    init?(of elf: borrowing ElfFile) {
        guard let sections = try? elf.sections(), let found = try? elf.goTable(sections),
            let bytes = try? elf.content(of: found.section, as: ".gopclntab").pointee
        else { return nil }
        table = OwnedBytes(UnsafeRawBufferPointer(start: bytes.d_buf, count: bytes.d_size))
        guard let functions = GoFunctionTable(table.bytes, text: found.text) else { return nil }
        self.functions = functions
        var data: OwnedBytes?
        if let module = found.module, let segments = try? elf.segments(), let place = LoadableSegments(segments).place(of: module.functionData),
            place.fileOffset < elf.size, let found = elf.bytes(at: place.fileOffset, count: min(place.count, elf.size - place.fileOffset))
        {
            data = OwnedBytes(found)
        }
        functionData = data
    }

    /// What the source code has at an address; nil if no Go function is there.
    func frames(at address: UInt64) -> SourceFrames? {
        guard let function = functions.function(at: address) else { return nil }
        var frames = SourceFrames(inlined: [], places: []), place = address
        // From the innermost call outwards. No compiler nests more; a table that does is malformed.
        for _ in 0..<256 {
            frames.places.append(functions.place(at: place, in: function))
            guard let call = functions.inlinedCall(at: place, in: function, functionData?.bytes), !call.name.isEmpty else { break }
            frames.inlined.append(call.name)
            place = call.caller
        }
        frames.inlined.reverse()
        frames.places.reverse()
        if frames.places.count == frames.inlined.count { frames.places.insert(nil, at: 0) }
        return frames
    }
}

/// A copy of bytes of a file.
private final class OwnedBytes {
    let bytes: UnsafeRawBufferPointer

    init(_ source: UnsafeRawBufferPointer) {
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: source.count, alignment: 16)
        memory.copyMemory(from: source)
        bytes = UnsafeRawBufferPointer(memory)
    }

    deinit { bytes.deallocate() }
}

extension ElfFile {
    /// The function table of a Go program, the address of its code, and what its run-time library knows; nil for other programs.
    func goTable(_ sections: [ElfSection]) throws(SymbolFileError) -> (section: ElfSection, text: UInt64, module: GoModule?)? {
        var table: ElfSection?, text: UInt64 = 0
        for section in sections where section.header.sh_type != UInt32(SHT_NOBITS) {
            switch name(of: section) {
            case ".gopclntab", ".data.rel.ro.gopclntab": table = section
            case ".text": text = section.address
            default: break
            }
        }
        guard let table else { return nil }
        let content = try content(of: table, as: ".gopclntab").pointee
        let module = GoModule(in: self, sections, table: UnsafeRawBufferPointer(start: content.d_buf, count: content.d_size), at: table.address)
        return (table, module?.text ?? text, module)
    }
}
