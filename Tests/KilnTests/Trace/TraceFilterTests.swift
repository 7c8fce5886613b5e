import Foundation
import Glibc
import KilnKernel
import KilnModel
import TestSupport
import Testing

extension KernelTests {
    /// What a trace leaves out: by filters, and because it is nobody's business.
    @Suite struct TraceFilterTests {
        @Test(arguments: Capability.hooks)
        func filtersAreExact(hook: String) throws {
            let server = try RedisServer()
            func told(_ arguments: [String], _ load: (Connection, Connection) throws -> Void) throws -> [String] {
                let trace = try TraceRun.recording(pid: server.pid, hook: hook, ["--json"] + arguments) { _ in
                    try load(try Connection(port: server.port), try Connection(ipv6Port: server.port))
                }
                #expect(trace.said.contains("lost: nothing"))
                return try trace.rows().map { $0.words.joined(separator: " ") }
            }
            func mixed(_ first: Connection, _ second: Connection) throws {
                for index in 0..<11 {
                    for client in [first, second] {
                        try client.send(request("ECHO", "\(index)") + request("lpop", "a", "b") + request("PING"))
                        try client.receive(until: "PONG")
                    }
                }
                try first.send(request("DEBUG", "SLEEP", "0.03"))
                try first.receive(until: "+OK\r\n")
                try second.send(request("ECHO", "1") + request("DEBUG", "SLEEP", "0.02"))
                try second.receive(until: "+OK\r\n")
            }
            #expect(
                try told(["--command", "LPOP", "--command", "debug"], mixed)
                    == [String](repeating: "lpop a b", count: 22) + ["DEBUG SLEEP 0.03", "DEBUG SLEEP 0.02"])
            #expect(try told(["--errors"], mixed) == [String](repeating: "lpop a b", count: 22))
            // Commands of a pipeline share their replies' send.
            #expect(try told(["--slower-than", "19"], mixed) == ["DEBUG SLEEP 0.03", "ECHO 1", "DEBUG SLEEP 0.02"])
            #expect(try told(["--slower-than", "19", "--command", "debug", "--client", "::1"], mixed) == ["DEBUG SLEEP 0.02"])
            #expect(try told(["--command", "NOSUCH"], mixed) == [])
            #expect(try told(["--client", "127.0.0.1"], mixed).count == 34)
            #expect(try told(["--client", "10.1.2.3", "--client", "unix"], mixed) == [])
        }

        /// Of what is kept together, each is told by itself, if it was slow: whatever stands beside it, and is not told.
        @Test(arguments: Capability.hooks, [false, true])
        func slowRequestsOfPipelinesAreTheirOwn(hook: String, onlyEcho: Bool) throws {
            let server = try RedisServer()
            var slow: [String] = [], sequences: [UInt32] = [], sequence: UInt32 = 0
            let filter = ["--json", "--argument-bytes", "512", "--slower-than", "60"] + (onlyEcho ? ["--command", "echo"] : [])
            let trace = try TraceRun.recording(pid: server.pid, hook: hook, filter) { _ in
                var random = SeededGenerator(seed: 11)
                let client = try Connection(port: server.port)
                for round in 0..<24 {
                    let isSlow = round % 3 != 1, count = [0, 1, 3, 16, 60][round % 5], longest = [5, 40, 220][round % 3]
                    var stream: [UInt8] = []
                    func ask(_ words: [String], answered: Bool = true) {
                        sequence += 1
                        stream += words == ["PING"] ? Array("PING\r\n".utf8) : request(words)
                        guard isSlow, answered, !onlyEcho || words[0] == "ECHO" else { return }
                        slow.append(words.joined(separator: " "))
                        sequences.append(sequence)
                    }
                    for index in 0..<count {
                        switch Int.random(in: 0..<8, using: &random) {
                        case 0: ask(["PING"])
                        case 1 where index % 2 == 0:
                            ask(["CLIENT", "REPLY", "SKIP"], answered: false)
                            ask(["ECHO", "unanswered"], answered: false)
                        case 2: stream += Array("*0\r\n\r\n".utf8)  // requests for nothing
                        default: ask(["ECHO", String(repeating: "w", count: Int.random(in: 1...longest, using: &random)) + "\(index)"])
                        }
                    }
                    ask(["DEBUG", "SLEEP", isSlow ? "0.1" : "0"])
                    try client.send(stream)
                    try client.receive(until: "+OK\r\n")
                    try client.settle()
                    sequence += 1
                }
            }
            let rows = try trace.rows()
            #expect(rows.map(\.sequence) == sequences)
            for (row, words) in zip(rows, slow) {
                let told = row.words.joined(separator: " ")
                let isRight = told == words && row.latencyNs ?? 0 > 60_000_000
                let echoed = row.command != "ECHO" || row.reply?.prefix(200) == row.words.last?.prefix(200)
                if !isRight || !echoed { Issue.record("\(row) instead of \(words)") }
            }
            #expect(trace.said.contains("lost: nothing"), "\(trace.said)")
        }

