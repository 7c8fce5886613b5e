/// A piece of a process's address space from which code runs, for an unwinder: where it is and how to unwind there.
public struct ExecutableMapping {
    public let start: UInt64
    /// The first address behind it.
    public let end: UInt64
    /// The line of /proc/PID/maps, whose device and inode are what perf's MMAP2 records say too. `start` and `end` may be a
    /// part of it, where a newer mapping has taken the rest.
    public let mapping: Mapping
    /// What is mapped; nil for anonymous memory (just-in-time code) and for files that can't be opened or aren't ELF.
    public let file: UnwindableFile?
    /// How far the file's code has been moved: address - bias is the ELF virtual address. 0 without a file.
    public let bias: UInt64

    init(_ code: PlacedCode) {
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

/// An ELF file (or vDSO image) that processes of a `SymbolStore` have mapped. Equal for all processes that map the same file.
/// Not for use from several threads at once.
public struct UnwindableFile: Hashable {
    let mapped: MappedFile

    /// The path in the process that was seen first, or `[vdso]`.
    public var name: String { mapped.name }
    /// Nil for a vDSO, which no file holds.
    public var identity: FileIdentity? { mapped.identity }

    /// Its unwind table, built at the first question, then kept. Fails for files that are unreadable, broken or of
    /// another architecture.
    public func unwindTable() throws(SymbolFileError) -> UnwindTable { try mapped.unwindTable().get() }

    /// Frees the table where it has been copied to the kernel. Another question builds it anew as long as the file is open,
    /// which it is until its symbols have been read.
    public func releaseUnwindTable() { mapped.releaseUnwindTable() }

    public static func == (one: Self, other: Self) -> Bool { one.mapped === other.mapped }
    public func hash(into hasher: inout Hasher) { hasher.combine(ObjectIdentifier(mapped)) }
}

extension Symbolizer {
    /// The executable mappings, sorted by address and disjoint, as of the last refresh. Includes those that the process has
    /// unmapped since they were first seen, as far as nothing else has taken their addresses.
    ///
    /// Reads the program headers of files that are new, about 20 us each, and builds no table.
    public func executableMappings() -> [ExecutableMapping] { code.pieces.map(ExecutableMapping.init) }
}
