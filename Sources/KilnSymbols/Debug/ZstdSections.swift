import CElfutils
import CZstd

extension ElfFile {
    /// The most that the sections of one file may take when they are decompressed.
    private static let largestContent: UInt64 = 4 << 30

    /// The file in memory with its zstd-compressed sections (SHF_COMPRESSED with ELFCOMPRESS_ZSTD, gABI 2022) decompressed, which libelf itself can only since
    /// 0.189; nil if it has none. The decompressed content lies behind the bytes of the file.
    func imageWithoutZstd() throws(SymbolFileError) -> [UInt8]? {
        guard isLittleEndian64Bit else { return nil }
        let compressed = try sections().enumerated().compactMap { index, section in
            zstdContent(of: section).map { (index: index, section: section, content: $0) }
        }
        guard !compressed.isEmpty else { return nil }
        let total = compressed.reduce(UInt64(0)) { $0.saturatingAdd($1.content.size) }
        guard total <= Self.largestContent, let own = bytes(at: 0, count: size) else {
            throw SymbolFileError(file: name, problem: .broken("its compressed sections claim to hold \(total) bytes"))
        }
        var image = [UInt8]()
        image.reserveCapacity(own.count + Int(total))
        image += own
        for (index, section, content) in compressed {
            let offset = image.count
            image += try decompressed(content)
            var header = Elf64_Shdr()
            let place = Int(self.header.e_shoff) + index * MemoryLayout<Elf64_Shdr>.size
            guard place + MemoryLayout<Elf64_Shdr>.size <= own.count else { throw broken("section header \(index)") }
            header = image.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: place, as: Elf64_Shdr.self) }
            header.sh_offset = UInt64(offset)
            header.sh_size = content.size
            header.sh_addralign = content.alignment
            header.sh_flags = section.header.sh_flags & ~UInt64(SHF_COMPRESSED)
            image.withUnsafeMutableBytes { $0.storeBytes(of: header, toByteOffset: place, as: Elf64_Shdr.self) }
        }
        return image
    }

    private struct ZstdContent {
        let bytes: UnsafeRawBufferPointer
        let size: UInt64
        let alignment: UInt64
    }

    private func zstdContent(of section: ElfSection) -> ZstdContent? {
        let headerSize = UInt64(MemoryLayout<Elf64_Chdr>.size)
        guard section.header.sh_flags & UInt64(SHF_COMPRESSED) != 0, section.header.sh_type != UInt32(SHT_NOBITS), section.header.sh_size > headerSize,
            let bytes = bytes(at: section.header.sh_offset, count: section.header.sh_size)
        else { return nil }
        let header = bytes.loadUnaligned(as: Elf64_Chdr.self), zstd: UInt32 = 2
        guard header.ch_type == zstd else { return nil }
        return ZstdContent(bytes: UnsafeRawBufferPointer(rebasing: bytes[Int(headerSize)...]), size: header.ch_size, alignment: header.ch_addralign)
    }

    private func decompressed(_ content: ZstdContent) throws(SymbolFileError) -> [UInt8] {
        // The size that zstd itself states is checked first, so that a wrong one costs no memory.
        let stated = ZSTD_getFrameContentSize(content.bytes.baseAddress, content.bytes.count)
        guard stated == content.size || stated == UInt64.max /* unknown */ else { throw broken("a compressed section that states two sizes") }
        var count = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: Int(content.size)) { room, filled in
            count = ZSTD_decompress(room.baseAddress, room.count, content.bytes.baseAddress, content.bytes.count)
            filled = ZSTD_isError(count) == 0 ? count : 0
        }
        guard UInt64(bytes.count) == content.size else { throw broken("a compressed section that is no zstd data") }
        return bytes
    }
}
