import CLzma

/// .gnu_debugdata: an xz-compressed ELF file, whose .symtab lists the functions that .dynsym lacks. Fedora and related distributions have
/// it in every program (https://sourceware.org/gdb/current/onlinedocs/gdb.html/MiniDebugInfo.html).
enum MiniDebugInfo {
    /// More than any symbol table needs: the limit for a decompression bomb.
    static let largestImage = 128 << 20
    /// The decoder's memory limit: the dictionary of the strongest preset takes 65 MiB.
    static let decoderMemory: UInt64 = 80 << 20

    /// The decompressed file, in memory.
    static func image(_ compressed: UnsafeRawBufferPointer, in file: String) throws(SymbolFileError) -> [UInt8] {
        func broken(_ what: String) -> SymbolFileError { SymbolFileError(file: file, problem: .broken(".gnu_debugdata: " + what)) }

        var stream = kiln_lzma_stream()
        guard lzma_stream_decoder(&stream, decoderMemory, 0) == LZMA_OK else { throw broken("no decoder") }
        defer { lzma_end(&stream) }
        stream.next_in = compressed.baseAddress?.assumingMemoryBound(to: UInt8.self)
        stream.avail_in = compressed.count
        var image: [UInt8] = []
        var filled = 0
        while true {
            if filled == image.count {
                guard image.count < largestImage else { throw broken("larger than \(largestImage >> 20) MiB") }
                image += [UInt8](repeating: 0, count: max(image.count, 64 << 10))
            }
            let result = image.withUnsafeMutableBufferPointer { room in
                stream.next_out = room.baseAddress.map { $0 + filled }
                stream.avail_out = room.count - filled
                let result = lzma_code(&stream, LZMA_FINISH)
                filled = room.count - stream.avail_out
                return result
            }
            switch result {
            case LZMA_OK: continue
            case LZMA_STREAM_END:
                image.removeLast(image.count - filled)
                return image
            case LZMA_MEMLIMIT_ERROR: throw broken("needs more than \(decoderMemory >> 20) MiB for decompression")
            case LZMA_BUF_ERROR where filled == image.count: continue
            default: throw broken("invalid xz data (liblzma's error \(result.rawValue))")
            }
        }
    }
}
