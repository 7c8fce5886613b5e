import Glibc

/// A session's directory whose files are sent while they grow: what a session appends is sent as it comes, and files that it replaces are sent whole.
public final class GrowingDirectory {
    private struct Sent {
        var inode: UInt64
        var size: Int
        /// Stays open, so that no other file gets the number of its inode.
        var file: Int32
    }

    private let path: String
    private var sent: [String: Sent] = [:]

    private static let piece = 256 << 10

    public init(_ path: String) { self.path = path }

    deinit { for file in sent.values { close(file.file) } }

    /// Sends new content. Names that begin with a dot are skipped: a session gives them to incomplete files.
    public func sendNews(_ send: (Frame) throws -> Void) throws {
        for name in Self.names(in: path) {
            if Self.isDirectory("\(path)/\(name)") {
                for inner in Self.names(in: "\(path)/\(name)") { try sendNews(of: "\(name)/\(inner)", send) }
            } else {
                try sendNews(of: name, send)
            }
        }
    }

    private static func names(in directory: String) -> [String] {
        guard let entries = opendir(directory) else { return [] }
        defer { closedir(entries) }
        var names: [String] = []
        while let entry = readdir(entries) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
            if !name.hasPrefix(".") { names.append(name) }
        }
        return names.sorted()
    }

    private static func isDirectory(_ path: String) -> Bool {
        var status = stat()
        return lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    private func sendNews(of name: String, _ send: (Frame) throws -> Void) throws {
        let file = open("\(path)/\(name)", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
        guard file >= 0 else {
            // It was removed or replaced since the directory was read.
            if errno == ENOENT || errno == ELOOP { return }
            throw ReadFailure(code: errno)
        }
        let former = sent[name]
        var status = stat()
        guard fstat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            close(file)
            return
        }
        let inode = UInt64(status.st_ino), size = Int(status.st_size)
        let grows = former.map { $0.inode == inode && $0.size <= size } ?? false
        var offset = grows ? former?.size ?? 0 : 0
        if grows, offset == size {
            close(file)
            return
        }
        if let former { close(former.file) }
        sent[name] = Sent(inode: inode, size: offset, file: file)
        while true {
            let bytes = try Self.read(file, at: offset, min(Self.piece, size - offset))
            offset += bytes.count
            // A file that has shrunk while it is read ends here; the next look finds it changed.
            let isLast = offset >= size || bytes.isEmpty
            try send(grows ? .append(file: name, bytes) : .replace(file: name, bytes, isLast: isLast))
            if isLast { break }
        }
        sent[name]?.size = offset
    }

    private static func read(_ file: Int32, at offset: Int, _ count: Int) throws -> [UInt8] {
        try [UInt8](unsafeUninitializedCapacity: count) { memory, length in
            let got = pread(file, memory.baseAddress, count, off_t(offset))
            guard got >= 0 else { throw ReadFailure(code: errno) }
            length = got
        }
    }

    /// A file of the session can't be read.
    public struct ReadFailure: Error, CustomStringConvertible {
        let code: Int32
        public var description: String { "a file of the session can't be read: \(String(cString: strerror(code)))" }
    }
}
