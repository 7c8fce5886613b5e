import Foundation
import Glibc
import KilnModel
import TestSupport
import Testing

extension KernelTests {
    /// Single requests, each told once with what it asked and what it was answered.
    @Suite struct TraceTests {
        @Test(arguments: Capability.hooks)
        func eachRequestIsTracedOnceWithItsArgumentsReplyAndPlace(hook: String) throws {
            let server = try RedisServer()
            let lock = NSLock()
            nonisolated(unsafe) var sent: [String: [[UInt8]]] = [:]
            let trace = try TraceRun.recording(pid: server.pid, hook: hook, ["--json", "--argument-bytes", "512"]) { _ in
                try withThrowingThreads(4) { thread in
                    var random = SeededGenerator(seed: UInt64(31 + thread))
                    let client = try Connection(port: server.port)
                    var words: [[UInt8]] = []
                    while words.count < 331 {
                        // Pipelines, cut anywhere.
                        let batch = (0..<Int.random(in: 1...(words.count % 2 == 0 ? 1 : 20), using: &random)).map { _ in
                            (0..<Int.random(in: 0...200, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
                        }
                        let bytes = batch.flatMap { request([Array("ECHO".utf8), $0]) }
                        let cut = Int.random(in: 0...bytes.count, using: &random)
                        try client.send(bytes[..<cut])
                        if cut % 3 == 0 { usleep(1000) }
                        try client.send(bytes[cut...])
                        try client.settle()
                        // What settled is one of them.
                        words += batch + [[]]
                    }
                    lock.withLock { sent[client.localAddress] = words }
                }
            }
            let rows = Dictionary(grouping: try trace.rows(), by: \.client)
            #expect(Set(rows.keys) == Set(sent.keys))
            for (client, words) in sent {
                let told = rows[client] ?? []
                #expect(told.map(\.sequence) == (1...UInt32(words.count)).map { $0 })
                for (row, word) in zip(told, words) {
                    let isSettling = row.words.last?.hasPrefix("settled-") ?? false
                    let shown = shownText(word)
                    let isRight =
                        row.command == "ECHO" && row.status == "ok" && row.complete && row.replyKind == "bulk string"
                        && row.words.count == 2 && row.words[0] == "ECHO" && row.reply == row.words[1] && (isSettling || row.words[1] == shown)
                    if !isRight { Issue.record("\(row) instead of \(shown)") }
                }
            }
            #expect(trace.said.contains("lost: nothing"))
        }

        /// Those of one row that follow each other leave the kernel together.
        @Test(arguments: Capability.hooks)
        func requestsOfAPipelineAreToldOneByOne(hook: String) throws {
            let server = try RedisServer()
            var words: [[String]] = [], replies: [String?] = []
            func piece(_ all: [(words: [String], reply: String?)]) -> [UInt8] {
                words += all.map(\.words)
                replies += all.map(\.reply)
                return all.flatMap { request($0.words) }
            }
            let value = String(repeating: "v", count: 300)
            let trace = try TraceRun.recording(pid: server.pid, hook: hook, ["--json", "--argument-bytes", "400"]) { _ in
                let client = try Connection(port: server.port)
                func settle() throws {
                    try client.send(request("ECHO", "settled"))
                    try client.receive(until: "$7\r\nsettled\r\n")
                    words.append(["ECHO", "settled"])
                    replies.append("settled")
                }
                // Of one row; of several, some alone; errors; blank lines and inline ones; more than is kept together.
                try client.send(piece((0..<17).map { (["SET", "k\($0)", "v\($0)"], "OK") }))
                try settle()
                try client.send(
                    piece((0..<5).map { (["GET", "k\($0)"], "v\($0)") } + [(["INCR", "n"], "1")] + (3..<9).map { (["GET", "k\($0)"], "v\($0)") }))
                try settle()
                try client.send(piece((0..<7).map { (["LPOP", "k\($0)"], "\"WRONGTYPE Operation against a key holding the wrong kind of value\"") }))
                try settle()
                try client.send(
                    Array("\r\n*0\r\n".utf8) + piece([(["PING"], "PONG")]) + Array("  \r\nPING\r\n".utf8) + piece([(["PING"], "PONG"), (["PING"], "PONG")]))
                words.append(["PING"])
                replies.append("PONG")
                try settle()
                try client.send(piece((0..<3).map { _ in (["ECHO", value], String(repeating: "v", count: 250) + "...(300 bytes)") }))
                try settle()
                // No reply to one of equal ones, and then to none of several.
                try client.send(piece([(["CLIENT", "REPLY", "SKIP"], nil), (["GET", "k1"], nil), (["GET", "k2"], "v2"), (["GET", "k3"], "v3")]))
                try settle()
                try client.send(
                    piece(
                        [(["GET", "k1"], "v1"), (["CLIENT", "REPLY", "OFF"], nil)] + (0..<4).map { (["GET", "k\($0)"], nil) } + [
                            (["CLIENT", "REPLY", "ON"], "OK"), (["GET", "k4"], "v4"),
                        ]))
                try settle()
                // In a transaction, and cut.
                let queued = (0..<4).map { (["SET", "t", "\($0)"], Optional("QUEUED")) }
                let bytes = piece([(["MULTI"], "OK")] + queued + [(["EXEC"], "[OK, OK, OK, OK]")] + (0..<6).map { (["GET", "k\($0)"], "v\($0)") })
                try client.send(bytes.dropLast(30))
                usleep(20_000)
                try client.send(bytes.suffix(30))
                try settle()
            }
            // What gets no reply is told when it is read, before what is answered of the same receive.
            let rows = try trace.rows().sorted { $0.sequence ?? 0 < $1.sequence ?? 0 }
            #expect(rows.map(\.words) == words.map { $0.map { shownText(Array($0.utf8)) } })
            #expect(rows.map(\.reply) == replies)
            #expect(rows.map(\.sequence) == (1...UInt32(words.count)).map { $0 })
            #expect(rows.map(\.status) == replies.map { $0 == nil ? "unknown" : $0?.contains("WRONGTYPE") == true ? "error" : "ok" })
            #expect(rows.allSatisfy { $0.complete == ($0.reply?.hasSuffix("bytes)") != true) && $0.requestBytes != nil })
            #expect(trace.said.contains("lost: nothing"), "\(trace.said)")
        }

        /// Neither with what stands before them nor behind them, nor when they are cut.
        @Test(arguments: Capability.hooks)
        func secretsInPipelinesStayInTheKernel(hook: String) throws {
            let server = try RedisServer()
            var mapped: [UInt8] = []
            let trace = try TraceRun.recording(pid: server.pid, hook: hook) { kiln in
                let client = try Connection(port: server.port)
                let auth = request("AUTH", "hidden")
                try client.send(request("PING") + request("PING") + auth + auth + request("PING") + request("PING") + auth.dropLast(3))
                usleep(20_000)
                try client.send(Array(auth.suffix(3)))
                try client.settle()
                usleep(300_000)
                mapped = try kiln.mappedOfBPF()
            }
            #expect(contains(mapped, "PING\r\n") && !contains(mapped, "hidden"))
            let rows = try trace.rows()
            #expect(rows.map(\.command) == ["PING", "PING", "AUTH", "AUTH", "PING", "PING", "AUTH", "ECHO"])
            #expect(rows.filter { $0.command == "AUTH" }.allSatisfy { $0.words == ["AUTH"] && $0.withheld && $0.status == "error" })
            #expect(!trace.output.contains("hidden"))
            #expect(trace.said.contains("lost: nothing"), "\(trace.said)")
        }

        @Test(arguments: Capability.hooks)
        func repliesOfAnySizeAndKindAreTheirRequests(hook: String) throws {
            let server = try RedisServer()
            let trace = try TraceRun.recording(pid: server.pid, hook: hook) { _ in
                let client = try Connection(port: server.port)
                try client.send(request([Array("SET".utf8), Array("big".utf8), [UInt8](repeating: 120, count: 3_000_000)]))
                try client.receive(until: "+OK\r\n")
                try client.send(request("HSET", "h", "f", "v") + request("GET", "big") + request("HGETALL", "h") + request("GET", "big") + request("LPOP", "h"))
                try client.receive(until: "WRONGTYPE Operation against a key holding the wrong kind of value\r\n")
                try client.send(request("HELLO", "3") + request("HGETALL", "h") + request("GET", "no") + request("BLPOP", "no", "0.01"))
                try client.receive(until: "_\r\n_\r\n")
                try client.send(Array("PING\r\n".utf8))
                try client.receive(until: "PONG")
            }
            let rows = try trace.rows()
            #expect(rows.map(\.command) == ["SET", "HSET", "GET", "HGETALL", "GET", "LPOP", "HELLO", "HGETALL", "GET", "BLPOP", "PING"])
            #expect(
                rows.map(\.replyKind) == [
                    "simple string", "integer", "bulk string", "array", "bulk string", "error", "map", "map", "null", "null", "simple string",
                ], "\(trace.said)")
            #expect(rows.map(\.sequence) == (1...11).map { $0 })
            let x = String(repeating: "x", count: 246)
            for at in [2, 4] {
                #expect(rows[at].replyBytes == 3_000_012)
                #expect(rows[at].reply == x + "...(3000000 bytes)")
                #expect(!rows[at].complete)
            }
            #expect(rows[0].requestBytes == 3_000_034)
            #expect(rows[0].words.last?.hasSuffix("x...(3000000 bytes)") ?? false)
            #expect(rows[3].reply == "[f, v]")
            #expect(rows[3].replySize == 2)
            #expect(rows[7].reply == "{f: v}")
            #expect(rows[5].status == "error")
            #expect(rows[9].blocking && rows[9].latencyNs ?? 0 > 10_000_000)
            #expect(rows[10].class == "PING" && rows[10].words == ["PING"])
        }

        @Test(arguments: Capability.hooks)
        func whatTheServerPushesAndWhatItDoesntAnswerIsTold(hook: String) throws {
            let server = try RedisServer()
            let trace = try TraceRun.recording(pid: server.pid, hook: hook) { _ in
                let subscriber = try Connection(port: server.port), other = try Connection(unixSocket: server.unixSocket)
                try subscriber.send(request("HELLO", "3") + request("SUBSCRIBE", "a"))
                try subscriber.receive(until: ":1\r\n")
                for _ in 0..<7 { _ = try other.reply(to: "PUBLISH", "a", "hi") }
                try subscriber.send(request("PING"))
                try subscriber.receive(until: "PONG")
                try other.send(request("CLIENT", "REPLY", "OFF") + request("SET", "a", "b"))
                try other.send(request("CLIENT", "REPLY", "ON"))
                try other.receive(until: "+OK\r\n")
            }
            let rows = try trace.rows()
            let pushed = rows.filter { $0.class == "PUSHED_EVENT" }
            #expect(pushed.map(\.reply) == ["[subscribe, a, 1]"] + [String](repeating: "[message, a, hi]", count: 7))
            #expect(rows.filter { $0.client == "unix" && $0.command == "PUBLISH" }.map(\.sequence) == (1...7).map { $0 })
            let unanswered = rows.filter { $0.status == "unknown" }
            #expect(unanswered.map { $0.words.joined(separator: " ") } == ["SUBSCRIBE a", "CLIENT REPLY OFF", "SET a b"])
            #expect(unanswered.allSatisfy { $0.latencyNs == nil })
            #expect(rows.filter { $0.class != "PUSHED_EVENT" }.count == 13)
        }

        /// In RESP2 messages are arrays, as replies are: told once each, whatever they are sent with, and however large they are.
        @Test(arguments: Capability.hooks)
        func messagesToSubscribersInRESP2AreTold(hook: String) throws {
            let server = try RedisServer()
            let big = String(repeating: "x", count: 1_000_003)
            var sent: [String] = []
            let trace = try TraceRun.recording(pid: server.pid, hook: hook) { _ in
                let subscriber = try Connection(port: server.port), other = try Connection(port: server.port)
                try subscriber.send(request("SET", "message", "a"))
                try subscriber.receive(until: "+OK\r\n")
                try subscriber.send(request("SUBSCRIBE", "a", "b") + request("PSUBSCRIBE", "c*"))
                try subscriber.receive(until: ":3\r\n")
                sent += ["[subscribe, a, 1]", "[subscribe, b, 2]", "[psubscribe, c*, 3]"]
                for round in 0..<7 {
                    // Many in one send, and one in many.
                    try other.send((0..<97).flatMap { request("PUBLISH", ["a", "b", "cd"][$0 % 3], "hi-\(round)-\($0)") })
                    sent += (0..<97).map { $0 % 3 == 2 ? "[pmessage, c*, cd, hi-\(round)-\($0)]" : "[message, \($0 % 3 == 0 ? "a" : "b"), hi-\(round)-\($0)]" }
                    try subscriber.receive(until: "hi-\(round)-96\r\n")
                    try subscriber.send(request("PING", "pinged"))
                    try subscriber.receive(until: "pinged\r\n")
                    try other.send(request("PUBLISH", "b", big) + request("PUBLISH", "a", "after"))
                    try subscriber.receive(until: "after\r\n")
                    sent += ["[message, b, " + String(repeating: "x", count: 222) + "...(1000003 bytes)]", "[message, a, after]"]
                }
                try subscriber.send(request("UNSUBSCRIBE", "a") + request("UNSUBSCRIBE") + request("PUNSUBSCRIBE"))
                try subscriber.receive(until: ":0\r\n")
                sent += ["[unsubscribe, a, 2]", "[unsubscribe, b, 1]", "[punsubscribe, c*, 0]"]
                try subscriber.send(request("RPUSH", "l", "one", "two", "three") + request("LRANGE", "l", "0", "-1") + request("GET", "message"))
                try subscriber.receive(until: "$1\r\na\r\n")
            }
            let rows = try trace.rows()
            let pushed = rows.filter { $0.class == "PUSHED_EVENT" }
            #expect(pushed.map { $0.reply ?? "" } == sent)
            #expect(pushed.filter { !$0.complete }.compactMap(\.replyBytes) == [UInt64](repeating: 1_000_003 + 36, count: 7))
            #expect(rows.filter { $0.command == "PUBLISH" && $0.status == "ok" }.count == 7 * 99)
            #expect(trace.said.contains("lost: 1 unpaired_connections"), "\(trace.said)")
        }

        @Test(arguments: Capability.hooks)
        func pipelinesBeyondWhatIsKeptAreCountedAndInOrder(hook: String) throws {
            let server = try RedisServer()
            let count = 5003
            let trace = try TraceRun.recording(pid: server.pid, hook: hook) { _ in
                let client = try Connection(port: server.port)
                try client.send((0..<count).flatMap { request("ECHO", "w\($0)") } + Array(String(repeating: "PING\r\n", count: 4001).utf8))
                try client.settle()
            }
            let rows = try trace.rows()
            #expect(UInt64(rows.count) + trace.lost("untraced_commands") == UInt64(count + 4001 + 1))
            #expect(Set(rows.map(\.sequence)).count == rows.count)
            let answered = rows.filter { $0.status == "ok" }
            #expect(answered.map { $0.sequence ?? 0 } == answered.map { $0.sequence ?? 0 }.sorted())
            for row in rows where row.command == "ECHO" {
                let isRight = row.words == ["ECHO", "w\((row.sequence ?? 0) - 1)"] && (row.status == "unknown" || row.reply == row.words[1])
                if !isRight, row.words.last?.hasPrefix("settled") != true { Issue.record("\(row)") }
            }
            #expect(answered.count > 1000)
        }

        /// Read ahead, cut and in one record with others: each request of an encrypted connection is told as one of a plain one is.
        @Test(.enabled(if: PythonClient.isInstalled, "python3 with its ssl module is not installed"), arguments: Capability.hooks)
        func encryptedRequestsAreTracedAsPlainOnesAre(hook: String) throws {
            let keys = try TLSKeys()
            let server = try RedisServer(keys.arguments)
            nonisolated(unsafe) var address = ""
            let trace = try TraceRun.recording(pid: server.pid, hook: hook, ["--json"]) { _ in
                let client = try PythonClient(
                    port: keys.port, authority: keys.certificate,
                    """
                    client = connect()
                    in_pieces(client, b"".join(request("ECHO", "word-%d" % n) for n in range(301)), 300)
                    settle(client)
                    tell("address", "%s:%d" % client.getsockname())
                    """)
                address = try client.told("address")
                try client.finish()
            }
            let rows = try trace.rows()
            #expect(rows.map(\.sequence) == (1...302).map { UInt32($0) })
            #expect(rows.dropLast().map { $0.words.last ?? "" } == (0..<301).map { "word-\($0)" })
            #expect(rows.allSatisfy { $0.tls && $0.complete && $0.status == "ok" && $0.reply == $0.words.last && $0.client == address })
            #expect(trace.said.contains("lost: nothing"), "\(trace.said)")
        }

        @Test(arguments: Capability.hooks)
        func underOverloadWhatIsDroppedIsCountedAndTheRestIsRight(hook: String) throws {
            let server = try RedisServer()
            let each = Int(load(40_009)), lock = NSLock()
            nonisolated(unsafe) var names: [String: Int] = [:]
            // Nobody takes records off the ring while it fills.
            let trace = try TraceRun.recording(pid: server.pid, hook: hook) { kiln in
                kill(kiln.pid, SIGSTOP)
                defer { kill(kiln.pid, SIGCONT) }
                try withThrowingThreads(4) { thread in
                    let client = try Connection(port: server.port)
                    lock.withLock { names[client.localAddress] = thread }
                    for first in stride(from: 0, to: each, by: 16) {
                        let batch = first..<min(first + 16, each)
                        try client.send(batch.flatMap { request("ECHO", Self.word(thread, $0)) })
                        try client.receive(until: "\(Self.word(thread, batch.upperBound - 1))\r\n")
                    }
                }
            }
            let rows = try trace.rows(), summary = try trace.summary()
            for (client, told) in Dictionary(grouping: rows, by: \.client) {
                let thread = try #require(names[client]), sequences = told.map { Int($0.sequence ?? 0) }
                #expect(zip(sequences, sequences.dropFirst()).allSatisfy { $0 < $1 })
                for (row, sequence) in zip(told, sequences) {
                    let word = Self.word(thread, sequence - 1)
                    let isRight = row.command == "ECHO" && row.status == "ok" && row.words == ["ECHO", word] && row.reply == word
                    // Where a set of slots is full, a request is told without its arguments, and counted.
                    let isCut = row.words == ["ECHO"] && row.wordsMissing == nil && row.reply == word
                    if !isRight && !isCut { Issue.record("\(row) instead of \(word)") }
                }
            }
            let cut = rows.count { $0.words == ["ECHO"] }
            #expect(UInt64(cut) <= summary.lost["traced_requests_without_room", default: 0])
            let lost = summary.lost["trace_ring_full", default: 0] + summary.lost["untraced_commands", default: 0]
            #expect(lost > 0 || each < 40_009, "the ring was large enough: \(summary)")
            #expect(summary.traced == UInt64(rows.count))
            #expect(summary.requests == UInt64(4 * each))
            #expect(summary.traced + lost == UInt64(4 * each))
            #expect(rows.count > each / 16)
            for (name, count) in summary.lost { #expect(trace.lost(name) == count) }
        }

        /// What the request of this number on a connection echoes, and no other.
        private static func word(_ thread: Int, _ index: Int) -> String { "connection-\(thread)-word-\(index)" }
    }
}
