import Foundation
import Glibc
import KilnModel
import TestSupport
import Testing

extension KernelTests {
    /// When an execution is known, and that it is unknown where a server executes out of sight: on each server as it comes.
    @Suite struct ExecutionTests {
        /// A script that computes for some 20 ms, longer than what surrounds it.
        private static let busy = "local t = 0 for i = 1, 3000000 do t = t + i end return 1"

        /// How long the server says that each script took, in microseconds: its log of slow commands has all of 10 ms and more.
        private func scriptTimes(_ server: RedisServer) throws -> [Double] {
            let file = server.directory + "/slow"
            guard try Child("redis-cli", ["-p", "\(server.port)", "SLOWLOG", "GET", "-1"], output: file).wait() == 0 else {
                throw TestFailure("SLOWLOG GET failed")
            }
            let lines = try String(contentsOfFile: file, encoding: .utf8).split(separator: "\n")
            return zip(lines, lines.dropFirst()).compactMap { $1 == "EVAL" ? Double($0) : nil }
        }

        /// Executions that are told are the server's own: in sum, where each is told, and else within the range of its own.
        private func compare(_ exec: LatencyRecord, withScriptsOf server: RedisServer) throws {
            let times = try scriptTimes(server)
            let least = try #require(times.min()), most = try #require(times.max())
            let mean = Double(exec.sumNs) / Double(exec.count) / 1000
            #expect(mean > least * 0.9 && mean < most * 1.1 && Double(exec.maxNs) / 1000 < most * 1.1, "\(mean) of \(times)")
            guard exec.count == times.count else { return }
            #expect(abs(mean / (times.reduce(0, +) / Double(times.count)) - 1) < 0.1, "\(mean) of \(times)")
        }

        /// GETs from 50 connections while another one runs scripts.
        private func loadWithScripts(_ server: RedisServer, requests: UInt64) throws {
            let benchmark = try Child("redis-benchmark", ["-p", "\(server.port)", "-q", "-t", "get", "-n", "\(load(requests))", "-c", "50"])
            let client = try Connection(port: server.port)
            repeat { _ = try client.reply(to: "EVAL", Self.busy, "0") } while benchmark.isRunning
            #expect(benchmark.wait() == 0)
        }

