import Foundation
import Glibc
import TestSupport
import Testing

extension KernelTests {
    /// Counts against the server's own: INFO commandstats.
    @Suite struct CommandCountTests {
        @Test(arguments: Capability.hooks, ["1", "16", "128"])
        func everyBenchmarkCommandIsCountedOnce(hook: String, pipeline: String) throws {
            let server = try RedisServer(), requests = load(200_003)
            let (kiln, counted, session) = try server.counts(hook: hook) {
                try server.benchmark(["-t", "set,get", "-n", "\(requests)", "-c", "50", "-P", pipeline])
            }
            #expect(kiln == counted)
            // The benchmark sends whole pipelines: at 128, a few more than asked for.
            #expect((requests..<requests + 128).contains(kiln["GET"] ?? 0))
            #expect(session.record.lost.isEmpty)
            #expect(session.record.hook == hook)
            #expect(session.record.commands["GET"]?.phases["service"]?.count == kiln["GET"])
            // Rows of the intervals add up to the total.
            #expect(session.callsInRows("SET") == kiln["SET"])
        }

        @Test(arguments: Capability.hooks)
        func aStreamCutAtEveryByteIsCountedOnce(hook: String) throws {
            let server = try RedisServer()
            let (kiln, counted, session) = try server.counts(hook: hook) {
                let client = try Connection(port: server.port)
                let stream =
                    request("set", "key", "value") + request("GEt", "key") + Array("PING\r\n  get key  \r\n\r\n*0\r\n".utf8)
                    + request("MGET", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k") + request("SET", "empty", "")
                for byte in stream { try client.send([byte]); usleep(300) }
                try client.settle()
            }
            #expect(kiln == counted)
            #expect(kiln == ["SET": 2, "GET": 2, "PING": 1, "MGET": 1, "ECHO": 1])
            #expect(session.record.lost.isEmpty)
        }

        @Test(arguments: Capability.hooks)
        func randomStreamsCutAnywhereAreCountedOnce(hook: String) throws {
            let server = try RedisServer()
            let (kiln, counted, session) = try server.counts(hook: hook) {
                try withThrowingThreads(4) { index in
                    var random = SeededGenerator(seed: UInt64(index) + 7)
                    for round in 0..<6 {
                        let client = round % 2 == 0 ? try Connection(port: server.port) : try Connection(unixSocket: server.unixSocket)
                        let stream = RandomStream.make(commands: 150, using: &random)
                        var rest = stream[...]
                        while !rest.isEmpty {
                            let length = [1, 2, 7, 60, 3000, 70_000].randomElement(using: &random) ?? 1
                            let piece = rest.prefix(Int.random(in: 1...length, using: &random))
                            try client.send(piece)
                            rest = rest.dropFirst(piece.count)
                            if length < 100 { usleep(100) }
                        }
                        try client.settle()
                    }
                }
            }
            // The server keeps no statistics of commands it doesn't know.
            #expect(kiln.filter { $0.key != "NOSUCHCOMMAND" } == counted)
            #expect(kiln.values.reduce(0, +) > 3000)
            #expect(session.record.lost.isEmpty)
        }

        @Test(arguments: Capability.hooks)
        func aMegabyteFullOfRequestsIsOneRequest(hook: String) throws {
            let server = try RedisServer()
            let trap = Array(repeating: request("GET", "x") + request("FLUSHALL"), count: 20_000).flatMap { $0 }
            let (kiln, counted, session) = try server.counts(hook: hook) {
                let client = try Connection(port: server.port)
                try client.send(request([Array("SET".utf8), Array("big".utf8), trap]))
                try client.settle()
            }
            #expect(kiln == counted)
            #expect(kiln == ["SET": 1, "ECHO": 1])
            #expect(session.record.lost.isEmpty)
        }

        @Test(arguments: Capability.hooks)
        func unixAndIPv6ClientsCountTheSame(hook: String) throws {
            let server = try RedisServer()
            let (kiln, counted, session) = try server.counts(hook: hook) {
                for client in [try Connection(unixSocket: server.unixSocket), try Connection(ipv6Port: server.port)] {
                    for _ in 0..<101 { try client.send(request("INCR", "n")) }
                    try client.settle()
                }
            }
            #expect(kiln == counted)
            #expect(kiln == ["INCR": 202, "ECHO": 2])
            #expect(session.record.lost.isEmpty)
        }

        /// What a client sends before it closes is read together with the end of its stream; what it sends before it resets the connection
        /// is read without one.
        @Test(arguments: Capability.hooks, [false, true])
        func theLastRequestsOfAConnectionCount(hook: String, resets: Bool) throws {
            let server = try RedisServer()
            let (kiln, counted, session) = try server.counts(hook: hook) {
                let known = try Connection(port: server.port)
                try known.settle()
                kill(server.pid, SIGSTOP)
                defer { kill(server.pid, SIGCONT) }
                var clients = [known]
                // Redis closes unread what was reset before it accepted it.
                if !resets { clients += try [Connection(port: server.port), Connection(ipv6Port: server.port), Connection(unixSocket: server.unixSocket)] }
                for client in clients {
                    try client.send(request("INCR", "n") + request("PING"))
                    if resets { try client.reset() } else { shutdown(client.fd, Int32(SHUT_WR)) }
                }
                kill(server.pid, SIGCONT)
                if !resets { for client in clients { try client.receive(until: "+PONG\r\n") } }
                try Connection(port: server.port).settle()
            }
            let clients: UInt64 = resets ? 1 : 4
            #expect(kiln == counted)
            #expect(kiln == ["ECHO": 2, "INCR": clients, "PING": clients])
            #expect(session.record.lost.isEmpty)
        }

        @Test func aCommandThatStillWaitsIsCountedInItsInterval() throws {
            let server = try RedisServer()
            let session = try Session.recording(pid: server.pid) {
                let client = try Connection(port: server.port)
                try client.send(request("BLPOP", "nokey", "2"))
                try client.receive(until: "*-1\r\n")
                try client.settle()
            }
            #expect(session.counts["BLPOP"] == 1)
            #expect(session.callsInRows("BLPOP") == 1)
        }

        @Test func longAndUnknownNamesHaveRowsOfTheirOwn() throws {
            let server = try RedisServer(["--rename-command", "LLEN", "b840fc02d524045429941cc15f59e41cb7be6c52"])
            let (kiln, _, session) = try server.counts {
                let client = try Connection(port: server.port)
                try client.send(request("b840fc02d524045429941cc15f59e41cb7be6c52", "list"))
                try client.send(request("GEORADIUSBYMEMBER_RO", "a", "b", "1", "m"))
                try client.send(request("no.such-command"))
                try client.send(request(String(repeating: "x", count: 65)))
                try client.settle()
            }
            #expect(
                kiln == [
                    "B840FC02D524045429941CC15F59E41CB7BE6C52": 1, "GEORADIUSBYMEMBER_RO": 1, "NO.SUCH-COMMAND": 1, "other": 1, "ECHO": 1,
                ])
            #expect(session.record.lost == ["command_names_too_long": 1])
        }

