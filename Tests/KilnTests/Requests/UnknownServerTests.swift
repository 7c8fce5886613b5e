import Foundation
import Glibc
import KilnTargets
import TestSupport
import Testing

extension KernelTests {
    /// Servers that no name tells, and servers that are none of Redis.
    @Suite struct UnknownServerTests {
        // MARK: - Redis under another name

        @Test func aServerUnderAnyNameIsWatchedWithoutAComplaintThoughItIsIdle() throws {
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            for name in ["cache7", "redis-server-7.2"] { try copyServer(to: "\(directory)/\(name)") }
            try Data().write(to: URL(fileURLWithPath: directory + "/sentinel.conf"))
            let commands = [
                ["\(directory)/cache7"], ["\(directory)/redis-server-7.2"], ["\(directory)/cache7", "\(directory)/sentinel.conf", "--sentinel"],
                [Self.loader, "/usr/bin/redis-server"], [Self.loader, "\(directory)/cache7"],
            ]
            let servers = try commands.map { try Listener($0) { ["--port", "\($0)", "--bind", "127.0.0.1", "--save", ""] } }
            let runs = try servers.enumerated().map { index, server in
                try KilnRun(["--port", "\(server.port)", "-d", "4", "-F", "0", "--no-syscalls", "-o", "\(directory)/\(index)"])
            }
            for (run, command) in zip(runs, commands) {
                #expect(run.wait() == 0, "\(command)")
                // That it is attached, and nothing else.
                #expect(run.errorText.split(separator: "\n").count == 1, "\(command): \(run.errorText)")
            }
        }

        @Test(arguments: ServerBuild.available())
        func everyBuildIsKnown(build: ServerBuild) throws {
            let server = try RedisServer(build: build)
            let target = try #require(try TargetDiscovery().targets(pids: [server.pid], ports: []).first)
            let known: KnownServer =
                switch build {
                case .redis7, .redis8, .falkordb: .redis
                case .valkey8, .valkey9: .valkey
                case .redict7: .redict
                }
            #expect(target.server == known)
            // By the program alone, too.
            let process = try ProcFS().process(server.pid)
            #expect(process.serverProgram() == known)
        }

        // MARK: - Other servers that speak RESP

