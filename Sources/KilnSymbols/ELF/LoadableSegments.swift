import SystemPackage

/// A segment: the bytes of a file, and their addresses.
struct ElfSegment: Sendable {
    let fileOffset: UInt64
    let fileSize: UInt64
    let address: UInt64
    let isExecutable: Bool
}

/// The loadable segments (PT_LOAD) of a file, which map file offsets to addresses as in `nm`.
struct LoadableSegments: Sendable {
    private let segments: [ElfSegment]

    init(_ segments: [ElfSegment]) { self.segments = segments }

    /// Reads the program headers of an open file.
    init(reading file: FileDescriptor, named name: String) throws(SymbolFileError) {
        let elf = try ElfFile(reading: file, named: name)
        self.init(try elf.segments())
    }

    /// Reads the program headers of an ELF file in memory.
    init(image: [UInt8], named name: String) throws(SymbolFileError) {
        let elf = try ElfFile(image: image, named: name)
        self.init(try elf.segments())
    }

    /// The address to which a byte of the file is loaded, before relocation; nil outside the segments.
    ///
    /// The kernel maps whole pages, so a mapping extends a little beyond its segment at both ends, and one page of the file may belong to
    /// two segments. Executable segments are preferred, then segments that contain the byte itself.
    func address(ofFileOffset offset: UInt64) -> UInt64? {
        // 64 KiB is the largest page size of the architectures in use.
        let page: UInt64 = 0x10000
        var best: (rank: Int, address: UInt64)?
        for segment in segments {
            let isInside = offset >= segment.fileOffset && offset - segment.fileOffset < segment.fileSize
            let isOnItsPages =
                offset >= segment.fileOffset & ~(page - 1)
                && (offset < segment.fileOffset || offset - segment.fileOffset < segment.fileSize.saturatingAdd(page))
            guard isOnItsPages else { continue }
            let rank = (segment.isExecutable ? 2 : 0) + (isInside ? 1 : 0)
            if rank > best?.rank ?? -1 {
                best = (rank, offset &- segment.fileOffset &+ segment.address)
            }
        }
        return best?.address
    }

    /// The file offset of an address, and the number of bytes up to the end of its segment; nil if the file has none.
    func place(of address: UInt64) -> (fileOffset: UInt64, count: UInt64)? {
        for segment in segments where address >= segment.address && address - segment.address < segment.fileSize {
            let distance = address - segment.address
            let (offset, overflow) = segment.fileOffset.addingReportingOverflow(distance)
            return overflow ? nil : (offset, segment.fileSize - distance)
        }
        return nil
    }

    /// The address ranges of code for which a file of this size has bytes.
    func code(inFileOfSize size: UInt64) -> [Range<UInt64>] {
        segments.compactMap { segment in
            guard segment.isExecutable, segment.fileOffset < size else { return nil }
            let count = min(segment.fileSize, size - segment.fileOffset)
            return segment.address..<segment.address.saturatingAdd(count)
        }
    }
}
