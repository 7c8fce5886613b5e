import CElfutils
import Glibc
import SystemPackage

/// A tree of files as a process sees it: the host's, or a container's. Held open, so that it outlives the process.
final class FileTree {
    private let root: FileDescriptor
    private let identity: (device: UInt64, inode: UInt64)
    /// Put before the paths of its files in messages: `/proc/1234/root`; empty for the host's own tree.
    let name: String

    /// Opens the directory `path`, itself relative to an open directory.
    init(at directory: FileDescriptor, _ path: String, named name: String) throws(Errno) {
        let raw = openat(directory.rawValue, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard raw >= 0 else { throw Errno(rawValue: errno) }
        var status = stat()
        guard fstat(raw, &status) == 0 else {
            let error = Errno(rawValue: errno)
            close(raw)
            throw error
        }
        root = FileDescriptor(rawValue: raw)
        identity = (UInt64(status.st_dev), UInt64(status.st_ino))
        self.name = name
    }

    /// This program's own.
    static func host() throws(Errno) -> FileTree { try FileTree(at: FileDescriptor(rawValue: AT_FDCWD), "/", named: "") }

    deinit { try? root.close() }

    func isSame(as other: FileTree) -> Bool { identity == other.identity }

    /// Opens a regular file. Symbolic links count from this tree's root, whoever wrote them: a container's can't lead out of
    /// it. Anything but a regular file is refused unopened, because opening a device or a pipe can have effects.
    /// And so is one that none of `owners` owns, if they are given.
    func open(_ path: String, ownedBy owners: Set<UInt32>? = nil) throws(SymbolFileError) -> OpenFile {
        let found = kiln_find_below(root.rawValue, path)
        guard found >= 0 else { throw failure(path, .unreadable(Errno(rawValue: errno))) }
        defer { close(found) }
        var status = stat()
        guard fstat(found, &status) == 0 else { throw failure(path, .unreadable(Errno(rawValue: errno))) }
        guard kiln_is_regular_file(status.st_mode) != 0 else { throw failure(path, .notRegularFile) }
        if let owners, !owners.contains(status.st_uid) { throw failure(path, .foreign(owner: status.st_uid)) }
        do throws(Errno) {
            // The way to open for reading what has been found, even where the path leads elsewhere by now.
            return try OpenFile(at: root, "/proc/self/fd/\(found)")
        } catch {
            throw failure(path, .unreadable(error))
        }
    }

    private func failure(_ path: String, _ problem: SymbolFileError.Problem) -> SymbolFileError {
        SymbolFileError(file: name + path, problem: problem)
    }
}
