// Recognizes a server by its program file, whatever its name is.

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif
import SystemPackage

extension KnownServer {
    /// Strings that every server of the family has in its program, and no client: a line of INFO, and the name of a setting. Split in two,
    /// so that kiln's own file doesn't contain them.
    static let marks = [("redis_", "version:"), ("proto-max-", "bulk-len")].map { Array(($0 + $1).utf8) }

    /// A string that only this server has.
    static let ownMarks: [(server: KnownServer, mark: [UInt8])] = [
        (.valkey, Array("valkey_version".utf8)), (.redict, Array("redict_version".utf8)), (.keydb, Array("KeyDB".utf8)),
    ]
}

extension ProcessDirectory {
    /// The server whose program the process runs; nil if it is unknown, or if its file can't be read.
    package func serverProgram() -> KnownServer? {
        // If the loader was called with a program, the process's exe is the loader, and the program is among the mapped files.
        guard let exe = try? exe(), ProcessRole.isLoader(exe) else { return server(inFile: "exe") }
        for path in (try? mappedPrograms()) ?? [] where path != exe {
            if let server = server(inFile: "root" + path) { return server }
        }
        return nil
    }

    /// The files with mapped code, by their paths in the process, each once.
    private func mappedPrograms() throws(Errno) -> [String] {
        var paths: [String] = []
        try forEachLine(of: "maps") { line in
            var rest = line
            // address perms offset dev inode path
            guard rest.takeField() != nil, let permissions = rest.takeField(), permissions.dropFirst(2).first == UInt8(ascii: "x"),
                rest.takeField() != nil, rest.takeField() != nil, rest.takeField() != nil
            else { return true }
            let path = rest.drop { $0 == UInt8(ascii: " ") }.text
            if path.hasPrefix("/"), !paths.contains(path) { paths.append(path) }
            return true
        }
        return paths
    }

    /// `file`: relative to the process's directory.
    private func server(inFile file: String) -> KnownServer? {
        // O_NONBLOCK, because a path in a container may be a pipe without a writer.
        guard let descriptor = try? openFile(file, O_NONBLOCK) else { return nil }
        defer { close(descriptor) }
        guard isRegularFile(descriptor) else { return nil }
        let wanted = KnownServer.marks + KnownServer.ownMarks.map(\.mark)
        let found = marks(wanted, in: descriptor)
        guard found[..<KnownServer.marks.count].allSatisfy({ $0 }) else { return nil }
        return zip(KnownServer.ownMarks, found[KnownServer.marks.count...]).first { $1 }?.0.server ?? .redis
    }
}

private func isRegularFile(_ descriptor: Int32) -> Bool {
    var status = stat()
    return fstat(descriptor, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
}

/// Which of the marks a file contains. The file is read in pieces that overlap, because a mark may cross their boundary.
private func marks(_ marks: [[UInt8]], in descriptor: Int32) -> [Bool] {
    let overlap = 64, pieceLength = 1 << 20
    var found = [Bool](repeating: false, count: marks.count)
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: overlap + pieceLength) { buffer in
        guard let base = buffer.baseAddress else { return }
        var kept = 0
        while true {
            let count = read(descriptor, base + kept, pieceLength)
            if count < 0 && errno == EINTR { continue }
            if count <= 0 { return }
            let length = kept + count
            for (index, mark) in marks.enumerated() where !found[index] { found[index] = contains(base, length, mark) }
            kept = min(overlap, length)
            memmove(base, base + length - kept, kept)
        }
    }
    return found
}

private func contains(_ base: UnsafePointer<UInt8>, _ length: Int, _ mark: [UInt8]) -> Bool {
    guard let first = mark.first else { return true }
    var offset = 0
    while length - offset >= mark.count, let found = memchr(base + offset, Int32(first), length - offset - mark.count + 1) {
        if memcmp(found, mark, mark.count) == 0 { return true }
        offset = UnsafeRawPointer(found) - UnsafeRawPointer(base) + 1
    }
    return false
}
