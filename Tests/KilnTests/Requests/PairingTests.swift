import Foundation
import Glibc
import TestSupport
import Testing

extension KernelTests {
    /// Which reply answers which command.
    @Suite struct PairingTests {
        @Test(arguments: Capability.hooks)
        func errorsAreTheServersOwnByCommandAndWord(hook: String) throws {
            let server = try RedisServer(["--maxmemory", "1", "--maxmemory-policy", "noeviction"])
            let session = try Session.recording(pid: server.pid, ["--hook", hook]) {
                let client = try Connection(port: server.port)
                try client.send(request("GET") + request("NOSUCH") + request("SET", "a", "b") + request("GET", "a"))
                try client.settle()
                try client.send(request("MULTI") + request("GET", "a") + request("LPOP", "a") + request("EXEC"))
                try client.settle()
                try client.send(request("EVAL", "return redis.call('SET', 'a', 'b')", "0"))
                try client.settle()
            }
            let errors = session.record.commands.mapValues(\.errorWords).filter { !$0.value.isEmpty }
            // Without memory, nothing is queued in a transaction.
            #expect(
                errors == [
                    "GET": ["ERR": 1, "OOM": 1], "NOSUCH": ["ERR": 1], "SET": ["OOM": 1], "LPOP": ["OOM": 1], "EXEC": ["EXECABORT": 1],
                    "EVAL": ["OOM": 1],
                ])
            #expect(session.record.commands["SET"]?.errors == 1)
            var own: [String: UInt64] = [:]
            for line in try Connection(port: server.port).reply(to: "INFO", "errorstats").split(separator: "\r\n") where line.hasPrefix("errorstat_") {
                let parts = line.dropFirst("errorstat_".count).split(separator: ":count=")
                own[String(parts[0])] = UInt64(parts[1])
            }
            let counted = errors.values.reduce(into: [:]) { $0.merge($1, uniquingKeysWith: +) }
            #expect(counted == own)
            #expect(session.output.contains("errors: "))
        }

        @Test func anErrorInsideATransactionIsItsCommandsWord() throws {
            let server = try RedisServer()
            let session = try Session.recording(pid: server.pid) {
                let client = try Connection(port: server.port)
                try client.send(request("SET", "a", "b") + request("MULTI") + request("LPOP", "a") + request("INCR", "n") + request("EXEC"))
                try client.settle()
            }
            #expect(session.record.commands["EXEC"]?.errorWords == ["WRONGTYPE": 1])
            #expect(session.record.commands["EXEC"]?.errors == 0)
            #expect(session.record.commands["EXEC"]?.phases["service"]?.count == 1)
        }

        @Test(arguments: Capability.hooks)
        func commandsWithoutRepliesTakeNobodysReply(hook: String) throws {
            let server = try RedisServer()
            let session = try Session.recording(pid: server.pid, ["--hook", hook]) {
                let client = try Connection(port: server.port)
                try client.send(request("CLIENT", "REPLY", "SKIP") + request("DEBUG", "SLEEP", "0.1") + request("GET", "x"))
                try client.receive(until: "$-1\r\n")
                try client.send(request("CLIENT", "REPLY", "OFF"))
                for _ in 0..<7 { try client.send(request("DEBUG", "SLEEP", "0.02")) }
                try client.send(request("CLIENT", "REPLY", "ON"))
                try client.receive(until: "+OK\r\n")
                for _ in 0..<11 { _ = try client.reply(to: "GET", "x") }
            }
            let commands = session.record.commands
            #expect(session.counts == ["CLIENT": 3, "DEBUG": 8, "GET": 12])
            #expect(commands["DEBUG"]?.phases["service"] == nil)
            #expect(commands["CLIENT"]?.phases["service"]?.count == 1)
            #expect(commands["GET"]?.phases["service"]?.count == 12)
            #expect(session.record.lost.isEmpty)
        }

        @Test(arguments: Capability.hooks)
        func messagesOfSubscriptionsAnswerNobody(hook: String) throws {
            let server = try RedisServer()
            let session = try Session.recording(pid: server.pid, ["--hook", hook]) {
                let subscriber = try Connection(port: server.port), other = try Connection(port: server.port)
                try subscriber.send(request("SUBSCRIBE", "a", "b"))
                try subscriber.receive(until: ":2\r\n")
                for _ in 0..<101 { _ = try other.reply(to: "PUBLISH", "a", "hello") }
                try subscriber.send(request("PING"))
                try subscriber.receive(until: "pong")
            }
            #expect(session.counts == ["SUBSCRIBE": 1, "PUBLISH": 101, "PING": 1])
            #expect(session.record.commands["SUBSCRIBE"]?.phases["service"] == nil)
            #expect(session.record.commands["PING"]?.phases["service"] == nil)
            #expect(session.record.commands["PUBLISH"]?.phases["service"]?.count == 101)
            #expect(session.record.lost == ["unpaired_connections": 1])
        }

        @Test(arguments: Capability.hooks)
        func pushesOfRESP3AnswerNobody(hook: String) throws {
            let server = try RedisServer()
            let session = try Session.recording(pid: server.pid, ["--hook", hook]) {
                let client = try Connection(port: server.port), other = try Connection(port: server.port)
                try client.send(request("HELLO", "3"))
                try client.receive(until: "modules\r\n*0\r\n")
                try client.send(request("CLIENT", "TRACKING", "ON"))
                try client.receive(until: "+OK\r\n")
                try client.send(request("SUBSCRIBE", "a"))
                try client.receive(until: ":1\r\n")
                for index in 0..<51 {
                    try client.send(request("GET", "k"))
                    try client.receive(until: index == 0 ? "_\r\n" : "v\(index - 1)\r\n")
                    _ = try other.reply(to: "SET", "k", "v\(index)")
                    _ = try other.reply(to: "PUBLISH", "a", "hello")
                    try client.receive(until: "hello\r\n")
                }
            }
            #expect(session.record.commands["GET"]?.phases["service"]?.count == 51)
            #expect(session.record.commands["SET"]?.phases["service"]?.count == 51)
            #expect(session.record.commands["SUBSCRIBE"]?.phases["service"] == nil)
            #expect(session.record.lost.isEmpty)
        }