        @Test(.tags(.timing), arguments: ServerBuild.available([.redis8, .valkey8, .valkey9, .falkordb]), ["2", "4"])
        func whatIoThreadsReadHasNoExecution(build: ServerBuild, threads: String) throws {
            let server = try RedisServer(["--io-threads", threads], build: build)
            let (kiln, counted, session) = try server.counts {
                try loadWithScripts(server, requests: 3_001)
            }
            #expect(kiln == counted)
            let record = session.record
            let eval = try #require(record.commands["EVAL"]), get = try #require(record.commands["GET"])
            #expect(get.phases["service"]?.count == kiln["GET"])
            let told = eval.phases["exec"]?.count ?? 0
            if let exec = eval.phases["exec"] { try compare(exec, withScriptsOf: server) }
            // Where no io thread read, the scripts are found to have blocked the others; else it is said why that can't be known.
            if let reason = record.phasesUnknown["waits"] {
                #expect(reason.contains("io threads") && session.output.components(separatedBy: "io threads read requests").count == 2)
            } else {
                let blamed = try #require(record.waits.first { $0.blocker == "EVAL" && $0.blocked == "GET" })
                #expect(blamed.times >= 50 && blamed.waitNs > blamed.times * 2_000_000)
            }
            if build == .redis8 || build == .falkordb { #expect(told == 0 && get.phases["exec"] == nil && record.waits.isEmpty) }
        }

        /// With few clients the main thread of valkey 8 reads all itself; that of valkey 9 leaves some to an io thread now and then.
        @Test(.tags(.timing), arguments: ServerBuild.available([.valkey8, .valkey9]), ["2", "4"])
        func whatTheMainThreadReadsIsKnownBesideIdleIoThreads(build: ServerBuild, threads: String) throws {
            let server = try RedisServer(["--io-threads", threads], build: build)
            let (kiln, counted, session) = try server.counts {
                let client = try Connection(port: server.port)
                sleep(1)  // what reads first is no sign of what reads later
                for _ in 0..<13 {
                    _ = try client.reply(to: "EVAL", Self.busy, "0")
                    for _ in 0..<50 { _ = try client.reply(to: "GET", "key") }
                }
            }
            #expect(kiln == counted)
            let exec = try #require(session.record.commands["EVAL"]?.phases["exec"])
            if build == .valkey8 { #expect(exec.count == 13 && session.record.commands["GET"]?.phases["exec"]?.count == 650) }
            try compare(exec, withScriptsOf: server)
        }

        /// How sessions can see that a thread has gone back to its event loop: by its system calls, or only by what it receives and sends.
        private static let ways = Capability.hooks.flatMap { [["--hook", $0], ["--hook", $0, "--no-syscalls"]] }

        private func session(_ server: RedisServer, _ options: [String], _ script: String) throws -> SessionRecord {
            try Session.recording(pid: server.pid, options) { try PythonClient(port: server.port, script).finish() }.record
        }

        @Test(.tags(.timing), arguments: ways, [0, 4])
        func aPausedCommandHasNoExecution(options: [String], others: Int) throws {
            let server = try RedisServer()
            let load = others == 0 ? nil : try Child("redis-benchmark", ["-p", "\(server.port)", "-q", "-t", "get", "-n", "10000000", "-c", "\(others)"])
            let record = try session(
                server, options,
                """
                client, other = connect(), connect()
                for round in range(3):
                    other.sendall(request("CLIENT", "PAUSE", 150, "WRITE"))
                    read_until(other, b"+OK\\r\\n")
                    client.sendall(request("SET", "key", 1))
                    read_until(client, b"+OK\\r\\n")
                    for count in range(10):
                        client.sendall(request("LLEN", "list"))
                        read_until(client, b":0\\r\\n")
                """)
            if let load { kill(load.pid, SIGTERM) }
            let set = try #require(record.commands["SET"])
            #expect(set.phases["service"]?.count == 3 && (set.phases["service"]?.maxNs ?? 0) > 100_000_000)
            #expect(set.phases["exec"] == nil && set.phases["reply"] == nil)
            // Nothing else is lost, and nobody waited for what was not executed.
            #expect(try #require(record.commands["LLEN"]?.phases["exec"]).maxNs < 50_000_000)
            #expect(record.phasesUnknown["exec"] != nil && record.phasesUnknown["exec"] == record.phasesUnknown["reply"])
            #expect(!record.waits.contains { $0.blocker == "SET" })
        }

        @Test(.tags(.timing), arguments: ways)
        func aScriptThatOthersInterruptHasNoExecution(options: [String]) throws {
            let server = try RedisServer(["--busy-reply-threshold", "20"])
            let record = try session(
                server, options,
                """
                client, other = connect(), connect()
                for round in range(3):
                    client.sendall(request("EVAL", "local t = 0 for i = 1, 20000000 do t = t + i end return 1", 0))
                    time.sleep(0.06)
                    other.sendall(request("GET", "key"))
                    assert other.recv(4096).startswith(b"-BUSY")
                    read_until(client, b":1\\r\\n")
                client.sendall(request("EVAL", "return 1", 0))
                read_until(client, b":1\\r\\n")
                """)
            let eval = try #require(record.commands["EVAL"])
            #expect(eval.phases["service"]?.count == 4)
            // Of the one that nobody interrupted it is known.
            #expect(eval.phases["exec"]?.count == 1 && (eval.phases["exec"]?.maxNs ?? .max) < 20_000_000)
            #expect(record.commands["GET"]?.errors == 3)
        }

        @Test(.enabled(if: ServerBuild.falkordb.isAvailable, "NOT TO BE HAD: FalkorDB"), arguments: ways)
        func whatAModulesThreadExecutesHasNoExecution(options: [String]) throws {
            let server = try RedisServer(build: .falkordb)
            let load = try Child("redis-benchmark", ["-p", "\(server.port)", "-q", "-t", "get", "-n", "10000000", "-c", "4"])
            let record = try session(
                server, options,
                """
                client = connect()
                for round in range(5):    # each longer than any turn of the event loop, at whose end an answer may be taken up
                    client.sendall(request("GRAPH.QUERY", "graph", "UNWIND range(0, 400000) AS x RETURN sum(x)"))
                    read_until(client, b"milliseconds\\r\\n")
                """)
            kill(load.pid, SIGTERM)
            let query = try #require(record.commands["GRAPH.QUERY"])
            #expect(query.count == 5 && query.phases["service"]?.count == 5)
            #expect(query.phases["exec"] == nil && query.phases["reply"] == nil)
            #expect((record.commands["GET"]?.phases["exec"]?.count ?? 0) > 0)
        }

        /// Sleeping is no waiting for events: what a command sleeps belongs to it, where turns of the event loop are seen.
        @Test(arguments: Capability.hooks)
        func anExecutionMaySleep(hook: String) throws {
            let server = try RedisServer()
            let record = try session(
                server, ["--hook", hook],
                """
                client = connect()
                for round in range(3):
                    client.sendall(request("DEBUG", "SLEEP", 0.05))
                    read_until(client, b"+OK\\r\\n")
                """)
            let exec = try #require(record.commands["DEBUG"]?.phases["exec"])
            #expect(exec.count == 3 && exec.sumNs > 150_000_000)
        }
    }

    /// Connections between nodes of a cluster: no clients, and a slot migration's commands, which get no replies.
    @Suite struct ClusterTests {
        /// A node, and the port of its cluster bus.
        private func node(_ build: ServerBuild) throws -> (server: RedisServer, bus: UInt16) {
            let bus = try freePort()
            return (try RedisServer(["--cluster-enabled", "yes", "--cluster-port", "\(bus)"], build: build), bus)
        }

        /// Two nodes that know each other and share the slots.
        private func cluster(_ build: ServerBuild) throws -> (RedisServer, RedisServer) {
            let (first, _) = try node(build), (second, bus) = try node(build)
            _ = try Connection(port: first.port).reply(to: "CLUSTER", "ADDSLOTSRANGE", "0", "8191")
            _ = try Connection(port: second.port).reply(to: "CLUSTER", "ADDSLOTSRANGE", "8192", "16383")
            _ = try Connection(port: first.port).reply(to: "CLUSTER", "MEET", "127.0.0.1", "\(second.port)", "\(bus)")
            for server in [first, second] {
                guard
                    eventually(
                        within: 20,
                        {
                            let information = (try? Connection(port: server.port).reply(to: "CLUSTER", "INFO")) ?? ""
                            return information.contains("cluster_state:ok") && information.contains("cluster_slots_ok:16384")
                        })
                else { throw TestFailure("the nodes do not know each other") }
            }
            return (first, second)
        }

        @Test(arguments: ServerBuild.available([.redis7, .redis8, .valkey9]), Capability.hooks)
        func theClusterBusIsNoClient(build: ServerBuild, hook: String) throws {
            let (first, second) = try cluster(build)
            defer { _ = second }
            let record = try Session.recording(pid: first.pid, ["--hook", hook]) {
                // A node pings another one each second, on links that were there before.
                sleep(3)
                _ = try Connection(port: first.port).reply(to: "PING")
            }.record
            #expect(record.commands.mapValues(\.count) == ["PING": 1])
            #expect(record.clients.values.map(\.commands) == [1])
            #expect(record.lost["unsynchronised_bytes"] == nil && record.lost["not_resp_connections"] == nil)
        }

        @Test(.enabled(if: ServerBuild.valkey9.isAvailable, "NOT TO BE HAD: valkey 9"), arguments: Capability.hooks)
        func aSlotMigrationIsCountedAndNamed(hook: String) throws {
            let (source, target) = try cluster(.valkey9)
            let client = try Connection(port: source.port)
            let stored = try (0..<307).filter { try client.reply(to: "SET", "key\($0)", "value") == "+OK\r\n" }
            #expect(stored.count > 100)
            let identity = try Connection(port: target.port).reply(to: "CLUSTER", "MYID").split(separator: "\r\n")[1]
            let (kiln, counted, session) = try target.counts(hook: hook) {
                // Not all of them: a node without slots would become the other's replica.
                _ = try client.reply(to: "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", "0", "8000", "NODE", String(identity))
                guard eventually(within: 20, { (try? client.reply(to: "CLUSTER", "GETSLOTMIGRATIONS"))?.contains("success") == true })
                else { throw TestFailure("the slots did not migrate") }
            }
            #expect(kiln == counted && (kiln["SET"] ?? 0) > 100)
            #expect(session.record.commands["SET"]?.phases["service"] == nil)
            #expect(session.record.lost["unpaired_connections"] == 1 && session.output.contains("slot migration"))
        }
    }
}
