import Foundation
import TestSupport
import Testing

@testable import KilnHosts

/// The script in the shells that hosts have, without ssh.
struct BootstrapTests {
    private static let shells = ["dash", "bash", "busybox"].filter { program($0) != nil }

    /// A host: programs on a search path of its own, and a directory for temporary files.
    private final class Host {
        let directory: TemporaryDirectory
        let temporary: URL
        private let shell: String

        init(_ shell: String) throws {
            directory = try TemporaryDirectory()
            temporary = directory.url.appendingPathComponent("tmp")
            self.shell = shell
            try FileManager.default.createDirectory(at: temporary, withIntermediateDirectories: false)
        }

        func install(_ name: String, _ script: String) throws {
            let file = directory.url.appendingPathComponent(name)
            try "#!/bin/sh\n\(script)\n".write(to: file, atomically: true, encoding: .utf8)
            try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: file.path)
        }

        /// What the script answers to these inputs. The first input is sent when the script has said what it found, each other one when it asks for more.
        /// Earlier, the shell would take the input for a part of the script, and `head` would take a later input for a part of an earlier one.
        ///
        /// - Parameter lines: So many are read, and then the connection is lost.
        func run(_ bootstrap: Bootstrap, reading lines: Int = .max, _ inputs: [UInt8]...) throws -> [String] {
            let output = try directory.write([], as: "output").path
            let asked = "[ \"$(grep -cE '^\(bootstrap.mark) (found|more)' '\(output)')\" -ge"
            let feed = try ([Array(bootstrap.script.utf8)] + inputs).enumerated().map { index, bytes in
                let wait = "for tenth in $(seq 300); do \(asked) \(index) ] && break; sleep 0.1; done"
                return "\(wait); cat '\(try directory.write(bytes, as: "input \(index)").path)'"
            }.joined(separator: "; ")
            let words = shell == "busybox" ? "busybox sh" : shell
            let last = lines == .max ? "" : " | sed -u \(lines)q"
            let pipe = "{ \(feed); } | PATH='\(directory.url.path)':\"$PATH\" TMPDIR='\(temporary.path)' \(words)" + last
            _ = try Child("/bin/sh", ["-c", pipe], output: output).wait()
            return try String(contentsOfFile: output, encoding: .utf8).split(separator: "\n").map(String.init)
        }