        @Test(arguments: Capability.hooks)
        func monitoringAndReplicationAreNoLatencies(hook: String) throws {
            let server = try RedisServer()
            let session = try Session.recording(pid: server.pid, ["--hook", hook]) {
                let monitor = try Connection(port: server.port), other = try Connection(port: server.port)
                try monitor.send(request("MONITOR"))
                try monitor.receive(until: "+OK\r\n")
                let load = try Child("redis-benchmark", ["-p", "\(server.port)", "-q", "-t", "lpush", "-n", "20011", "-c", "5"])
                let replica = try RedisServer(["--replicaof", "127.0.0.1", "\(server.port)"])
                guard eventually({ ((try? Connection(port: replica.port).reply(to: "INFO", "replication")) ?? "").contains("link_status:up") })
                else { throw TestFailure("the replica did not connect") }
                for _ in 0..<211 { _ = try other.reply(to: "SET", "a", "b") }
                try monitor.receive(until: "\"SET\" \"a\" \"b\"\r\n")
                load.wait()
            }
            #expect(session.record.commands["LPUSH"]?.count == 20_011)
            #expect(session.record.commands["LPUSH"]?.phases["service"]?.count == 20_011)
            #expect(session.record.commands["SET"]?.phases["service"]?.count == 211)
            #expect(session.record.commands["MONITOR"]?.phases["service"] == nil)
            #expect(session.record.commands["PSYNC"]?.phases["service"] == nil)
            #expect(session.record.lost == ["unpaired_connections": 2])
        }

        @Test(arguments: Capability.hooks)
        func eachReplyOfALargePipelineEndsWithItsLastByte(hook: String) throws {
            let server = try RedisServer()
            let client = try Connection(port: server.port)
            for name in ["small", "big"] {
                try client.send(request([Array("SET".utf8), Array(name.utf8), [UInt8](repeating: 120, count: name == "big" ? 6_000_000 : 10)]))
                try client.receive(until: "+OK\r\n")
            }
            let session = try Session.recording(pid: server.pid, ["--hook", hook]) {
                _ = try client.reply(to: "PING")
                try client.send(request("GET", "small") + request("STRLEN", "big") + request("GETRANGE", "big", "0", "-1") + request("ECHO", "the end"))
                usleep(200_000)
                try client.receive(until: "the end\r\n")
            }
            let service = session.record.commands.compactMapValues { $0.phases["service"] }
            for name in ["GET", "STRLEN", "GETRANGE", "ECHO"] { #expect(service[name]?.count == 1) }
            // What went before the large reply was there at once; the reply and what follows it had to wait for the client.
            #expect((service["GET"]?.maxNs ?? .max) < 150_000_000)
            #expect((service["GETRANGE"]?.maxNs ?? 0) > 190_000_000)
            #expect((service["ECHO"]?.maxNs ?? 0) > 190_000_000)
        }

        @Test(arguments: Capability.hooks)
        func mixedPipelinesAreTimedCompletely(hook: String) throws {
            let server = try RedisServer()
            let (kiln, counted, session) = try server.counts(hook: hook) {
                let client = try Connection(port: server.port)
                for _ in 0..<20 {
                    let batch = (0..<300).flatMap { $0 % 2 == 0 ? request("GET", "a\($0)") : request("LPUSH", "l", "\($0)") }
                    try client.send(batch)
                    try client.settle()
                }
            }
            #expect(kiln == counted)
            for name in ["GET", "LPUSH", "ECHO"] { #expect(session.record.commands[name]?.phases["service"]?.count == kiln[name]) }
            #expect(session.record.lost.isEmpty)
        }

        @Test(arguments: Capability.hooks)
        func clientsAreCountedByAddress(hook: String) throws {
            let server = try RedisServer()
            let session = try Session.recording(pid: server.pid, ["--hook", hook]) {
                for client in [
                    try Connection(port: server.port), try Connection(port: server.port), try Connection(ipv6Port: server.port),
                    try Connection(unixSocket: server.unixSocket),
                ] {
                    for _ in 0..<13 { _ = try client.reply(to: "ECHO", "ab") }
                    try client.send(request([Array("SET".utf8), Array("k".utf8), [UInt8](repeating: 1, count: 100_000)]))
                    try client.receive(until: "+OK\r\n")
                }
            }
            let clients = session.record.clients
            #expect(clients.mapValues(\.commands) == ["127.0.0.1": 28, "::1": 14, "unix": 14])
            let echo = UInt64(request("ECHO", "ab").count), set = UInt64(request(["SET", "k", String(repeating: "1", count: 100_000)]).count)
            #expect(clients["127.0.0.1"]?.receivedBytes == 2 * (13 * echo + set))
            #expect(clients["::1"]?.sentBytes == 13 * 8 + 5)
            #expect(session.record.commands["SET"]?.requestBytesMax == set)
            #expect(session.record.commands["ECHO"]?.requestBytesMax == echo)
            #expect(session.record.commands["ECHO"]?.replyBytesMax == 8)
        }
    }
}