        /// What clients of such a server send as text counts from the first line on, because it is answered in RESP.
        @Test(arguments: Capability.hooks)
        func textToAnUnknownServerCountsOnceItIsAnsweredInRESP(hook: String) throws {
            let server = try TextServer(reply: "+OK\\r\\n")
            let session = try Session.recording(pid: server.pid, ["--hook", hook, "-F", "0", "--no-syscalls"]) {
                for _ in 0..<7 {
                    let client = try Connection(port: server.port)
                    try client.send(Array("PING\r\n".utf8))
                    try client.receive(until: "+OK\r\n")
                    try client.send(Array("GET a\r\nGET b\r\n".utf8))
                    try client.receive(until: "+OK\r\n+OK\r\n")
                    let other = try Connection(port: server.port)
                    try other.send(Array("GE".utf8))
                    try other.send(Array("T a\r\nSET a 1\r\n".utf8))
                    try other.receive(until: "+OK\r\n+OK\r\n")
                }
                // Its answer never comes: nobody knows what it is.
                let silent = try Connection(port: server.port)
                try silent.send(Array("cut".utf8))
                try Connection(port: server.port).send(Array("PING".utf8))
                usleep(50_000)
            }
            #expect(session.counts == ["PING": 7, "GET": 21, "SET": 7])
            for (name, command) in session.record.commands { #expect(command.phases["service"]?.count == command.count, "\(name)") }
            #expect(session.record.lost == ["unsynchronised_bytes": 7])
        }

        // MARK: - Servers that don't

        @Test(.enabled(if: access(memcached, X_OK) == 0, "memcached is not installed"), arguments: Capability.hooks)
        func whatMemcachedIsAskedIsNoCommandWhateverTheWords(hook: String) throws {
            let server = try Listener([Self.memcached, "-u", "nobody", "-l", "127.0.0.1", "-U", "0"]) { ["-p", "\($0)"] }
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let earlier = try Connection(port: server.port)
            try earlier.send(Array("set k 0 0 3\r\nGET\r\n".utf8))
            try earlier.receive(until: "STORED\r\n")
            let kiln = try KilnRun(["-p", "\(server.pid)", "--hook", hook, "-d", "60", "-o", directory + "/s"])
            try #require(kiln.attached())
            let clients = try (0..<5).map { _ in try Connection(port: server.port) }
            for client in clients + [earlier] {
                for word in ["GET", "SET", "DEL", "PING", "GET", "GET", "GET", "GET", "GET"] {
                    try client.send(Array("set k 0 0 \(word.utf8.count)\r\n\(word)\r\n".utf8))
                    try client.receive(until: "STORED\r\n")
                }
            }
            let array = try Connection(port: server.port)
            try array.send(request("PING"))
            try array.receive(until: "ERROR\r\n")
            try array.send(Array("set k 0 0 3\r\nGET\r\n".utf8))
            try array.receive(until: "STORED\r\n")
            // It ends long before the 60 s.
            #expect(kiln.wait() == 1)
            #expect(kiln.errorText.contains("is memcached: kiln doesn't know its protocol"))
            #expect(!kiln.outputText.contains("GET") && !kiln.outputText.contains("SET") && !kiln.outputText.contains("PING"))
            #expect(kiln.outputText.contains("not_resp_connections"))
            #expect(access(directory + "/s", F_OK) != 0, "a session without a number leaves no directory")
        }

        /// Somebody who wants stacks gets them, and is told all the same.
        @Test func whoAsksForStacksOfAnotherServerGetsThem() throws {
            let server = try TextServer(reply: "250 GET SET DEL\\r\\n", greeting: "220 ready\\r\\n")
            let session = try Session.recording(pid: server.pid, ["-F", "499"], status: 1) {
                let client = try Connection(port: server.port)
                try client.receive(until: "220 ready\r\n")
                for word in ["HELO", "GET", "SET", "QUIT"] {
                    try client.send(Array("\(word)\r\n".utf8))
                    try client.receive(until: "250 GET SET DEL\r\n")
                }
            }
            #expect(session.counts.isEmpty)
            #expect(session.record.lost == ["not_resp_connections": 1])
        }

        @Test func anotherServerIsToldAndNothingIsMeasuredThoughItIsIdle() throws {
            let server = try TextServer(reply: "250 ok\\r\\n"), directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            for subcommand in ["redis", "trace"] {
                let output = subcommand == "redis" ? ["-o", directory + "/s"] : []
                let kiln = try KilnRun(
                    (subcommand == "trace" ? ["redis"] : []) + ["--port", "\(server.port)", "-d", "60"] + output, subcommand: subcommand
                )
                #expect(kiln.wait() == 1)
                let lines = kiln.errorText.split(separator: "\n")
                #expect(lines.count == 2, "\(kiln.errorText)")
                #expect(lines.last?.contains("is not a known Redis server") == true && lines.last?.contains("it received no Redis command") == true)
                #expect(access(directory + "/s", F_OK) != 0)
            }
        }

        // MARK: - Names that no server knows

        @Test func namesThatNoServerKnowsTakeNoRowFromThoseThatItKnows() throws {
            let server = try RedisServer()
            let known = ["GET", "SET", "INCR", "LPUSH", "SADD", "HSET", "ZADD", "XADD", "PFADD", "EXISTS", "TTL", "TYPE", "STRLEN", "LLEN", "SCARD", "HLEN"]
            let strange = 5003
            let session = try Session.recording(pid: server.pid) {
                let client = try Connection(port: server.port)
                // Of more errors in one send not all would have a word.
                for start in stride(from: 0, to: strange, by: 100) {
                    let numbers = start..<min(start + 100, strange)
                    try client.send(numbers.flatMap { request("NOSUCH\($0)") })
                    try client.settle()
                }
                for name in known { for _ in 0..<7 { try client.send(request(name, "k")) } }
                try client.settle()
            }
            for name in known { #expect(session.counts[name] == 7, "\(name)") }
            #expect(session.counts["ECHO"] == UInt64((strange + 99) / 100 + 1))
            let named = session.counts.filter { $0.key.hasPrefix("NOSUCH") }, other = session.counts["other"] ?? 0
            #expect(UInt64(strange) == named.values.reduce(0, +) + other)
            #expect(named.count >= 16 && session.record.lost["commands_map_full"] == other)
            #expect(session.record.commands["other"]?.errorWords["ERR"] == other)
            // The screen has the most called and the slowest, and says what it leaves out.
            let left = session.counts.count - 20
            #expect(session.output.contains("… and \(left) more commands with "), "\(left)")
        }

        @Test(arguments: ServerBuild.available())
        func everyCommandThatAServerListsIsInTheList(build: ServerBuild) throws {
            let server = try RedisServer(build: build)
            let client = try Connection(port: server.port)
            try client.send(request("COMMAND", "LIST") + request("ECHO", "the end"))
            let words = try client.receive(until: "the end\r\n").split(separator: "\r\n").filter { $0.first != "$" && $0.first != "*" && !$0.contains("|") }
            let listed = try String(contentsOfFile: Self.list, encoding: .utf8)
            let names = words.filter { $0 != "the end" }.map { $0.uppercased() }
            #expect(names.count > 200)
            #expect(names.filter { !listed.contains("LISTED(\"\($0)\")\n") } == [], "renew it: make command-names")
        }

        // MARK: -

        private static let memcached = "/usr/bin/memcached"
        private static let loader = "/lib64/ld-linux-x86-64.so.2"
        private static let list = checkout.appendingPathComponent("bpf/protocols/redis/command_names.inc").path

        private func copyServer(to path: String) throws {
            try FileManager.default.copyItem(at: URL(fileURLWithPath: "/usr/bin/redis-server").resolvingSymlinksInPath(), to: URL(fileURLWithPath: path))
        }
    }
}

/// A program that listens on a port of its own, ended with the value.
private class Listener {
    private let child: Child
    let port: UInt16
    var pid: Int32 { child.pid }

    /// `arguments`: those that tell the port.
    init(_ command: [String], _ arguments: (UInt16) -> [String]) throws {
        port = try freePort()
        child = try Child(command[0], Array(command.dropFirst()) + arguments(port))
        let port = port, child = child
        guard eventually({ !child.isRunning || (try? Connection(port: port)) != nil }), child.isRunning else {
            throw TestFailure("\(command) does not listen")
        }
    }
}

/// Answers each line of text with one and the same reply.
private final class TextServer: Listener {
    /// As they stand in Python.
    init(reply: String, greeting: String = "") throws {
        try super.init([
            "/usr/bin/python3", "-c",
            """
            import socketserver, sys
            class Client(socketserver.StreamRequestHandler):
                def handle(self):
                    self.wfile.write(b"\(greeting)")
                    for line in self.rfile:
                        if line.endswith(b"\\n"): self.wfile.write(b"\(reply)")
            class Server(socketserver.ThreadingTCPServer):
                allow_reuse_address = daemon_threads = True
            Server(("127.0.0.1", int(sys.argv[1])), Client).serve_forever()
            """,
        ]) { ["\($0)"] }
    }
}
