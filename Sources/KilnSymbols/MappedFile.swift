import CElfutils
import Glibc
import SystemPackage

/// A file descriptor that is closed with its owner.
struct OpenFile: ~Copyable {
    let descriptor: FileDescriptor

    /// Opens a path relative to an open directory.
    init(at directory: FileDescriptor, _ path: String, options: Int32 = 0) throws(Errno) {
        // A mapped file must not block kiln or become its controlling terminal.
        let flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | options
        let raw = openat(directory.rawValue, path, flags)
        guard raw >= 0 else { throw Errno(rawValue: Glibc.errno) }
        descriptor = FileDescriptor(rawValue: raw)
    }

    /// Duplicates the descriptor of an open file.
    init(duplicating other: FileDescriptor) throws(Errno) {
        let raw = fcntl(other.rawValue, F_DUPFD_CLOEXEC, 0)
        guard raw >= 0 else { throw Errno(rawValue: Glibc.errno) }
        descriptor = FileDescriptor(rawValue: raw)
    }

    deinit { try? descriptor.close() }
}

/// Identifies a mapped file.
public struct FileIdentity: Hashable, Sendable {
    /// st_dev. On file systems with subvolumes (btrfs, overlayfs) it differs from the device in /proc/PID/maps.
    public let device: UInt64
    public let inode: UInt64
    // Inode numbers are reused: size and time distinguish a new file from a deleted one.
    public let size: Int64
    public let modifiedSeconds: Int
    public let modifiedNanoseconds: Int

    init(of status: stat) {
        device = UInt64(status.st_dev)
        inode = UInt64(status.st_ino)
        size = Int64(status.st_size)
        modifiedSeconds = status.st_mtim.tv_sec
        modifiedNanoseconds = status.st_mtim.tv_nsec
    }
}

/// A file (or vDSO image) that processes have mapped. Its symbols, its unwind table and the extents of its functions are read on first use.
final class MappedFile {
    /// Open until all that may be needed has been read, so that the file may be deleted and the process may exit.
    private var file: OpenFile?
    private var image: [UInt8]
    private var symbols: Result<SymbolTable, SymbolFileError>?
    private var unwinding: Result<UnwindTable, SymbolFileError>?
    /// A table was built, even if it has been released since.
    private var wasUnwound = false
    private var loadable: Result<LoadableSegments, SymbolFileError>?
    private var extents: Result<FunctionExtents, SymbolFileError>?
    private var python: PythonSymbols??
    let name: String
    /// Nil for an image.
    let identity: FileIdentity?
    /// The kernel maps this file itself, not one below it.
    let isWhatIsMapped: Bool
    /// The places of its debug file. Nil for an image, which has none.
    private let search: DebugFileSearch?
    private let wantsSource: Bool
    private let wantsLines: Bool
    /// Nil if it is not wanted, or if there is no debugging information. Set when `symbols` is.
    private var inlined: InlinedFunctions?
    /// Likewise, of a Go program.
    private var goSource: GoSource?
    /// A server may have what this host's files lack. Set when `symbols` is.
    private var isIncomplete = false
    /// Nil if the file has none, or before `symbols` is set.
    private(set) var buildID: BuildID?

    init(
        _ file: consuming OpenFile, _ identity: FileIdentity, named name: String, search: DebugFileSearch, wantsSource: Bool, wantsLines: Bool
    ) {
        isWhatIsMapped = kiln_is_of_plain_file_system(file.descriptor.rawValue)
        self.file = consume file
        self.image = []
        self.name = name
        self.identity = identity
        self.search = search
        self.wantsSource = wantsSource
        self.wantsLines = wantsLines
    }

    init(image: [UInt8], named name: String) {
        self.file = nil
        self.image = image
        self.name = name
        self.identity = nil
        isWhatIsMapped = true
        search = nil
        wantsSource = false
        wantsLines = false
    }

    func table() -> Result<SymbolTable, SymbolFileError> {
        if let symbols { return symbols }
        let result = read(readSymbols, SymbolTable.init(image:named:))
        if case .failure = result { (inlined, goSource) = (nil, nil) }
        symbols = result
        closeIfDone()
        return result
    }

    private func readSymbols(_ file: FileDescriptor, _ name: String) throws(SymbolFileError) -> SymbolTable {
        let elf = try ElfFile(reading: file, named: name)
        buildID = try? elf.buildID()
        lazy var debugFile = search?.debugFile(of: elf, at: name) ?? .none
        lazy var fetched = search?.fetchedDebugFile(of: elf) ?? .none
        let table = try SymbolTable(elf, debugFile: debugFile, fetched: fetched)
        if wantsSource {
            goSource = GoSource(of: elf)
            readInlined(file, debugFile: debugFile, fetched: fetched)
        }
        isIncomplete = !table.isGo && (table.hasOnlyDynamicSymbols || wantsSource && inlined?.isComplete != true)
        return table
    }

