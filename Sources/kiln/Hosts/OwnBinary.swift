import CMemory
import Glibc
import KilnProfiles
import Synchronization
import SystemPackage

/// kiln's own program, to be sent to other hosts in pieces.
final class OwnBinary: Sendable {
    private let program: [UInt8], path: String
    /// Each compressed when it is first asked for.
    private let pieces = Mutex<[[UInt8]]>([])
    private let knownSum = Mutex<Result<String, any Error>?>(nil)
    private static let pieceSize = 1 << 20

    /// - Parameter file: A program to send instead.
    /// - Throws: `Failure` if it can't be read, or needs libraries that other hosts may not have.
    init(_ file: String?) throws {
        guard file != nil || kiln_is_static() else {
            throw Failure(
                "this kiln needs libraries of this host and can't be sent to another one. Give a static kiln with --binary (`make static` builds it), "
                    + "or install kiln \(kilnVersion) there.")
        }
        path = file ?? "/proc/self/exe"
        var program: [UInt8] = []
        try readPieces(of: path, "a static kiln") { program += $0 }
        guard program.starts(with: [0x7f] + Array("ELF".utf8)), program.count > 20 else {
            throw Failure("\(path) is no program of Linux. Give a static kiln with --binary.")
        }
        self.program = program
        // Beside the compression, which takes longer.
        _ = BackgroundThread.started { [self] in _ = try? sum() }
    }

    /// The processor that it is for, as `uname -m` names it; nil for one that is not known here. e_machine of elf(5).
    var machine: String? { [62: "x86_64", 183: "aarch64", 243: "riscv64", 21: "ppc64le", 22: "s390x"][Int(program[18]) | Int(program[19]) << 8] }

    /// How many pieces are not empty.
    private var pieceCount: Int { (program.count + Self.pieceSize - 1) / Self.pieceSize }

    /// A part of the program as a gzip file; empty beyond the last one.
    func piece(_ number: Int) -> [UInt8] {
        pieces.withLock { pieces in
            while pieces.count <= number, pieces.count < pieceCount {
                pieces.append(Gzip.compressed(Array(program.dropFirst(pieces.count * Self.pieceSize).prefix(Self.pieceSize))))
            }
            return number < pieces.count ? pieces[number] : []
        }
    }

    /// SHA-256 of the program, in hexadecimal.
    func sum() throws -> String {
        try knownSum.withLock { known in
            let sum = known ?? Result { try Self.sum(of: path) }
            known = sum
            return sum
        }.get()
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
