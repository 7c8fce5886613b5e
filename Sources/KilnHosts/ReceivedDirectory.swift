import Glibc
import PrintableText
import SystemPackage

/// A directory that is filled by another host. Whatever the host sends, files are only made inside this directory: links are not followed, and files
/// that did not come from that host are not touched.
public final class ReceivedDirectory {
    /// Why a file was not taken.
    public struct Refusal: Error, CustomStringConvertible {
        public let description: String
    }

    /// The largest number of files.
    public static let mostFiles = 10_000

    private let root: FileDescriptor
    private let mostBytes: Int
    private var files: [String: Int] = [:]
    private var directories: Set<String> = []
    /// Files that grow, and new versions of files that are not complete.
    private var open: [String: FileDescriptor] = [:], partial: [String: (file: FileDescriptor, size: Int)] = [:]
    /// The size of all files in bytes, incomplete ones included.
    private var total = 0

    /// - Parameters:
    ///   - root: An open, empty directory; closed with the value.
    ///   - mostBytes: The largest size of all files together. Former versions of a file don't count.
    public init(root: FileDescriptor, mostBytes: Int = 16 << 30) { (self.root, self.mostBytes) = (root, mostBytes) }

    deinit {
        for file in Array(open.values) + partial.values.map(\.file) { try? file.close() }
        try? root.close()
    }

    /// The files that are there, each with its size in bytes, in the order of their names. A file that replaces another one is there once it is complete.
    public var received: [(name: String, size: Int)] { files.map { ($0.key, $0.value) }.sorted { $0.0 < $1.0 } }

    /// Adds to the end of a file.
    public func append(_ bytes: [UInt8], to name: String) throws {
        let path = try place(of: name)
        let file = try open[name] ?? (files[name] == nil ? create(path) : reopen(path))
        open[name] = file
        try write(bytes, to: file)
        files[name, default: 0] += bytes.count
    }

    /// Adds to a new version of a file, which takes the place of the former with its last piece.
    public func replace(_ name: String, _ bytes: [UInt8], isLast: Bool) throws {
        let path = try place(of: name), (file, size) = try partial[name] ?? (create(path.partial), 0)
        partial[name] = (file, size)
        try write(bytes, to: file)
        partial[name]?.size += bytes.count
        guard isLast else { return }
        partial[name] = nil
        try file.close()
        // The former one, which may still be open for more.
        try open.removeValue(forKey: name)?.close()
        guard renameat(root.rawValue, path.partial.text, root.rawValue, path.text) == 0 else { throw Errno(rawValue: errno) }
        total -= files[name] ?? 0
        files[name] = size + bytes.count
    }

    /// Removes what has been begun and will not be complete.
    public func discardPartial() {
        for (name, (file, size)) in partial {
            try? file.close()
            total -= size
            if let path = try? place(of: name) { unlinkat(root.rawValue, path.partial.text, 0) }
        }
        partial = [:]
    }

    /// A name of at most two parts.
    private struct Place {
        var directory: String?
        var name: String
        var text: String { directory.map { "\($0)/\(name)" } ?? name }
        var partial: Place { Place(directory: directory, name: ".\(name).partial") }
    }

    private func place(of name: String) throws(Refusal) -> Place {
        let parts = name.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard (1...2).contains(parts.count), parts.allSatisfy({ !$0.isEmpty && $0.first != "." && $0.printable == $0 && $0.utf8.count <= 200 }) else {
            throw Refusal(description: "`\(name.printable)` is no name of a session's file")
        }
        return Place(directory: parts.count == 2 ? parts[0] : nil, name: parts[parts.count - 1])
    }

    private func create(_ place: Place) throws -> FileDescriptor {
        guard files.count + partial.count < Self.mostFiles else { throw Refusal(description: "a session has no more than \(Self.mostFiles) files") }
        if let directory = place.directory, directories.insert(directory).inserted, mkdirat(root.rawValue, directory, 0o755) != 0 {
            throw Errno(rawValue: errno)
        }
        // A directory of that name was made here, and only its owner can have replaced it by a link.
        let file = openat(root.rawValue, place.text, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o644)
        guard file >= 0 else { throw Errno(rawValue: errno) }
        return FileDescriptor(rawValue: file)
    }

    /// A file that has replaced another one, to add to it.
    private func reopen(_ place: Place) throws -> FileDescriptor {
        let file = openat(root.rawValue, place.text, O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC)
        guard file >= 0 else { throw Errno(rawValue: errno) }
        return FileDescriptor(rawValue: file)
    }

    private func write(_ bytes: [UInt8], to file: FileDescriptor) throws {
        guard total + bytes.count <= mostBytes else { throw Refusal(description: "a session has no more than \(mostBytes >> 30) GiB") }
        _ = try file.writeAll(bytes)
        total += bytes.count
    }
}
