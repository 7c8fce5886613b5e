#if canImport(Glibc)
import Glibc
#else
import Musl
#endif
import SystemPackage

/// A mounted proc file system, or a copy of one.
///
/// Everything about other processes is read here. Nothing is written, and only system calls on files are made.
public struct ProcFS: Sendable {
    public let root: FilePath

    public init(root: FilePath = "/proc") { self.root = root }

    /// The ids of all processes, ascending. The kernel lists only thread-group leaders.
    public func pids() throws(Errno) -> [Int32] {
        let descriptor = try openDescriptor(root.string, at: AT_FDCWD, O_RDONLY | O_DIRECTORY)
        var result: [Int32] = []
        try forEachEntry(closing: descriptor) { name, _ in
            let length = strlen(name)
            let pid = UnsafeBufferPointer(start: name, count: length).withMemoryRebound(to: UInt8.self) { Bytes($0).pid }
            if let pid { result.append(pid) }
            return true
        }
        return result.sorted()
    }

    /// The process with this id, or the thread (see ``ProcessStatus/threadGroup``).
    public func process(_ pid: Int32) throws(Errno) -> ProcessDirectory {
        let path = root.appending(String(pid)).string
        return ProcessDirectory(pid: pid, descriptor: try openDescriptor(path, at: AT_FDCWD, O_RDONLY | O_DIRECTORY))
    }

    /// The calling process. Throws ENOENT if /proc belongs to a pid namespace that the process is not in.
    public func selfProcess() throws(Errno) -> ProcessDirectory {
        let descriptor = try openDescriptor(root.appending("self").string, at: AT_FDCWD, O_RDONLY | O_DIRECTORY)
        var process = ProcessDirectory(pid: 0, descriptor: descriptor)
        process.pid = try process.status().pid
        return process
    }

    /// The running descendants of a process. A process whose parent has ended has another parent.
    public func descendants(of pid: Int32) -> [Int32] {
        var children: [Int32: [Int32]] = [:]
        for candidate in (try? pids()) ?? [] {
            guard let process = try? process(candidate), let stat = try? process.stat(), !stat.state.isDead else { continue }
            children[stat.parent, default: []].append(candidate)
        }
        var found: [Int32] = [], open = [pid]
        while let parent = open.popLast() {
            // A pid that was reused during the reads could form a cycle.
            let new = (children.removeValue(forKey: parent) ?? []).filter { $0 != pid }
            found += new
            open += new
        }
        return found.sorted()
    }

    /// The pid namespace of the calling process.
    public enum PIDNamespace: Hashable, Sendable {
        /// The kernel's first: BPF programs see the same pids as /proc.
        case initial
        /// A nested one, as in a container: BPF programs see other pids than this process.
        case nested(inode: UInt64)
        case unreadable(Errno)

        /// PROC_PID_INIT_INO of include/linux/proc_ns.h, the same on every kernel since 3.8.
        static let initialInode: UInt64 = 0xEFFF_FFFC
    }

    public var pidNamespace: PIDNamespace {
        do throws(Errno) {
            let inode = try selfProcess().namespace(.pid)
            return inode == PIDNamespace.initialInode ? .initial : .nested(inode: inode)
        } catch {
            return .unreadable(error)
        }
    }
}

/// Opens a path relative to a directory, with O_CLOEXEC.
func openDescriptor(_ path: String, at directory: Int32, _ flags: Int32) throws(Errno) -> Int32 {
    while true {
        let descriptor = openat(directory, path, flags | O_CLOEXEC)
        if descriptor >= 0 { return descriptor }
        if errno != EINTR { throw Errno(rawValue: errno) }
    }
}

/// Calls `body` with the name of each entry and the directory's descriptor until it returns false. Closes the directory.
func forEachEntry(
    closing descriptor: Int32, _ body: (_ name: UnsafePointer<CChar>, _ directory: Int32) -> Bool
) throws(Errno) {
    guard let stream = fdopendir(descriptor) else {
        let error = Errno(rawValue: errno)
        close(descriptor)
        throw error
    }
    defer { closedir(stream) }
    while true {
        errno = 0
        guard let entry = readdir(stream) else {
            if errno != 0 { throw Errno(rawValue: errno) }
            return
        }
        let goOn = withUnsafePointer(to: &entry.pointee.d_name) { name in
            name.withMemoryRebound(to: CChar.self, capacity: MemoryLayout.size(ofValue: name.pointee)) { body($0, descriptor) }
        }
        if !goOn { return }
    }
}