        @Test func moreNamesThanRowsCountAsOtherAndAsLost() throws {
            let server = try RedisServer()
            let (kiln, _, session) = try server.counts {
                let client = try Connection(port: server.port)
                for index in 0..<1500 { try client.send(request("NAME\(index)")) }
                try client.settle()
            }
            let lost = session.record.lost["commands_map_full"] ?? 0
            #expect(kiln["other"] == lost)
            #expect(lost > 400)
            #expect(kiln.values.reduce(0, +) == 1501)
        }

        @Test(arguments: Capability.hooks)
        func theAppendOnlyFileAddsNoCommand(hook: String) throws {
            let server = try RedisServer(["--appendonly", "yes", "--appendfsync", "always"])
            let (kiln, counted, session) = try server.counts(hook: hook) {
                try server.benchmark(["-t", "set", "-n", "2003", "-c", "5"])
            }
            #expect(kiln == counted)
            #expect(kiln["SET"] == 2003)
            #expect(session.record.lost.isEmpty)
        }

        @Test(arguments: Capability.hooks)
        func aBackgroundSaveAddsNoCommand(hook: String) throws {
            let server = try RedisServer()
            let (kiln, counted, session) = try server.counts(hook: hook) {
                let client = try Connection(port: server.port)
                try client.send(request("DEBUG", "POPULATE", "100000"))
                try client.send(request("BGSAVE"))
                for _ in 0..<997 { try client.send(request("GET", "key:1")) }
                try client.settle()
                guard eventually({ ((try? client.reply(to: "INFO", "persistence")) ?? "").contains("rdb_bgsave_in_progress:0") })
                else { throw TestFailure("BGSAVE did not end") }
            }
            #expect(kiln == counted)
            #expect(kiln["GET"] == 997)
            #expect(session.record.lost.isEmpty)
        }