        var leftOver: [String] { (try? FileManager.default.contentsOfDirectory(atPath: temporary.path)) ?? ["?"] }
    }

    private func bootstrap(sudo: Bool = false) -> Bootstrap { Bootstrap(mark: "mark123", version: "kiln 1.2.3", usesSudo: sudo) }

    private func said(_ lines: [String]) -> [Bootstrap.Said] { lines.compactMap { bootstrap().said($0) } }

    @Test(arguments: shells) func aKilnOfTheSameVersionIsUsed(_ shell: String) throws {
        let host = try Host(shell)
        try host.install("kiln", "[ \"$1\" = --version ] && echo kiln 1.2.3 || { echo \"began: $*.\"; cat; }")
        let lines = try host.run(bootstrap(), Array("\nhere\nhello\n".utf8)), said = said(lines)
        guard case .found(let found)? = said.first else { throw TestFailure("\(lines)") }
        #expect(found.system == "Linux" && found.sudo == .none && found.kiln == host.directory.url.path + "/kiln")
        #expect(said.dropFirst() == [.ready, .started])
        #expect(lines.suffix(2).first?.hasPrefix("began: remote-session mark123 \(host.temporary.path)/kiln-host-") == true && lines.last == "hello")
        #expect(host.leftOver == [])
    }

    @Test(arguments: shells) func anotherVersionIsNot(_ shell: String) throws {
        let host = try Host(shell)
        try host.install("kiln", "echo kiln 1.2.4")
        guard case .found(let found)? = said(try host.run(bootstrap(), [])).first else { throw TestFailure("nothing found") }
        #expect(found.kiln == nil)
    }

    /// A program that is sent: the lines before it, its compressed bytes with their number, and the line behind them.
    private func sent(_ program: String, sum: String? = nil, missing: Int = 0) throws -> (way: [UInt8], piece: [UInt8], end: [UInt8]) {
        let directory = try TemporaryDirectory(), file = try directory.write(Array(program.utf8), as: "program")
        let compressed = directory.url.appendingPathComponent("compressed").path, sums = directory.url.appendingPathComponent("sums").path
        #expect(try Child("gzip", ["-c", file.path], output: compressed).wait() == 0)
        #expect(try Child("sha256sum", [file.path], output: sums).wait() == 0)
        let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: compressed)))
        let right = try String(contentsOfFile: sums, encoding: .utf8).prefix(64)
        return (Array("\nsent\n".utf8), Array("\(bytes.count)\n".utf8) + bytes.dropLast(missing), Array("0 \(sum ?? String(right))\n".utf8))
    }

    private static let remote = "#!/bin/sh\necho \"began: $1 $2 $(stat -c %a \"$3\") $(ls \"$3\")\"\ncat\n" + (0..<2000).map { "# \($0 * 7919)\n" }.joined()

    @Test(arguments: shells) func aProgramIsSentAndRemoved(_ shell: String) throws {
        let host = try Host(shell)
        let program = try sent(Self.remote), lines = try host.run(bootstrap(), program.way, program.piece, program.end)
        #expect(said(lines).dropFirst() == [.ready, .more, .more, .started])
        #expect(lines.last == "began: remote-session mark123 700 kiln")
        #expect(host.leftOver == [])
    }

    @Test(arguments: shells) func damagedAndShortProgramsAreNotStarted(_ shell: String) throws {
        let host = try Host(shell)
        let program = try sent(Self.remote, sum: String(repeating: "0", count: 64))
        let damaged = try host.run(bootstrap(), program.way, program.piece, program.end)
        #expect(said(damaged).last == .failed(.hash, words: "the checksum does not match") && !damaged.contains { $0.contains("began") })
        let cut = try sent(Self.remote, missing: 1000), short = said(try host.run(bootstrap(), cut.way, cut.piece))
        guard case .failed(.write, _)? = short.last else { throw TestFailure("\(short)") }
        #expect(host.leftOver == [])
    }

    /// The connection is lost while the program is sent.
    @Test(arguments: shells) func nothingIsLeftOfAProgramThatIsHalfSent(_ shell: String) throws {
        let host = try Host(shell), program = try sent(Self.remote)
        // The script says three things until it asks for the first piece. Each takes two lines, of which the first is empty.
        for piece in [program.piece, Array(program.piece.dropLast(1000))] {
            let lines = try host.run(bootstrap(), reading: 6, program.way, piece)
            #expect(said(lines).last == .more && host.leftOver == [])
        }
    }

    // busybox takes its own programs, whatever the search path has.
    @Test(arguments: shells.filter { $0 != "busybox" }) func sudoWithoutPassword(_ shell: String) throws {
        let host = try Host(shell)
        try host.install("id", "echo 1000")
        try host.install("sudo", "[ \"$1\" = -n ] && shift; [ \"$1\" = -- ] && shift; echo \"as root: $1\" >&2; exec \"$@\"")
        try host.install("kiln", "[ \"$1\" = --version ] && echo kiln 1.2.3 || { echo \"began\"; cat; }")
        let lines = try host.run(bootstrap(sudo: true), Array("\nhere\nhello\n".utf8))
        guard case .found(let found)? = said(lines).first else { throw TestFailure("\(lines)") }
        #expect(found.sudo == .free && lines.suffix(2) == ["began", "hello"])
    }

    /// A sudo that remembers no password: it asks each time, on standard input.
    private static let forgetful =
        "[ \"$1\" = -n ] && exit 1\nshift 3; [ \"$1\" = -- ] && shift\nIFS= read -r given\n[ \"$given\" = 'right one' ] || { echo 'Sorry, try again.' >&2; echo '1 incorrect password attempt' >&2; exit 1; }\nexec \"$@\""

    @Test(arguments: shells.filter { $0 != "busybox" }) func sudoWithPassword(_ shell: String) throws {
        let host = try Host(shell)
        try host.install("id", "echo 1000")
        try host.install("sudo", Self.forgetful)
        try host.install("kiln", "[ \"$1\" = --version ] && echo kiln 1.2.3 || { echo \"began\"; cat; }")
        let right = try host.run(bootstrap(sudo: true), Array("right one\nhere\nhello\n".utf8))
        guard case .found(let found)? = said(right).first else { throw TestFailure("\(right)") }
        #expect(found.sudo == .password && said(right).dropFirst() == [.ready, .started] && right.suffix(2) == ["began", "hello"], "\(right)")
        let wrong = said(try host.run(bootstrap(sudo: true), Array("wrong\nhere\n".utf8)))
        #expect(wrong.last == .failed(.sudo, words: "1 incorrect password attempt"))
    }

    @Test func linesOfOthersAreNotTheScripts() {
        #expect(said(["Welcome!", "mark12 ready", "mark123", "mark123 other", "mark123 found Linux", "mark123 failed what x"]) == [])
        #expect(
            said(["mark123 found Linux x86_64 none /opt/my kiln/kiln"]) == [
                .found(.init(system: "Linux", machine: "x86_64", sudo: .none, kiln: "/opt/my kiln/kiln"))
            ])
    }
}