        /// Equal requests of a receive wait together, and their replies are listed only once one is known to be an error.
        @Test(arguments: Capability.hooks)
        func errorsAmongEqualRequestsAreTheirOwn(hook: String) throws {
            let server = try RedisServer()
            let client = try Connection(port: server.port)
            for words in [["SET", "word", "w"], ["SET", "large", String(repeating: "l", count: 30_000)], ["RPUSH", "list", "a"]] {
                _ = try client.reply(to: words[0], words[1], words[2])
            }
            var failing: [String] = [], sequences: [UInt32] = [], sequence: UInt32 = 0
            let trace = try TraceRun.recording(pid: server.pid, hook: hook, ["--json", "--errors"]) { _ in
                var random = SeededGenerator(seed: 5)
                let client = try Connection(port: server.port)
                for round in 0..<40 {
                    let command = round % 2 == 0 ? "INCR" : "GET", wrong = command == "INCR" ? "word" : "list"
                    let right = command == "INCR" ? "n" : round % 4 == 1 ? "large" : "nothing"
                    var stream: [UInt8] = []
                    for _ in 0..<[1, 2, 15, 40][round / 2 % 4] {
                        let fails = round % 3 != 0 && Int.random(in: 0..<5, using: &random) == 0
                        sequence += 1
                        stream += request(command, fails ? wrong : right)
                        guard fails else { continue }
                        failing.append("\(command) \(wrong)")
                        sequences.append(sequence)
                    }
                    try client.send(stream + request(command, "end"))
                    try client.receive(until: command == "INCR" ? ":\(round / 2 + 1)\r\n" : "$\(String(round / 2 + 1).count)\r\n\(round / 2 + 1)\r\n")
                    sequence += 1
                }
            }
            let rows = try trace.rows()
            #expect(rows.map { $0.words.joined(separator: " ") } == failing)
            #expect(rows.map(\.sequence) == sequences)
            #expect(failing.count > 50)
            #expect(trace.said.contains("lost: nothing"), "\(trace.said)")
        }

        @Test(arguments: Capability.hooks)
        func oneClientIsToldApartByItsPort(hook: String) throws {
            let server = try RedisServer()
            let first = try Connection(port: server.port), second = try Connection(port: server.port)
            let trace = try TraceRun.recording(pid: server.pid, hook: hook, ["--json", "--client", second.localAddress]) { _ in
                for client in [first, second] { for _ in 0..<13 { _ = try client.reply(to: "ECHO", "a") } }
            }
            let rows = try trace.rows()
            #expect(rows.count == 13)
            #expect(Set(rows.map(\.client)) == [second.localAddress])
        }

        @Test func linesAreLimitedAndDurationEndsTheTrace() throws {
            let server = try RedisServer()
            let kiln = try KilnRun(["redis", "-p", "\(server.pid)", "--brief", "--limit", "7"], subcommand: "trace")
            #expect(kiln.attached())
            let client = try Connection(port: server.port)
            for _ in 0..<20 { _ = try client.reply(to: "ECHO", "a") }
            #expect(kiln.wait() == 0)
            #expect(kiln.outputText.split(separator: "\n").count == 7)
            let bounded = try KilnRun(["redis", "-p", "\(server.pid)", "-d", "0.2"], subcommand: "trace")
            #expect(bounded.wait() == 0)
        }

