#if canImport(Glibc)
import Glibc
#else
import Musl
#endif
import SystemPackage

/// The directory of a process in /proc, held open.
///
/// All reads go through the open directory. The kernel ties it to the process, not to the pid: once the process has ended, every read fails
/// with ENOENT or ESRCH, even if the pid is in use again.
public struct ProcessDirectory: ~Copyable {
    public internal(set) var pid: Int32
    private let descriptor: Int32

    init(pid: Int32, descriptor: Int32) {
        self.pid = pid
        self.descriptor = descriptor
    }

    deinit { close(descriptor) }

    public enum Namespace: String, Hashable, Sendable {
        case network = "net", pid, mount = "mnt"
    }

    /// The name of the group leader, without newline. Everyone may read it.
    public func comm() throws(Errno) -> String {
        let bytes = try read("comm")
        return (bytes.last == 0x0a ? bytes.dropLast() : bytes[...]).text
    }

    /// The path of the program in the process's mount namespace, followed by " (deleted)" if it was replaced or removed. Throws ENOENT for
    /// kernel threads and zombies, and EACCES without CAP_SYS_PTRACE for processes of other users.
    public func exe() throws(Errno) -> String { try link("exe").text }

    /// The arguments, at most their first 4 KiB.
    public func arguments() throws(Errno) -> [String] {
        commandLineArguments(parsing: try read("cmdline", upTo: 4096))
    }

    /// - Throws: EINVAL if the text has an unknown format, like ``status()`` and ``namespace(_:)``.
    public func stat() throws(Errno) -> ProcessStat {
        guard let stat = ProcessStat(parsing: try read("stat")) else { throw .invalidArgument }
        return stat
    }

    /// A thread that lives on, for a process whose first thread has ended (pthread_exit in main): its files in /proc have what those of the first one had.
    /// Nil if all threads have ended.
    public func livingThread() throws(Errno) -> Int32? {
        var living: Int32?
        let threads = try openDescriptor("task", at: descriptor, O_RDONLY | O_DIRECTORY)
        try forEachEntry(closing: threads) { name, directory in
            let text = String(cString: name)
            guard let tid = Int32(text), let file = try? openDescriptor(text, at: directory, O_RDONLY | O_DIRECTORY) else { return true }
            let thread = ProcessDirectory(pid: tid, descriptor: file)
            if let stat = try? thread.stat(), !stat.state.isDead { living = tid }
            return living == nil
        }
        return living
    }

    public func status() throws(Errno) -> ProcessStatus {
        guard let status = ProcessStatus(parsing: try read("status")) else { throw .invalidArgument }
        return status
    }

    /// The number of read(2), write(2) and similar calls of the process (syscr and syscw), without recv(2) and send(2).
    public func ioCalls() throws(Errno) -> UInt64 {
        let counts = try read("io")[...].lines.filter { $0.starts(with: "syscr:".utf8) || $0.starts(with: "syscw:".utf8) }
        let numbers = counts.compactMap { $0.fields.last?.number(as: UInt64.self) }
        guard numbers.count == 2 else { throw .invalidArgument }
        return numbers[0] &+ numbers[1]
    }

    /// The inode that identifies a namespace.
    public func namespace(_ namespace: Namespace) throws(Errno) -> UInt64 {
        let target = try link("ns/" + namespace.rawValue)
        let inode =
            switch namespace {
            case .network: target.inode(ofKind: "net")
            case .pid: target.inode(ofKind: "pid")
            case .mount: target.inode(ofKind: "mnt")
            }
        guard let inode else { throw .invalidArgument }
        return inode
    }

    public func container() throws(Errno) -> Container? { Container(parsingCgroup: try read("cgroup")) }

