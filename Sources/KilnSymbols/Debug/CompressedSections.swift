import CElfutils
import CZstd

/// A section in memory of its own.
final class DecompressedSection {
    private let memory: UnsafeMutableRawBufferPointer

    fileprivate init(_ memory: UnsafeMutableRawBufferPointer) { self.memory = memory }

    deinit { memory.deallocate() }

    /// Valid for the lifetime of the owner.
    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(memory) }
}

extension ElfFile {
    /// The most that the sections of one file may take when they are decompressed.
    static let largestDecompressed: UInt64 = 1 << 30

    /// What a compressed section (SHF_COMPRESSED, or the older GNU form named .zdebug_) claims to hold; 0 for others.
    func statedSize(of section: ElfSection, isGNUForm: Bool) -> UInt64 {
        if let content = compressedContent(of: section) { return content.size }
        guard isGNUForm, let start = bytes(at: section.header.sh_offset, count: min(section.header.sh_size, 12)), start.count == 12 else { return 0 }
        // "ZLIB", then the size.
        return UInt64(bigEndian: start.loadUnaligned(fromByteOffset: 4, as: UInt64.self))
    }

    /// A zstd-compressed section (ELFCOMPRESS_ZSTD, gABI 2022) decompressed, which libelf itself can only since 0.189; nil for others.
    func decompressedZstd(_ section: ElfSection) throws(SymbolFileError) -> DecompressedSection? {
        guard let content = compressedContent(of: section), content.type == 2 else { return nil }
        // The size that zstd itself states is checked first, so that a wrong one costs no memory.
        let stated = ZSTD_getFrameContentSize(content.bytes.baseAddress, content.bytes.count)
        guard content.size <= Self.largestDecompressed, stated == content.size || stated == UInt64.max /* unknown */ else {
            throw SymbolFileError(file: name, problem: .broken("a compressed section that states two sizes"))
        }
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(content.size), alignment: 16)
        let count = ZSTD_decompress(memory.baseAddress, memory.count, content.bytes.baseAddress, content.bytes.count)
        let section = DecompressedSection(memory)
        guard ZSTD_isError(count) == 0, count == memory.count else {
            throw SymbolFileError(file: name, problem: .broken("a compressed section that is no zstd data"))
        }
        return section
    }

    private struct CompressedContent {
        let type: UInt32
        let size: UInt64
        let bytes: UnsafeRawBufferPointer
    }

    private func compressedContent(of section: ElfSection) -> CompressedContent? {
        guard section.header.sh_flags & UInt64(SHF_COMPRESSED) != 0, section.header.sh_type != UInt32(SHT_NOBITS),
            let bytes = bytes(at: section.header.sh_offset, count: section.header.sh_size)
        else { return nil }
        func content<Header: BitwiseCopyable>(_ type: Header.Type, _ fields: (Header) -> (type: UInt32, size: UInt64)) -> CompressedContent? {
            let headerSize = MemoryLayout<Header>.size
            guard bytes.count > headerSize else { return nil }
            let header = fields(bytes.loadUnaligned(as: type))
            return CompressedContent(type: header.type, size: header.size, bytes: UnsafeRawBufferPointer(rebasing: bytes[headerSize...]))
        }
        return header.e_ident.4 == UInt8(ELFCLASS64)
            ? content(Elf64_Chdr.self) { ($0.ch_type, $0.ch_size) } : content(Elf32_Chdr.self) { ($0.ch_type, UInt64($0.ch_size)) }
    }
}
