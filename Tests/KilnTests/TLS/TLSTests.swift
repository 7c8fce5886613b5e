import Foundation
import KilnKernel
import KilnModel
import KilnSymbols
import TestSupport
import Testing

extension KernelTests {
    /// Encrypted connections, seen at OpenSSL's functions.
    @Suite(.enabled(if: PythonClient.isInstalled, "python3 with its ssl module is not installed"))
    struct TLSTests {
        /// A server with a plain and an encrypted port.
        private static func server(_ arguments: [String] = [], build: ServerBuild = .redis7) throws -> (RedisServer, TLSKeys) {
            let keys = try TLSKeys(in: build.root)
            let server = try RedisServer(keys.arguments + arguments, build: build)
            return (server, keys)
        }

        private static func client(_ keys: TLSKeys, _ script: String) throws -> PythonClient {
            try PythonClient(port: keys.port, authority: keys.certificate, script)
        }

        private static let increments = """
            client = connect()
            for _ in range(101):
                client.sendall(request("INCR", "n"))
                read_until(client, b"\\r\\n")
            """

        @Test(arguments: Capability.hooks, ["1", "16"])
        func everyEncryptedCommandIsCountedOnce(hook: String, pipeline: String) throws {
            let (server, keys) = try Self.server(), requests = load(20_011)
            let (kiln, counted, session) = try server.counts(hook: hook) {
                // Plain connections at the same time.
                let plain = try Child("redis-benchmark", ["-p", "\(server.port)", "-q", "-t", "incr", "-n", "\(requests)", "-c", "5", "-P", pipeline])
                try server.benchmark(keys.benchmark + ["-t", "set,get", "-n", "\(requests)", "-c", "20", "-P", pipeline])
                plain.wait()
            }
            #expect(kiln == counted)
            // The benchmark sends whole pipelines.
            for command in ["GET", "SET", "INCR"] { #expect((requests..<requests + 16).contains(kiln[command] ?? 0)) }
            #expect(session.record.lost.isEmpty)
            #expect(session.record.tlsLibrary?.hasPrefix("libssl.so") == true)
            for command in ["GET", "SET", "INCR"] {
                #expect(session.record.commands[command]?.phases["service"]?.count == kiln[command])
            }
            let all = session.counts.values.reduce(0, +)
            #expect(session.record.clients["127.0.0.1"]?.commands == all)
        }

        @Test(arguments: Capability.hooks)
        func encryptedStreamsCutAnywhereAreCountedOnce(hook: String) throws {
            let (server, keys) = try Self.server()
            let (kiln, counted, session) = try server.counts(hook: hook) {
                let client = try Self.client(
                    keys,
                    """
                    # Both versions of the protocol; with and without a session of before.
                    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                        context.maximum_version = version
                        session = None
                        for round in range(4):
                            client = connect(session)
                            if session and not client.session_reused: sys.exit("the session was not used again")
                            stream = b"".join(
                                random.choice([request("SET", "key", "v" * random.randint(0, 200)), request("get", "key"), b"PING\\r\\n",
                                               request("LPUSH", "list", *range(random.randint(1, 30))), request("SELECT", "0")])
                                for _ in range(200))
                            in_pieces(client, stream, (3, 60, 3000, 70000)[round])
                            settle(client)
                            # A record holds 16 KiB.
                            client.sendall(request("SET", "big", b"x" * 1000003) + request("GET", "big"))
                            read_until(client, b"x\\r\\n")
                            settle(client)
                            session = client.session
                            client.close()
                    """)
                try client.finish()
            }
            #expect(kiln == counted)
            #expect(kiln["ECHO"] == 16)
            let all = session.counts.values.reduce(0, +)
            #expect(all == 8 * 202 + 16)
            #expect(session.record.lost.isEmpty)
            let replies = session.record.commands.values.compactMap { $0.phases["service"]?.count }.reduce(0, +)
            #expect(replies == all)
            #expect(session.record.commands["SET"]?.requestBytesMax == 4 + 9 + 9 + 10 + 1_000_003 + 2)
        }

        @Test(.tags(.timing), arguments: Capability.hooks)
        func anEncryptedSleepShowsInItsOwnRow(hook: String) throws {
            let (server, keys) = try Self.server()
            var seen = 0.0
            let session = try Session.recording(pid: server.pid, ["--hook", hook]) {
                let client = try Self.client(
                    keys,
                    """
                    client, seen = connect(), []
                    for _ in range(9):
                        start = time.monotonic_ns()
                        client.sendall(request("DEBUG", "SLEEP", "0.05"))
                        read_until(client, b"+OK\\r\\n")
                        seen.append(time.monotonic_ns() - start)
                    for _ in range(101):
                        client.sendall(request("GET", "x"))
                        read_until(client, b"$-1\\r\\n")
                    tell("seen", sorted(seen)[4])
                    """)
                seen = Double(try client.told("seen")) ?? 0
                try client.finish()
            }
            let sleep = try #require(session.record.commands["DEBUG"]).phases, get = try #require(session.record.commands["GET"]).phases
            let p50 = Double(try #require(sleep["service"]?.p50Ns))
            // Within 3.2 % of 50 ms; where the machine let the server sleep longer, of what the client saw.
            let least = 50e6 * (1 - 0.032), most = max(50e6, seen) * (1 + 0.032)
            #expect(p50 > least && p50 < most, "p50 \(p50) ns, client \(seen)")
            // The sleep is execution, not encryption; the GETs are neither.
            #expect(try #require(sleep["exec"]).sumNs >= 9 * 50_000_000)
            let service = try #require(get["service"]), exec = try #require(get["exec"]), reply = try #require(get["reply"])
            #expect(service.count == 101 && exec.count == 101)
            #expect(exec.sumNs + reply.sumNs == service.sumNs)
            #expect(try #require(service.p99Ns) < 25_000_000)
            if hook != "syscall" {
                // The handshake has been received before: each arrival is known.
                #expect(get["queue"]?.count == 101 && get["total"]?.count == 101)
            } else {
                #expect(get["queue"] == nil)
            }
        }

        @Test(arguments: Capability.hooks)
        func anEncryptedConnectionMetInItsMiddleIsCountedFromItsSecondRequest(hook: String) throws {
            let (server, keys) = try Self.server()
            let client = try Self.client(
                keys,
                """
                client = connect()
                settle(client)
                tell("ready")
                wait_for("go")
                for _ in range(101):
                    client.sendall(request("INCR", "n"))
                    read_until(client, b"\\r\\n")
                """)
            _ = try client.told("ready")
            let session = try Session.recording(pid: server.pid, ["--hook", hook]) {
                try client.allow("go")
                try client.finish()
            }
            #expect(session.counts == ["INCR": 100])
            #expect(session.record.lost == ["unsynchronised_bytes": UInt64(request("INCR", "n").count)])
        }

        /// What is received while kiln attaches one program after the other decides nothing for good.
        @Test(arguments: Capability.hooks, [1, 16])
        func connectionsThatAreBusyWhenKilnAttachesAreCounted(hook: String, pipeline: Int) throws {
            let (server, keys) = try Self.server()
            for connections in [1, 3] {
                let client = try Self.client(keys, busyConnections(connections, pipeline: pipeline))
                _ = try client.told("ready")
                let (kiln, counted, session) = try server.counts(hook: hook) {
                    try client.allow("go")
                    try client.finish()
                }
                let gets = UInt64(connections * 101 * pipeline)
                #expect(kiln["GET"] == gets && counted["GET"] == gets)
                #expect(session.record.commands["GET"]?.phases["service"]?.count == gets)
                // Of the requests before, those from each connection's first provable boundary on.
                #expect((1...(counted["INCR"] ?? 0)).contains(kiln["INCR"] ?? 0))
                #expect(session.record.lost.keys.allSatisfy { $0 == "unsynchronised_bytes" }, "\(session.record.lost)")
            }
        }

        @Test(arguments: Capability.hooks)
        func connectionsThatAreBusyWhenATraceBeginsAreTold(hook: String) throws {
            let (server, keys) = try Self.server()
            let client = try Self.client(keys, busyConnections(2, pipeline: 4))
            _ = try client.told("ready")
            let trace = try TraceRun.recording(pid: server.pid, hook: hook, ["--json", "--command", "GET"]) { _ in
                try client.allow("go")
                try client.finish()
            }
            let rows = try trace.rows()
            #expect(rows.count == 2 * 101 * 4)
            #expect(rows.allSatisfy { $0.command == "GET" && $0.words == ["GET", "none"] && $0.replyKind == "null" && $0.tls })
        }

        /// OpenSSL 3.5 and 3.6, in a tree of files that is not kiln's own.
        @Test(arguments: ServerBuild.available([.redis8, .valkey8, .valkey9]))
        func serversOfOtherSuitesAreFollowedByTheirOwnLibrary(build: ServerBuild) throws {
            let (server, keys) = try Self.server(build: build)
            guard case .openSSL(let name, let path) = EncryptionLibrary(ofProcess: server.pid) else { throw TestFailure("the server has no OpenSSL") }
            func identity(_ path: String) throws -> [UInt64] {
                var status = stat()
                guard stat(path, &status) == 0 else { throw TestFailure("no \(path)") }
                return [UInt64(status.st_dev), UInt64(status.st_ino)]
            }
            #expect(try identity(path) == identity((build.root ?? "") + "/usr/lib/x86_64-linux-gnu/" + name))
            let requests = load(5_003)
            for pipeline in ["1", "16"] {
                let (kiln, counted, session) = try server.counts {
                    try server.benchmark(keys.benchmark + ["-t", "set,get", "-n", "\(requests)", "-c", "20", "-P", pipeline])
                }
                #expect(kiln == counted)
                for command in ["GET", "SET"] {
                    #expect((requests..<requests + 16).contains(kiln[command] ?? 0))
                    #expect(session.record.commands[command]?.phases["service"]?.count == kiln[command])
                }
                #expect(session.record.lost.isEmpty)
                #expect(session.record.tlsLibrary == name)
            }
        }

        /// A probe in single step costs several times as much.
        @Test(arguments: ServerBuild.available([.redis7, .redis8, .valkey9]))
        func itIsSaidWhereProbesAreDear(build: ServerBuild) throws {
            let (server, _) = try Self.server(build: build)
            let kiln = try KilnRun(["-p", "\(server.pid)", "-F", "0", "--no-syscalls", "-d", "0.1", "-o", server.directory + "/session"])
            #expect(kiln.wait() == 0, "\(kiln.errorText)")
            guard case .openSSL(_, let path) = EncryptionLibrary(ofProcess: server.pid) else { throw TestFailure("the server has no OpenSSL") }
            let functions = try fileOffsets(ofFunctions: TLSLibrary.functionNames, inFile: path)
            let isDear = openSSLInternals(inFile: path, calledBy: functions).count < 2
            #expect(kiln.errorText.contains("pid \(server.pid) allows only slow probes") == isDear, "\(kiln.errorText)")
        }

        @Test func verboseTellsWhatIsLoadedWhereAndHowOftenItRan() throws {
            let (server, keys) = try Self.server()
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(["-p", "\(server.pid)", "--verbose", "--bpf-statistics", "-o", directory + "/s", "-F", "0"])
            try #require(kiln.attached(), "\(kiln.errorText)")
            try Self.client(keys, Self.increments).finish()
            #expect(kiln.stop() == 0)
            let lines = kiln.errorText.split(separator: "\n")
            func line(_ program: String, _ index: Int) -> Substring { lines.filter { $0.hasPrefix(program + " ") }.dropFirst(index).first ?? "" }
            // Or what both hand over to, where that is known.
            #expect(line("tls_write_ends", 0).contains("return of ssl_write_internal") || line("tls_write_ends", 0).contains("return of SSL_write"))
            #expect(line("count_syscall", 0).contains("tp_btf/sys_exit"))
            let objects = lines.drop { !$0.hasPrefix("OBJECT ") }.dropFirst().prefix { !$0.hasPrefix("refused: ") }.map { $0.split(separator: " ") }
            #expect(objects.map { $0[0] } == ["redis", "syscalls"])
            #expect(objects.last?[1] == "1" && objects.allSatisfy { $0.last?.hasSuffix("s") == true })
            #expect(lines.contains("refused: nothing"))
            // Each reply is one SSL_write of this process, and of no other.
            #expect(line("tls_write_ends", 1).split(separator: " ").dropFirst().first == "101")
        }

        @Test(arguments: Capability.hooks)
        func whereTheInsideOfOpenSSLIsNotKnownItsFunctionsAreFollowed(hook: String) throws {
            let (server, keys) = try Self.server()
            guard case .openSSL(let name, let path) = EncryptionLibrary(ofProcess: server.pid) else { throw TestFailure("the server has no OpenSSL") }
            let functions = try fileOffsets(ofFunctions: TLSLibrary.functionNames, inFile: path)
            // OpenSSL has SSL_write_ex2 from 3.3 on.
            #expect(Set(functions.keys).union(["SSL_write_ex2"]) == TLSLibrary.functionNames)
            // Debian 12 has OpenSSL 3.0. Without these a command costs six times as much.
            if (try? String(contentsOfFile: "/etc/debian_version", encoding: .utf8))?.hasPrefix("12") == true {
                #expect(openSSLInternals(inFile: path, calledBy: functions).keys.sorted() == ["ssl_read_internal", "ssl_write_internal"])
            }
            var probe = try CommandProbe(
                watching: try #require(WatchedProcesses(pids: [server.pid])), hook: try #require(CommandHook(rawValue: hook)),
                tls: [TLSLibrary(process: 0, pid: server.pid, path: path, name: name, functions: functions)]
            )
            try probe.attach { [] }
            #expect(probe.tlsLibraries == [0: name])
            try Self.client(keys, Self.increments).finish()
            var snapshot = Snapshot(time: MonotonicClock.now())
            try probe.read(into: &snapshot)
            #expect(snapshot.commands.first { $0.key.name.description == "INCR" }?.value.calls == 101)
            #expect(snapshot.losses.isEmpty)
        }

        /// The session's own probes replace return addresses in half of the stacks.
        @Test func anEncryptedServersStacksAreWhole() throws {
            let (server, keys) = try Self.server()
            let session = try Session.recording(pid: server.pid, ["-F", "499"]) {
                try server.benchmark(keys.benchmark + ["-t", "set,get", "-n", "\(load(50_003))", "-c", "20"])
            }
            let samples = session.record.samples.onCPU
            #expect(samples.recorded > load(250))
            // 99.2 % in the long run; of few samples some more may fall between a replacement and its entry in the kernel's list.
            #expect(samples.complete + (samples.ends["probed_return"] ?? 0) >= samples.recorded * 99 / 100, "\(samples.ends)")
            #expect(session.wholeShare >= 0.96, "\(samples.ends)")
            // In OpenSSL, called by the server.
            let encrypting = session.stacks.lines.filter { $0.frames.contains("main") && $0.frames.contains("SSL_write") }
            #expect(encrypting.reduce(0) { $0 + $1.samples } > samples.recorded / 20)
            #expect(encrypting.allSatisfy { $0.frames.starts(with: ["redis-server", "_start"]) })
        }

        @Test func anEncryptedReplicasLinkAddsNoCommand() throws {
            let (master, keys) = try Self.server()
            let (replica, own) = try Self.server(
                ["--tls-replication", "yes", "--replicaof", "127.0.0.1", "\(keys.port)"] + [
                    // The replica trusts the master's certificate.
                    "--tls-ca-cert-file", keys.certificate,
                ])
            let client = try Connection(port: replica.port)
            try #require(eventually { ((try? client.reply(to: "INFO", "replication")) ?? "").contains("master_link_status:up") })
            let session = try Session.recording(pid: replica.pid) {
                try master.benchmark(keys.benchmark + ["-t", "set", "-n", "503", "-c", "3"])
                let count = try Connection(port: replica.port)
                try #require(eventually { (try? count.reply(to: "DBSIZE")) == ":1\r\n" })
                // redis-cli doesn't know the replica's own certificate, and needn't.
                let cli = try Child("redis-cli", ["-p", "\(own.port)", "--tls", "--insecure", "GET", "x"])
                #expect(cli.wait() == 0)
            }
            #expect(session.counts["SET"] == nil && session.counts["GET"] == 1)
            #expect(session.record.lost.isEmpty)
            // Nor where it is busy when kiln attaches.
            let busy = try Self.client(keys, busyConnections(2, pipeline: 1))
            _ = try busy.told("ready")
            let again = try Session.recording(pid: replica.pid) {
                try busy.allow("go")
                try busy.finish()
            }
            #expect(again.counts["INCR"] == nil && again.record.lost.isEmpty, "\(again.counts), \(again.record.lost)")
        }
    }
}
