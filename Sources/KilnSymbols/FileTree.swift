import CElfutils
import Glibc
import SystemPackage

/// A file tree as a process sees it: the host's or a container's. It is held open, so it outlives the process.
final class FileTree {
    private let root: FileDescriptor
    private let identity: (device: UInt64, inode: UInt64)
    /// The prefix of its paths in messages: `/proc/1234/root`; empty for the host's tree.
    let name: String

    /// Opens the directory `path`, relative to an open directory.
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

    /// The tree of this process.
    static func host() throws(Errno) -> FileTree { try FileTree(at: FileDescriptor(rawValue: AT_FDCWD), "/", named: "") }

    deinit { try? root.close() }

    func isSame(as other: FileTree) -> Bool { identity == other.identity }

    /// Opens a regular file. Symbolic links are resolved within this tree, so those of a container can't lead out of it. Other kinds of
    /// files are refused without being opened, because opening a device or a pipe can have effects. So are files not owned by one of
    /// `owners`, if they are given.
    func open(_ path: String, ownedBy owners: Set<UInt32>? = nil) throws(SymbolFileError) -> OpenFile {
        let found = kiln_find_below(root.rawValue, path)
        guard found >= 0 else { throw failure(path, .unreadable(Errno(rawValue: errno))) }
        defer { close(found) }
        var status = stat()
        guard fstat(found, &status) == 0 else { throw failure(path, .unreadable(Errno(rawValue: errno))) }
        guard kiln_is_regular_file(status.st_mode) != 0 else { throw failure(path, .notRegularFile) }
        if let owners, !owners.contains(status.st_uid) { throw failure(path, .foreign(owner: status.st_uid)) }
        do throws(Errno) {
            // Opens the file that was checked, even if the path leads to another one now.
            return try OpenFile(at: root, "/proc/self/fd/\(found)")
        } catch {
            throw failure(path, .unreadable(error))
        }
    }

    private func failure(_ path: String, _ problem: SymbolFileError.Problem) -> SymbolFileError {
        SymbolFileError(file: name + path, problem: problem)
    }
}