    /// The file's own debugging information is preferred to that of a debug file.
    private func readInlined(
        _ file: FileDescriptor, debugFile: @autoclosure () -> DebugFileSearch.Result, fetched: @autoclosure () -> DebugFileSearch.Result
    ) {
        guard let search else { return }
        func use(_ debug: DebugFile) {
            let split = SplitFiles(search, of: debug.path == name ? [name] : [name, debug.path])
            inlined = try? InlinedFunctions(debug, shared: search.sharedDebugFile(of: debug.elf), split: split, lines: wantsLines)
        }
        if let own = try? DebugFile(OpenFile(duplicating: file), at: name, named: name) { use(own) }
        if inlined == nil, case .found(let debug) = debugFile() { use(debug) }
        if inlined == nil, case .found(let debug) = fetched() { use(debug) }
    }

    /// What the source code has at an address of the file; without names and places if that is not known.
    func sourceFrames(at address: UInt64) -> SourceFrames { goSource?.frames(at: address) ?? inlined?.frames(at: address) ?? SourceFrames() }

    /// Forgets the symbols if a server's debug file may complete them; the next question reads them again. Returns whether it forgot any.
    func forgetIncomplete() -> Bool {
        guard case .success? = symbols, isIncomplete, file != nil else { return false }
        symbols = nil
        inlined = nil
        return true
    }

    func unwindTable() -> Result<UnwindTable, SymbolFileError> {
        if let unwinding { return unwinding }
        let result = read(Self.unwindTable, UnwindTable.init(image:named:))
        unwinding = result
        wasUnwound = true
        closeIfDone()
        return result
    }

    private static func unwindTable(_ file: FileDescriptor, _ name: String) throws(SymbolFileError) -> UnwindTable {
        try UnwindTable(reading: file, named: name, from: [.callFrames, .instructions])
    }

    /// Frees the table. A failure is kept.
    func releaseUnwindTable() {
        if case .success? = unwinding { unwinding = nil }
    }

    /// The addresses to which the file's bytes are loaded.
    func segments() -> Result<LoadableSegments, SymbolFileError> {
        if let loadable { return loadable }
        let result = read(LoadableSegments.init(reading:named:), LoadableSegments.init(image:named:))
        loadable = result
        return result
    }

    /// The function at an address that no symbol covers, by the file's call frame information; nil without.
    func unnamedFunction(at address: UInt64) -> Range<UInt64>? {
        let known = extents ?? read(FunctionExtents.init(reading:named:), FunctionExtents.init(image:named:))
        extents = known
        closeIfDone()
        return (try? known.get())?.function(at: address)
    }

    /// What leads to Python's structures, if the file is Python's. Asked for before the file is closed.
    func pythonSymbols() -> PythonSymbols? {
        if let python { return python }
        guard PythonSymbols.mayBe(in: name) else { return nil }
        let result = read({ file, name throws(SymbolFileError) in try PythonSymbols(ElfFile(reading: file, named: name)) }) {
            image, name throws(SymbolFileError) in try PythonSymbols(ElfFile(image: image, named: name))
        }
        let found = (try? result.get()) ?? nil
        python = .some(found)
        return found
    }

    func isImage(_ bytes: [UInt8]) -> Bool { image == bytes }

    private func read<Content>(
        _ fromFile: (FileDescriptor, String) throws(SymbolFileError) -> Content,
        _ fromImage: ([UInt8], String) throws(SymbolFileError) -> Content
    ) -> Result<Content, SymbolFileError> {
        // Taken out and put back, because a non-copyable value can't be borrowed from a class.
        if let file = file.take() {
            let result = Result { () throws(SymbolFileError) in try fromFile(file.descriptor, name) }
            var status = stat()
            // fstat comes after the reading, so that it also shows a write during the reading.
            let isUnchanged = fstat(file.descriptor.rawValue, &status) == 0 && FileIdentity(of: status) == identity
            self.file = consume file
            if case .success = result, !isUnchanged { return .failure(SymbolFileError(file: name, problem: .overwritten)) }
            return result
        }
        if identity != nil { return .failure(SymbolFileError(file: name, problem: .unreadable(.badFileDescriptor))) }
        return Result { () throws(SymbolFileError) in try fromImage(image, name) }
    }

