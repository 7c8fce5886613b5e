// What a process runs, by the program's file: so that a server is known under any name.

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif
import SystemPackage

extension KnownServer {
    /// What every server of the family has in its program and no client: a line of INFO, and the name of a setting. In two parts, so
    /// that kiln's own file doesn't have them.
    static let marks = [("redis_", "version:"), ("proto-max-", "bulk-len")].map { Array(($0 + $1).utf8) }

    /// What only one of them has.
    static let ownMarks: [(server: KnownServer, mark: [UInt8])] = [
        (.valkey, Array("valkey_version".utf8)), (.redict, Array("redict_version".utf8)), (.keydb, Array("KeyDB".utf8)),
    ]
}

extension ProcessDirectory {
    /// The server whose program the process runs; nil: none that is known, or its file can't be read.
    package func serverProgram() -> KnownServer? {
        // The loader that was asked to run a program is the process's exe; the program is among what it mapped.
        guard let exe = try? exe(), ProcessRole.isLoader(exe) else { return server(inFile: "exe") }
        for path in (try? mappedPrograms()) ?? [] where path != exe {
            if let server = server(inFile: "root" + path) { return server }
        }
        return nil
    }

    /// The files of which code is mapped, as the process names them, each once.
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

    /// `file`: below the process's directory.
    private func server(inFile file: String) -> KnownServer? {
        // O_NONBLOCK: a path in a container may have become a pipe that nobody writes.
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

/// Which of the marks a file has. It is read piece by piece, each with the end of the one before, where a mark may begin.
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