    /// The inodes of the sockets that the process holds. With `wanted`, only those, and only until all are found.
    ///
    /// The kernel lists descriptors from the lowest up, and a server opens its listeners before any client's socket. So a search for a few
    /// of 10,000 ends early.
    public func socketInodes(among wanted: Set<UInt64>? = nil) throws(Errno) -> Set<UInt64> {
        let directory = try openDescriptor("fd", at: descriptor, O_RDONLY | O_DIRECTORY)
        var result: Set<UInt64> = []
        // The longest relevant link, socket:[18446744073709551615], has 29 bytes; a path may be truncated.
        try withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 64) { buffer throws(Errno) in
            guard let base = buffer.baseAddress else { return }
            try forEachEntry(closing: directory) { name, directory in
                let length = base.withMemoryRebound(to: CChar.self, capacity: 64) { readlinkat(directory, name, $0, 64) }
                // Negative for "." and "..", and for a descriptor that was closed since the directory was read.
                guard length > 9, length < 64, base[0] == UInt8(ascii: "s"),
                    let inode = Bytes(buffer[..<length]).inode(ofKind: "socket"), wanted?.contains(inode) ?? true
                else { return true }
                result.insert(inode)
                return result.count != wanted?.count
            }
        }
        return result
    }

    /// All listening TCP sockets of the process's network namespace, of any process.
    public func listeningTCPSockets() throws(Errno) -> [ListeningTCPSocket] {
        var result: [ListeningTCPSocket] = []
        for (index, table) in ["net/tcp", "net/tcp6"].enumerated() {
            do throws(Errno) {
                try forEachLine(of: table) { line in
                    switch TCPTableLine(parsing: line) {
                    case .listening(let socket): result.append(socket); return true
                    case .other: return true
                    // Listeners come first, so a server with 100,000 connections takes no longer than an idle one.
                    case .connection: return false
                    }
                }
            } catch {
                // tcp6 does not exist on a kernel without IPv6.
                if index == 0 || error != .noSuchFileOrDirectory { throw error }
            }
        }
        return result
    }

    /// All named listening unix sockets of the process's network namespace, of any process.
    public func listeningUnixSockets() throws(Errno) -> [ListeningUnixSocket] {
        KilnTargets.listeningUnixSockets(parsing: try read("net/unix"))
    }

    /// The addresses of the process's network namespace, including loopback.
    public func localAddresses() throws(Errno) -> Set<IPAddress> {
        let ipv4 = localIPv4Addresses(parsingFIBTrie: try read("net/fib_trie"))
        // Does not exist on a kernel without IPv6.
        guard let interfaces = try? read("net/if_inet6") else { return ipv4 }
        return ipv4.union(localIPv6Addresses(parsingInterfaces: interfaces))
    }

    // MARK: - Files and links below the directory

    private func link(_ name: String) throws(Errno) -> Bytes {
        let capacity = Int(PATH_MAX)
        var buffer = [CChar](repeating: 0, count: capacity)
        let length = readlinkat(descriptor, name, &buffer, capacity)
        guard length >= 0 else { throw Errno(rawValue: errno) }
        return Bytes(buffer[..<length].map { UInt8(bitPattern: $0) })
    }

    /// A file, up to a number of bytes.
    private func read(_ name: String, upTo limit: Int = .max) throws(Errno) -> [UInt8] {
        var bytes: [UInt8] = []
        try forEachPiece(of: name) { piece in
            bytes.append(contentsOf: piece.prefix(limit - bytes.count))
            return bytes.count < limit
        }
        return bytes
    }

    /// Opens a file in the directory for reading.
    func openFile(_ name: String, _ flags: Int32 = 0) throws(Errno) -> Int32 { try openDescriptor(name, at: descriptor, O_RDONLY | flags) }

    /// Calls `body` with each line until it returns false.
    func forEachLine(of name: String, _ body: (Bytes) -> Bool) throws(Errno) {
        var pending: [UInt8] = []
        try forEachPiece(of: name) { piece in
            pending.append(contentsOf: piece)
            guard let end = pending.lastIndex(of: 0x0a) else { return true }
            for line in pending[..<end].lines where !body(line) { return false }
            pending.removeSubrange(...end)
            return true
        }
    }

    /// Calls `body` with each piece that the kernel returns, until it returns false or the file ends.
    private func forEachPiece(of name: String, _ body: (UnsafeBufferPointer<UInt8>) -> Bool) throws(Errno) {
        let file = try openFile(name)
        defer { close(file) }
        try withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 16384) { buffer throws(Errno) in
            while true {
                #if canImport(Glibc)
                let count = Glibc.read(file, buffer.baseAddress, buffer.count)
                #else
                let count = Musl.read(file, buffer.baseAddress, buffer.count)
                #endif
                if count < 0 {
                    if errno == EINTR { continue }
                    throw Errno(rawValue: errno)
                }
                if count == 0 || !body(UnsafeBufferPointer(rebasing: buffer[..<count])) { return }
            }
        }
    }
}
