import CMemory
import Glibc
import KilnProfiles
import SystemPackage

/// kiln's own program, to be sent to other hosts.
struct OwnBinary: Sendable {
    /// As gzip has it.
    let compressed: [UInt8]
    /// SHA-256 of the program, in hexadecimal.
    let sum: String

    /// - Parameter file: A program to send instead.
    /// - Throws: `Failure` if it can't be read, or needs libraries that other hosts may not have.
    init(_ file: String?) throws {
        guard file != nil || kiln_is_static() else {
            throw Failure(
                "this kiln needs libraries of this host and can't be sent to another one. Give a static kiln with --binary (`make static` builds it), or install kiln \(kilnVersion) there."
            )
        }
        let path = file ?? "/proc/self/exe"
        var program: [UInt8] = []
        try readPieces(of: path, "a static kiln") { program += $0 }
        compressed = try Gzip.compressed(program)
        sum = try Self.sum(of: path)
    }

    /// By the program that checks it on the other side.
    private static func sum(of path: String) throws -> String {
        let pipe = try ClosingPipe()
        var child: pid_t = 0
        do {
            defer { try? pipe.writeEnd.close() }
            var actions = posix_spawn_file_actions_t()
            posix_spawn_file_actions_init(&actions)
            defer { posix_spawn_file_actions_destroy(&actions) }
            posix_spawn_file_actions_addopen(&actions, 0, path, O_RDONLY, 0)
            posix_spawn_file_actions_adddup2(&actions, pipe.writeEnd.rawValue, 1)
            var words: [UnsafeMutablePointer<CChar>?] = [strdup("sha256sum"), nil]
            defer { free(words[0]) }
            let failed = posix_spawnp(&child, "sha256sum", &actions, nil, &words, environ)
            guard failed == 0 else {
                try? pipe.readEnd.close()
                throw Failure("cannot start sha256sum, which checks what arrives on the other host: \(errorText(failed)).")
            }
        }
        defer { try? pipe.readEnd.close() }
        var text: [UInt8] = []
        try forEachPiece { piece in
            let length = try pipe.readEnd.read(into: piece)
            text += piece[..<length]
            return length
        }
        var status: Int32 = 0
        while waitpid(child, &status, 0) < 0, errno == EINTR {}
        guard status == 0, text.count > 64 else { throw Failure("sha256sum has given no sum of \(path).") }
        return String(decoding: text.prefix(64), as: UTF8.self)
    }
}