        @Test(arguments: Capability.hooks)
        func secretsDontLeaveTheKernel(hook: String) throws {
            let server = try RedisServer()
            try Connection(port: server.port).send(request("CONFIG", "SET", "masterauth", "hush-in-config"))
            let requests: [[UInt8]] = [
                request("AUTH", "hush1"), request("auth", "user", "hush2"), Array("AUTH hush3\r\n".utf8), Array("  auth \"hush4\"\r\n".utf8),
                request("HELLO", "3", "AUTH", "default", "hush5"), request("ACL", "SETUSER", "alice", "on", ">hush6"), request("ACL", "LIST"),
                request("CONFIG", "SET", "requirepass", "hush7"), request("AUTH", "hush7"), request("CONFIG", "GET", "*auth"),
                request("CONFIG", "SET", "requirepass", ""),
                request("CONFIG", "SET", "maxmemory", "0", "masterauth", "hush8"), request("MIGRATE", "127.0.0.1", "1", "k", "0", "1", "AUTH2", "u", "hush9"),
                request("ACL", "GETUSER", "alice"), Array("config set masterauth hush10\r\n".utf8), request("AcL", "GENPASS"),
                request([Array("AUTH".utf8), Array("hush".utf8) + [UInt8](repeating: 120, count: 40_000)]),
            ]
            let filter = TraceFilter()
            let client = try Connection(port: server.port)
            let raw = try rawRecords(of: server, hook: hook, filter) {
                for bytes in requests {
                    // At once, and cut in the middle of the secret.
                    for cut in [0, max(0, bytes.count - 4)] {
                        try client.send(bytes[..<cut])
                        if cut > 0 { usleep(2000) }
                        try client.send(bytes[cut...])
                        try client.settle()
                    }
                }
            }
            #expect(raw.count == 4 * requests.count)
            let told = raw.filter { $0.command?.description != "ECHO" }
            #expect(told.count == 2 * requests.count)
            for record in told {
                let bytes = record.request + [0] + record.reply
                if contains(bytes, "hush") || contains(bytes, "alice") || contains(bytes, "0123456789abcdef") { Issue.record("\(record)") }
                if record.reply.count > 24 { Issue.record("too much of a reply: \(record)") }
            }
            #expect(told.contains { contains($0.request, "requirepass") })
        }

        @Test(arguments: Capability.hooks)
        func withoutArgumentsNoneLeavesTheKernel(hook: String) throws {
            let server = try RedisServer()
            var filter = TraceFilter()
            filter.withoutArguments = true
            let raw = try rawRecords(of: server, hook: hook, filter) {
                let client = try Connection(port: server.port)
                try client.send(
                    request("SET", "private", "private") + request("GET", "private") + request("LRANGE", "private", "0", "1") + request("INCRBY", "n", "4711"))
                try client.receive(until: ":4711\r\n")
                try client.send(Array("set private private\r\n".utf8))
                try client.settle()
            }
            #expect(raw.map(\.command?.description) == ["SET", "GET", "LRANGE", "INCRBY", "SET", "ECHO"])
            #expect(raw.allSatisfy { $0.request.isEmpty && !contains($0.reply, "private") && !contains($0.reply, "4711") })
            #expect(raw.map { String(decoding: $0.reply, as: UTF8.self) }.prefix(5) == ["+", "$7", "-WRONGTYPE", ":", "+"])
        }

        @Test func terminalEscapesAreShownNotObeyed() throws {
            let server = try RedisServer()
            for form in [["--brief"], [], ["--json"]] {
                let trace = try TraceRun.recording(pid: server.pid, hook: Capability.hooks.first ?? "", form) { _ in
                    let client = try Connection(port: server.port)
                    try client.send(request([Array("\u{1b}[2J".utf8), Array("a\u{1b}]0;title\u{7}\u{9b}31m\u{202e}b\u{7f}é".utf8), [0x9b, 0x0a, 0x0d, 0xff]]))
                    try client.receive(until: "\r\n")
                    try client.settle()
                }
                let bytes = Array(trace.output.utf8)
                #expect(!bytes.contains { $0 < 32 && $0 != 10 || $0 == 127 })
                #expect(!trace.output.unicodeScalars.contains { (0x80...0x9f).contains($0.value) || $0.value == 0x202e })
                #expect(trace.output.contains("x1b") && trace.output.contains("é"))
                #expect(trace.output.split(separator: "\n").count == (form == ["--json"] ? 3 : 2))
            }
        }
    }
}

/// What comes out of the ring while `load` runs.
private func rawRecords(of server: RedisServer, hook: String, _ filter: TraceFilter, during load: () throws -> Void) throws -> [TracedRequest] {
    let watched = try #require(WatchedProcesses(pids: [server.pid]))
    var probe = try CommandProbe(watching: watched, hook: try #require(CommandHook(rawValue: hook)), trace: filter)
    let records = try TraceRecords(of: probe, requestBytes: filter.requestBytes, payload: RESPPayload())
    try probe.attach { [] }
    try load()
    return try records.drain()
}