        @Test(arguments: Capability.hooks)
        func aReplicasLinkToItsMasterAddsNoCommand(hook: String) throws {
            let master = try RedisServer()
            let replica = try RedisServer(["--replicaof", "127.0.0.1", "\(master.port)"])
            let client = try Connection(port: replica.port)
            guard eventually({ ((try? client.reply(to: "INFO", "replication")) ?? "").contains("master_link_status:up") }) else {
                throw TestFailure("the replica did not connect")
            }
            let session = try Session.recording(pid: replica.pid, ["--hook", hook]) {
                try master.benchmark(["-t", "set", "-n", "5003", "-c", "5"])
                try Connection(port: replica.port).settle()
            }
            #expect(session.counts == ["ECHO": 1])
            #expect(session.record.lost.isEmpty)
        }

        @Test func severalServersAreCountedApart() throws {
            let servers = [try RedisServer(), try RedisServer()]
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(["-p", "\(servers[0].pid)", "--port", "\(servers[1].port)", "-o", directory + "/s", "-F", "0"])
            try #require(kiln.attached())
            try servers[0].benchmark(["-t", "get", "-n", "1009", "-c", "3"])
            try servers[1].benchmark(["-t", "get", "-n", "2003", "-c", "3"])
            #expect(kiln.stop() == 0)
            let counts = try servers.map { try Session(directory: directory + "/s/redis-server-\($0.pid)").counts["GET"] }
            #expect(counts == [1009, 2003])
        }

        @Test(.enabled(if: access("/usr/bin/unshare", X_OK) == 0, "unshare is not installed"))
        func aServerInNamespacesOfItsOwnIsFoundByPortAndCounted() throws {
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let port = try freePort()
            let inside = try Child(
                "unshare",
                [
                    "--net", "--pid", "--fork", "--kill-child", "redis-server", "--port", "\(port)", "--save", "", "--dir", directory,
                    "--unixsocket", directory + "/redis.sock",
                ])
            defer { kill(inside.pid, SIGKILL) }
            try #require(eventually { (try? Connection(unixSocket: directory + "/redis.sock")) != nil })
            let kiln = try KilnRun(["--port", "\(port)", "-o", directory + "/s"])
            try #require(kiln.attached(), "\(kiln.errorText)")
            let client = try Connection(unixSocket: directory + "/redis.sock")
            for _ in 0..<101 { _ = try client.reply(to: "INCR", "n") }
            #expect(kiln.stop() == 0)
            #expect(try Session(directory: directory + "/s").counts == ["INCR": 101])
        }

        @Test func twoSessionsAtOnceCountTheSame() throws {
            let server = try RedisServer()
            let (kiln, counted, _) = try server.counts(hook: "socket") {
                let second = try Session.recording(pid: server.pid, ["--hook", "syscall"]) {
                    try server.benchmark(["-t", "get", "-n", "20011", "-c", "20"])
                }
                #expect(second.counts["GET"] == 20_011)
                #expect(second.record.lost.isEmpty)
            }
            #expect(kiln == counted)
        }
    }
}
