/// A range of a process's address space with executable code, for an unwinder.
public struct ExecutableMapping {
    public let start: UInt64
    /// The first address after it.
    public let end: UInt64
    /// The line of /proc/PID/maps, with device and inode as in perf's MMAP2 records. `start` and `end` may be a part of it, if a newer
    /// mapping has replaced the rest.
    public let mapping: Mapping
    /// The mapped file; nil for anonymous memory (just-in-time compiled code), and for files that can't be opened or are not ELF.
    public let file: UnwindableFile?
    /// The load bias: address - bias is the ELF virtual address. 0 without a file.
    public let bias: UInt64
    /// That of the mapping, if the kernel's mapping has it too; 0 without a file, and in a layered file system, whose files have others below them.
    public let comparableInode: UInt64

    init(_ code: PlacedCode) {
        if case .file(let mapped) = code.source, mapped.isWhatIsMapped { comparableInode = code.mapping.inode } else { comparableInode = 0 }
        start = code.start
        end = code.end
        mapping = code.mapping
        guard case .file(let mapped) = code.source, case .success(let segments) = mapped.segments(),
            let address = segments.address(ofFileOffset: code.mapping.fileOffset)
        else {
            file = nil
            bias = 0
            return
        }
        file = UnwindableFile(mapped: mapped)
        bias = code.mapping.start &- address
    }
}

/// An ELF file (or vDSO image) that processes of a `SymbolStore` have mapped. Equal for all processes that map the same file. Not
/// thread-safe.
public struct UnwindableFile: Hashable {
    let mapped: MappedFile

    /// The path in the first process that mapped it, or `[vdso]`.
    public var name: String { mapped.name }
    /// Nil for a vDSO, which has no file.
    public var identity: FileIdentity? { mapped.identity }

    /// The unwind table, built on first use and kept. Throws for files that are unreadable, malformed or of another architecture.
    public func unwindTable() throws(SymbolFileError) -> UnwindTable { try mapped.unwindTable().get() }

    /// Frees the table after it was copied to the kernel. It can be built again while the file is open, which it is until its symbols have
    /// been read.
    public func releaseUnwindTable() { mapped.releaseUnwindTable() }

    public static func == (one: Self, other: Self) -> Bool { one.mapped === other.mapped }
    public func hash(into hasher: inout Hasher) { hasher.combine(ObjectIdentifier(mapped)) }
}

extension Symbolizer {
    /// The executable mappings as of the last refresh, sorted by address and disjoint. Includes unmapped ones whose addresses have not been
    /// reused.
    ///
    /// Reads the program headers of new files, about 20 us each, and builds no table.
    public func executableMappings() -> [ExecutableMapping] { layers.code.pieces.map(ExecutableMapping.init) }
}
