import Foundation
import Glibc
import KilnKernel
import KilnModel
import KilnTargets
import TestSupport
import Testing
import ToyProtocol
@testable import kiln

extension KernelTests {
    /// A second protocol, which is a folder of its own (Tests/ToyProtocol) and a line in the Makefile: a line in is a request, a line out its
    /// response.
    @Suite struct ProtocolTests {
        private static let toy = WireProtocol(
            title: "Toy", encoding: "lines", objects: RequestObjects(name: "toy", server: { toy_protocol_object() }), payload: RESPPayload()
        )

        /// Answers each line; `SLOW` after 2 ms of work. What it read in one receive is answered by one send.
        private static let server = """
            import socket, sys, time
            listener = socket.create_server(("127.0.0.1", 0))
            with open(sys.argv[1] + "/port.new", "w") as file: file.write(str(listener.getsockname()[1]))
            import os; os.rename(sys.argv[1] + "/port.new", sys.argv[1] + "/port")
            while True:
                connection, _ = listener.accept()
                rest = b""
                while data := connection.recv(65536):
                    *lines, rest = (rest + data).split(b"\\n")
                    for line in lines:
                        end = time.monotonic() + (0.002 if line.startswith(b"SLOW") else 0)
                        while time.monotonic() < end: pass
                    if lines: connection.sendall(b"".join(b"answer to " + line + b"\\n" for line in lines))
            """

        private static func serving(_ hook: String, _ load: (Connection) throws -> Void) throws -> Snapshot {
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let child = try Child("/usr/bin/python3", ["-c", server, directory])
            var port: UInt16?
            guard
                eventually({
                    port = (try? String(contentsOfFile: directory + "/port", encoding: .utf8)).flatMap { UInt16($0) }
                    return port != nil
                })
            else { throw TestFailure("the server has no port") }
            let targets = try TargetDiscovery().targets(pids: [child.pid], ports: [])
            let probe = RequestProbe(
                toy, targets, watched: try WatchedProcesses(targets, for: "a test"), hook: try #require(CommandHook(rawValue: hook)),
                began: MonotonicClock.now(), isSolePurpose: true
            )
            try probe.load()
            _ = try probe.attach()
            try load(try Connection(port: try #require(port)))
            var snapshot = Snapshot(time: MonotonicClock.now())
            try probe.read(into: &snapshot)
            return snapshot
        }

        private static func counts(_ snapshot: Snapshot) -> [String: CommandCounts] {
            Dictionary(uniqueKeysWithValues: snapshot.commands.map { ($0.key.name.description, $0.value) })
        }

        @Test(.enabled(if: PythonClient.isInstalled, "python3 is not installed"), arguments: Capability.hooks)
        func everyLineCountsAndIsTimed(hook: String) throws {
            let snapshot = try Self.serving(hook) { connection in
                for round in 0..<101 {
                    try connection.send(Array("SLOW \(round)\n".utf8))
                    try connection.receive(until: "answer to SLOW \(round)\n")
                }
            }
            #expect(snapshot.losses.isEmpty)
            let counts = Self.counts(snapshot)
            #expect(counts.mapValues(\.calls) == ["SLOW": 101])
            let slow = try #require(counts["SLOW"])
            #expect(slow.errors == 0 && slow.largestRequest == 9 && slow.largestReply == 19)
            #expect(slow.phases[.service]?.count == 101)
            // Hook syscall doesn't see when data arrives, and of a new connection nobody does.
            #expect(slow.phases[.queue]?.count == (hook == "syscall" ? nil : 100))
            let exec = try #require(slow.phases[.exec])
            #expect(exec.count == 101 && exec.sum >= Nanoseconds(101 * 2_000_000))
            #expect(try #require(slow.phases[.service]).sum >= exec.sum)
        }

        /// Many lines of one send, lines of two words in turn, and lines that two sends cut anywhere.
        @Test(.enabled(if: PythonClient.isInstalled, "python3 is not installed"), arguments: Capability.hooks)
        func pipelinedLinesCountExactly(hook: String) throws {
            let lines = (0..<211).map { $0 % 3 == 0 ? "GET key:\($0)\n" : "PUT key:\($0) value\n" }
            let snapshot = try Self.serving(hook) { connection in
                let bytes = Array(lines.joined().utf8)
                for piece in [bytes.count, 1, 7, 1000] {
                    for begin in stride(from: 0, to: min(bytes.count, piece * 23), by: piece) {
                        try connection.send(bytes[begin..<min(begin + piece, bytes.count)])
                        if piece != bytes.count { usleep(200) }
                    }
                    // The rest of the lines.
                    try connection.send(bytes[min(bytes.count, piece * 23)...])
                    try connection.receive(until: "answer to \(lines[210])")
                }
            }
            #expect(snapshot.losses.isEmpty)
            let counts = Self.counts(snapshot)
            #expect(counts.mapValues(\.calls) == ["GET": 4 * 71, "PUT": 4 * 140])
            #expect(counts.mapValues { $0.phases[.service]?.count } == ["GET": 4 * 71, "PUT": 4 * 140])
        }
    }
}
