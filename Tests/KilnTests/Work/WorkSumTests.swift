import Foundation
import Glibc
import KilnModel
import TestSupport
import Testing

extension KernelTests {
    /// Stacks by command are all stacks: to the sample, and to the nanosecond.
    @Suite(.enabled(if: Program.canCompile, "no C compiler")) struct WorkSumTests {
        struct Case: CustomTestStringConvertible, Sendable {
            var testDescription: String
            var options: [String] = []
            var server: [String] = []
            /// Rows that have samples, or with `hasNoSamples` waits.
            var expected = ["BURN.A"]
            var hasNoSamples = false
            /// For what a function may be sampled.
            var owners = ["BURN.A"]
            var load: @Sendable (RedisServer) throws -> Void = { try WorkSumTests.mixed($0) }
        }

        private static func mixed(_ server: RedisServer) throws {
            let other = try Child("redis-benchmark", ["-p", "\(server.port)", "-q", "-n", "601", "-c", "2", "BURN.B", "200"])
            try server.repeating(load(401), ["SET", "key", "value"], ["BURN.A", "200"], ["GET", "key"], ["LPUSH", "list", "value"])
            #expect(other.wait() == 0)
        }

        /// Bytes that are sent so often, each time until the reply's end has come.
        private static func exchange(_ client: Connection, _ times: UInt64, _ requests: [[String]], until end: String) throws {
            let bytes = requests.flatMap { request($0) }
            for _ in 0..<times {
                try client.send(bytes)
                try client.receive(until: end)
            }
        }

        private static let cases: [Case] = [
            Case(testDescription: "default", expected: ["BURN.A", "BURN.B", "event loop"]),
            Case(testDescription: "off-CPU with idle waits and threads", options: ["--off-cpu", "--idle", "--threads"]),
            // A command that never waits has no row.
            Case(testDescription: "off-CPU alone", options: ["-F", "0", "--off-cpu"], expected: ["event loop"], hasNoSamples: true),
            Case(testDescription: "hook syscall", options: ["--hook", "syscall", "--off-cpu"], expected: ["BURN.A", "BURN.B"]),
            Case(testDescription: "slow calls and fast ones", options: ["--slower-than", "300us", "--compare-slow", "--off-cpu"], owners: []),
            Case(testDescription: "slow calls, hook syscall", options: ["--slower-than", "300us", "--off-cpu", "--hook", "syscall"], owners: []),
            Case(testDescription: "unix socket, without system calls", options: ["--off-cpu", "--no-syscalls"]) { server in
                let client = try Connection(unixSocket: server.unixSocket)
                for _ in 0..<load(401) { for words in [["SET", "key", "value"], ["BURN.A", "200"], ["GET", "key"]] { try client.ask(words) } }
            },
            Case(
                testDescription: "transactions and pipelines", options: ["--off-cpu"], expected: ["EXEC", "pipeline", "BURN.A"],
                owners: ["EXEC", "[pipeline]", "BURN.A"], load: { try pipelines($0) }
            ),
            Case(
                testDescription: "blocked clients, scripts, subscribers and MONITOR", options: ["--off-cpu"],
                expected: ["BURN.A", "BLPOP", "LPUSH", "EVAL", "PUBLISH", "unknown"]
            ) { server in
                try subscribersAndMonitor(server)
                try blockedClients(server)
                let script = "local t = 0 for i = 1, 20000 do t = t + i end redis.call('SET', 'key', t) return t"
                try server.repeating(load(401), ["EVAL", script, "0"])
            },
            Case(
                testDescription: "a replica, and children that save", options: ["--off-cpu"], server: ["--repl-diskless-sync-delay", "0"],
                expected: ["BURN.A", "SET", "child processes"]
            ) { server in
                let replica = try RedisServer(["--replicaof", "127.0.0.1", "\(server.port)"])
                let client = try Connection(port: replica.port)
                guard eventually({ (try? client.reply(to: "INFO", "replication").contains("master_link_status:up")) == true }) else {
                    throw TestFailure("the replica did not connect")
                }
                try server.repeating(1, ["DEBUG", "POPULATE", "100000"], ["BGSAVE"])
                try server.repeating(load(401), ["SET", "key", "value"], ["BURN.A", "200"])
            },
        ]

        private static func pipelines(_ server: RedisServer) throws {
            let client = try Connection(port: server.port), times = load(301)
            try exchange(client, times, [["MULTI"], ["SET", "key", "value"], ["BURN.A", "100"], ["EXEC"]], until: ":100\r\n")
            for _ in 0..<times {
                try client.ask(["MULTI"])
                try client.ask(["BURN.A", "101"])
                try exchange(client, 1, [["EXEC"]], until: ":101\r\n")
            }
            try exchange(client, times, [["SET", "key", "value"], ["BURN.A", "100"], ["GET", "key"], ["BURN.A", "102"]], until: ":102\r\n")
            try exchange(client, times, [["BURN.A", "100"], ["BURN.A", "101"], ["BURN.A", "103"]], until: ":103\r\n")
        }

        private static func blockedClients(_ server: RedisServer) throws {
            let blocked = try Connection(port: server.port), client = try Connection(port: server.port)
            for _ in 0..<load(401) {
                try blocked.send(request("BLPOP", "list", "5"))
                try client.ask(["BURN.A", "200"])
                try client.ask(["LPUSH", "list", "last"])
                try blocked.receive(until: "last\r\n")
            }
        }

        private static func subscribersAndMonitor(_ server: RedisServer) throws {
            let others = try (0..<4).map { _ in try Connection(port: server.port) }
            for (index, other) in others.enumerated() {
                try other.send(index == 0 ? request("MONITOR") : request("SUBSCRIBE", "channel"))
                try other.receive(until: index == 0 ? "+OK\r\n" : ":1\r\n")
            }
            let client = try Connection(port: server.port)
            for _ in 0..<load(401) {
                try client.ask(["PUBLISH", "channel", "message"])
                try client.ask(["BURN.A", "200"])
                for other in others.dropFirst() { try other.receive(until: "message\r\n") }
            }
        }

        @Test(arguments: cases) func everySampleIsInOneRow(_ test: Case) throws {
            let server = try KnownWork.server(test.server)
            try check(test, server)
        }

        @Test(.enabled(if: PythonClient.isInstalled, "python3 with its ssl module is not installed"), arguments: Capability.hooks)
        func everySampleOfEncryptedConnectionsIsInOneRow(hook: String) throws {
            let keys = try TLSKeys(), port = keys.port, certificate = keys.certificate
            let server = try KnownWork.server(keys.arguments)
            let test = Case(testDescription: "TLS", options: ["--off-cpu", "--hook", hook], expected: ["BURN.A", "SET", "GET"]) { _ in
                let client = try PythonClient(
                    port: port, authority: certificate,
                    """
                    client = connect()
                    for _ in range(401):
                        for words, end in (("SET", "key", "v" * 10000), b"+OK\\r\\n"), (("BURN.A", "200"), b":200\\r\\n"), (("GET", "key"), b"v\\r\\n"):
                            client.sendall(request(*words))
                            read_until(client, end)
                    """)
                try client.finish()
            }
            try withExtendedLifetime(keys) { try check(test, server) }
        }

        private func check(_ test: Case, _ server: RedisServer) throws {
            let session = try WorkSession(server, test.options) { try test.load(server) }
            session.expectSums()
            #expect(session.record.samples.keptCalls != nil || session.record.samples.onCPU.kept == nil)
            for name in test.expected {
                let row = session.rows.first { $0.name == name }
                #expect(test.hasNoSamples ? row?.offCPU != nil : row?.samples ?? 0 > 0, "\(name): \(session.rows.map(\.name))")
            }
            guard !test.owners.isEmpty, !test.hasNoSamples else { return }
            let owners = session.byCommand.owners(of: "burn_a", at: test.options.contains("--threads") ? 2 : 1)
            #expect(Set(owners.keys) == Set(test.owners), "\(owners)")
        }
    }
}