    private func closeIfDone() {
        guard let symbols, wasUnwound, loadable != nil, search?.hasServers != true || !isIncomplete else { return }
        let namesAll = if case .success(let table) = symbols { !table.hasOnlyDynamicSymbols } else { true }
        if namesAll || extents != nil { file = nil }
    }
}

/// The mapped files of any number of processes. Each file is opened and read once, even if several processes map it. Shared by the
/// symbolizers of a session. Not thread-safe.
public final class SymbolStore {
    private var files: [FileIdentity: MappedFile] = [:]
    private var images: [MappedFile] = []
    private let readsSource: Bool
    private let readsLines: Bool
    private let servers: DebugFileServers?
    private let host = try? FileTree.host()
    private var lastNumber: UInt64 = 0

    /// - Parameters:
    ///   - readsSource: Reads debugging information, too, so that `Symbolizer.frames` includes inlined functions.
    ///   - lines: And places in source code.
    ///   - servers: What this host lacks is fetched from them, once they may be asked.
    public init(readsSource: Bool = false, lines: Bool = false, servers: DebugFileServers? = nil) {
        self.readsSource = readsSource
        readsLines = lines
        self.servers = servers
    }

    /// Forgets the symbols of files whose debug files were missing. Returns whether there are such.
    public func forgetIncomplete() -> Bool {
        var hasForgotten = false
        for file in files.values where file.forgetIncomplete() { hasForgotten = true }
        return hasForgotten
    }

    /// The next number, from 1, of a reading or a layer of a process's mappings.
    func takeNumber() -> UInt64 {
        lastNumber += 1
        return lastNumber
    }

    /// The number of different files.
    public var fileCount: Int { files.count + images.count }

    /// The file of a mapping of the process with this /proc directory and file tree.
    func file(
        behind mapping: Mapping, path: String, isDeleted: Bool, process: FileDescriptor, tree: FileTree?
    ) throws(SymbolFileError) -> MappedFile {
        // The link in map_files leads to the mapped file itself, in any mount namespace and even if it is deleted, but needs CAP_SYS_ADMIN
        // or CAP_CHECKPOINT_RESTORE. The path needs only access to the process, but may name another file now.
        do {
            return try file(at: Self.link(to: mapping), in: process, tree, named: path, inode: nil)
        } catch {
            if isDeleted { throw error }
            return try file(at: "root" + path, in: process, tree, named: path, inode: mapping.inode)
        }
    }

    private static func link(to mapping: Mapping) -> String {
        "map_files/" + String(mapping.start, radix: 16) + "-" + String(mapping.end, radix: 16)
    }

    /// The file of a mapping as it is now; nil if the process has none there, or kiln no access.
    static func identity(behind mapping: Mapping, process: FileDescriptor) -> FileIdentity? {
        var status = stat()
        return fstatat(process.rawValue, link(to: mapping), &status, 0) == 0 ? FileIdentity(of: status) : nil
    }

    private func file(
        at path: String, in process: FileDescriptor, _ tree: FileTree?, named name: String, inode: UInt64?
    ) throws(SymbolFileError) -> MappedFile {
        // Checked before it is opened, because opening a device can have effects.
        var status = stat()
        guard fstatat(process.rawValue, path, &status, 0) == 0 else {
            throw SymbolFileError(file: name, problem: .unreadable(Errno(rawValue: errno)))
        }
        guard kiln_is_regular_file(status.st_mode) != 0 else {
            throw SymbolFileError(file: name, problem: .notRegularFile)
        }
        if let inode, inode != UInt64(status.st_ino) { throw SymbolFileError(file: name, problem: .replaced) }
        let identity = FileIdentity(of: status)
        if let known = files[identity] { return known }

        let opened: OpenFile
        do throws(Errno) {
            opened = try OpenFile(at: process, path)
        } catch {
            throw SymbolFileError(file: name, problem: .unreadable(error))
        }
        guard fstat(opened.descriptor.rawValue, &status) == 0, FileIdentity(of: status) == identity else {
            throw SymbolFileError(file: name, problem: .replaced)
        }
        let file = MappedFile(
            opened, identity, named: name, search: DebugFileSearch(process: tree, host: host, servers: servers), wantsSource: readsSource,
            wantsLines: readsLines)
        files[identity] = file
        return file
    }

    /// The image of a vDSO. A kernel has only a few different ones.
    func image(_ bytes: [UInt8], named name: String) -> MappedFile {
        if let known = images.first(where: { $0.isImage(bytes) }) { return known }
        let image = MappedFile(image: bytes, named: name)
        images.append(image)
        return image
    }
}
