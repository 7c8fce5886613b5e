import Foundation
import Glibc
import KilnModel
import TestSupport
import Testing

extension KernelTests {
    /// Programs that ask Redis, watched from their own side.
    @Suite struct ClientTests {
        /// What kiln counts of a benchmark, and what the server counts of the same.
        private static func benchmark(
            _ server: RedisServer, _ arguments: [String], hook: String
        ) throws -> (kiln: [String: UInt64], server: [String: UInt64], session: Session) {
            let before = try server.commandStatistics()
            let client = try Child.held(["redis-benchmark", "-q"] + arguments)
            let session = try Session.recording(pid: client.pid, ["--client", "--hook", hook]) {
                kill(client.pid, SIGCONT)
                guard client.wait() == 0 else { throw TestFailure("redis-benchmark failed") }
            }
            var counted = try server.commandStatistics()
            for (name, count) in before { counted[name, default: 0] -= count }
            return (session.counts, counted.filter { $0.value != 0 }, session)
        }

        @Test(arguments: Capability.hooks, ["1", "16"])
        func everyCommandThatABenchmarkAsksIsCountedOnce(hook: String, pipeline: String) throws {
            let server = try RedisServer(), requests = load(20_000)
            let (kiln, counted, session) = try Self.benchmark(
                server, ["-p", "\(server.port)", "-t", "set,get", "-n", "\(requests)", "-c", "20", "-P", pipeline], hook: hook
            )
            #expect(kiln == counted)
            // The benchmark sends whole pipelines.
            let gets = try #require(kiln["GET"])
            #expect((requests..<requests + 16).contains(gets) && kiln["SET"] == gets)
            #expect(session.record.side == .client)
            #expect(session.record.lost.isEmpty)
            let phases = try #require(session.record.commands["GET"]).phases
            #expect(phases.keys.sorted() == ["total"])
            #expect(phases["total"]?.count == gets)
            let asked = try #require(session.record.servers?["127.0.0.1:\(server.port)"])
            #expect(asked.latency["GET"]?.count == gets)
            #expect(asked.commands == kiln.values.reduce(0, +))
            #expect(session.record.clients.isEmpty)
        }

        @Test(.enabled(if: PythonClient.isInstalled, "python3 is not installed"), arguments: Capability.hooks)
        func anEncryptedClientCountsTheSame(hook: String) throws {
            let keys = try TLSKeys()
            let server = try RedisServer(keys.arguments)
            let client = try PythonClient(
                port: keys.port, authority: keys.certificate,
                """
                tell("ready")
                wait_for("go")
                for _ in range(3):
                    client = connect()
                    for _ in range(101):
                        client.sendall(request("INCR", "n"))
                        read_until(client, b"\\r\\n")
                    client.sendall(request("SET", "big", b"x" * 1000003) + request("GET", "big"))
                    read_until(client, b"x\\r\\n")
                    client.close()
                """)
            _ = try client.told("ready")
            let session = try Session.recording(pid: client.pid, ["--client", "--hook", hook]) {
                try client.allow("go")
                try client.finish()
            }
            #expect(session.counts == ["INCR": 303, "SET": 3, "GET": 3])
            #expect(session.record.lost.isEmpty)
            #expect(session.record.tlsLibrary?.hasPrefix("libssl.so") == true)
            let asked = try #require(session.record.servers?["127.0.0.1:\(keys.port)"])
            #expect(asked.latency.mapValues(\.count) == ["INCR": 303, "SET": 3, "GET": 3])
            #expect(try server.commandStatistics() == session.counts)
        }

        @Test(.enabled(if: PythonClient.isInstalled, "python3 is not installed"), arguments: Capability.hooks)
        func aSleepOfTheServerIsTheClientsLatency(hook: String) throws {
            let server = try RedisServer()
            let client = try PythonClient(
                port: server.port,
                """
                wait_for("go")
                client, seen = connect(), []
                for _ in range(9):
                    start = time.monotonic_ns()
                    client.sendall(request("DEBUG", "SLEEP", "0.05"))
                    read_until(client, b"+OK\\r\\n")
                    seen.append(time.monotonic_ns() - start)
                # Pipelines, cut anywhere, and a value of many sends.
                for _ in range(31):
                    in_pieces(client, request("SET", "a", "b") * 3 + request("GET", "a") * 7 + request("ECHO", "end"), 90)
                    read_until(client, b"end\\r\\n")
                client.sendall(request("SET", "big", b"x" * 3000003))
                read_until(client, b"+OK\\r\\n")
                # One publishes, another listens.
                other = connect()
                other.sendall(request("SUBSCRIBE", "channel"))
                read_until(other, b":1\\r\\n")
                for _ in range(5):
                    client.sendall(request("PUBLISH", "channel", "message"))
                    read_until(client, b":1\\r\\n")
                    read_until(other, b"message\\r\\n")
                tell("seen", sorted(seen)[4])
                """)
            var seen = 0.0
            let session = try Session.recording(pid: client.pid, ["--client", "--hook", hook]) {
                try client.allow("go")
                seen = Double(try client.told("seen")) ?? 0
                try client.finish()
            }
            #expect(session.counts == ["DEBUG": 9, "SET": 94, "GET": 217, "ECHO": 31, "SUBSCRIBE": 1, "PUBLISH": 5])
            let total = session.record.commands.mapValues { $0.phases["total"] }
            let p50 = Double(try #require(total["DEBUG"]??.p50Ns))
            // Within 3.2 % of 50 ms and the round trip, which is in what the client itself saw.
            let least = 50e6 * (1 - 0.032), most = max(50e6, seen) * (1 + 0.032)
            #expect(p50 > least && p50 < most, "p50 \(p50) ns, client \(seen)")
            #expect(total["SET"]??.count == 94 && total["GET"]??.count == 217 && total["PUBLISH"]??.count == 5)
            // What follows SUBSCRIBE can't be told from replies.
            #expect(session.record.lost == ["unpaired_connections": 1])
        }

        /// What is pushed stands before, between and behind replies.
        @Test(.enabled(if: PythonClient.isInstalled, "python3 is not installed"), arguments: Capability.hooks)
        func messagesToASubscriberAreNoReplies(hook: String) throws {
            let server = try RedisServer()
            let client = try PythonClient(
                port: server.port,
                """
                wait_for("go")
                # RESP2: confirmations and messages are arrays, as replies are.
                old, other = connect(), connect()
                old.sendall(request("SUBSCRIBE", "a", "b") + request("PSUBSCRIBE", "c*"))
                read_until(old, b":3\\r\\n")
                for n in range(7):
                    other.sendall(request("PUBLISH", "abcc"[n % 4], "message") * 3)
                    read_until(other, b":1\\r\\n" * 3)
                    read_until(old, b"message\\r\\n")
                    old.sendall(request("PING"))
                    read_until(old, b"pong\\r\\n$0\\r\\n\\r\\n")
                old.sendall(request("UNSUBSCRIBE") + request("PUNSUBSCRIBE"))
                read_until(old, b":0\\r\\n")
                old.sendall(request("GET", "x"))
                read_until(old, b"$-1\\r\\n")
                # RESP3: it publishes to itself, while it waits, and is published to while it sleeps.
                new = connect()
                new.sendall(request("HELLO", "3") + request("SUBSCRIBE", "a") + request("ECHO", "ready"))
                read_until(new, b"ready\\r\\n")
                for n in range(31):
                    new.sendall(request("ECHO", "first") + request("PUBLISH", "a", "message") + request("LPOP", "no") + request("ECHO", "last%d" % n))
                    read_until(new, b"last%d\\r\\n" % n)
                for n in range(9):
                    new.sendall(request("DEBUG", "SLEEP", "0.05"))
                    other.sendall(request("PUBLISH", "a", "message") * 5)
                    read_until(other, b":1\\r\\n" * 5)
                    new.sendall(request("ECHO", "slept%d" % n))
                    read_until(new, b"slept%d\\r\\n" % n)
                """)
            let session = try Session.recording(pid: client.pid, ["--client", "--hook", hook]) {
                try client.allow("go")
                try client.finish()
            }
            #expect(
                session.counts == [
                    "SUBSCRIBE": 2, "PSUBSCRIBE": 1, "UNSUBSCRIBE": 1, "PUNSUBSCRIBE": 1, "PING": 7, "GET": 1, "HELLO": 1, "ECHO": 72, "LPOP": 31,
                    "DEBUG": 9, "PUBLISH": 21 + 31 + 45,
                ])
            #expect(try server.commandStatistics() == session.counts)
            // On the one in RESP2 nothing has a latency; on the other one each command has its own.
            #expect(session.record.lost == ["unpaired_connections": 1])
            let total = session.record.commands.mapValues { $0.phases["total"]?.count ?? 0 }
            #expect(total["ECHO"] == 72 && total["LPOP"] == 31 && total["PUBLISH"] == 97 && total["DEBUG"] == 9 && total["PING"] == 0)
            let sleep = try #require(session.record.commands["DEBUG"]?.phases["total"])
            #expect(sleep.sumNs >= 9 * 50_000_000)
            #expect(session.record.commands.values.allSatisfy { $0.errors == 0 })
        }

        @Test(.enabled(if: PythonClient.isInstalled, "python3 is not installed"), arguments: Capability.hooks)
        func aConnectionOpenedBeforeIsFollowedFromItsSecondRequest(hook: String) throws {
            let server = try RedisServer()
            let client = try PythonClient(
                port: server.port,
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
            let session = try Session.recording(pid: client.pid, ["--client", "--hook", hook]) {
                try client.allow("go")
                try client.finish()
            }
            #expect(session.counts == ["INCR": 100])
            #expect(session.record.commands["INCR"]?.phases["total"]?.count == 100)
            #expect(session.record.lost == ["unsynchronised_bytes": UInt64(request("INCR", "n").count)])
        }

        /// What is sent while kiln attaches one program after the other decides nothing for good.
        @Test(.enabled(if: PythonClient.isInstalled, "python3 is not installed"), arguments: Capability.hooks, [1, 16])
        func aClientThatIsBusyWhenKilnAttachesIsFollowed(hook: String, pipeline: Int) throws {
            let keys = try TLSKeys()
            let server = try RedisServer(keys.arguments)
            for encrypted in [true, false] {
                let client = try PythonClient(
                    port: encrypted ? keys.port : server.port, authority: encrypted ? keys.certificate : nil, busyConnections(2, pipeline: pipeline)
                )
                _ = try client.told("ready")
                let session = try Session.recording(pid: client.pid, ["--client", "--hook", hook]) {
                    try client.allow("go")
                    try client.finish()
                }
                #expect(session.counts["GET"] == UInt64(2 * 101 * pipeline))
                #expect(session.record.commands["GET"]?.phases["total"]?.count == UInt64(2 * 101 * pipeline))
                #expect(session.record.lost.keys.allSatisfy { $0 == "unsynchronised_bytes" }, "\(session.record.lost)")
            }
        }

        /// As node-redis sends what is asked at once, and up to what the kernel takes in one call.
        @Test(.enabled(if: PythonClient.isInstalled, "python3 is not installed"), arguments: Capability.hooks)
        func requestsAndRepliesInAnyNumberOfPiecesAreFollowed(hook: String) throws {
            let server = try RedisServer()
            let client = try PythonClient(
                port: server.port,
                """
                wait_for("go")
                client = connect()
                def replies(count):
                    # Into pieces of a few bytes, as they come.
                    while count:
                        pieces = [bytearray(n % 7) for n in range(1000)]
                        received = client.recvmsg_into(pieces)[0]
                        count -= b"".join(pieces)[:received].count(b"\\n")
                for pieces in (2, 32, 33, 64, 65, 301, 1024):
                    client.sendmsg([request("SET", "k", n) for n in range(pieces)])
                    replies(pieces)
                # Cut anywhere, nothing in some of them, and different commands.
                for longest in (3, 7, 40):
                    stream = (request("INCR", "n") + request("ECHO", "x" * 9)) * 40
                    pieces = [b""]
                    while stream and len(pieces) < 1023:
                        length = random.randint(0, longest)
                        pieces.append(stream[:length])
                        stream = stream[length:]
                    client.sendmsg(pieces + [stream])
                    replies(40 * 3)
                # More than a send buffer holds.
                client.sendmsg([b"*3\\r\\n", b"$3\\r\\nSET\\r\\n", b"$3\\r\\nbig\\r\\n", b"$1000000\\r\\n"] + [b"x" * 2500] * 400 + [b"\\r\\n"])
                replies(1)
                """)
            let session = try Session.recording(pid: client.pid, ["--client", "--hook", hook]) {
                try client.allow("go")
                try client.finish()
            }
            let expected: [String: UInt64] = ["SET": 2 + 32 + 33 + 64 + 65 + 301 + 1024 + 1, "INCR": 120, "ECHO": 120]
            #expect(session.counts == expected)
            #expect(try server.commandStatistics() == expected)
            #expect(session.record.commands.compactMapValues { $0.phases["total"]?.count } == expected)
            #expect(session.record.commands["SET"]?.requestBytesMax == 4 + 9 + 9 + 10 + 1_000_000 + 2)
            #expect(session.record.lost.isEmpty)
        }

        @Test(.enabled(if: PythonClient.isInstalled, "python3 is not installed"), arguments: Capability.hooks)
        func aClientThatSendsByMessagesInOneCallIsTakenUpAgain(hook: String) throws {
            let server = try RedisServer()
            let client = try PythonClient(
                port: server.port,
                """
                import ctypes
                wait_for("go")
                client = connect()
                def ask(send):
                    send(request("INCR", "n"))
                    read_until(client, b"\\r\\n")
                class Vector(ctypes.Structure):
                    _fields_ = [("base", ctypes.c_char_p), ("length", ctypes.c_size_t)]
                class Message(ctypes.Structure):
                    _fields_ = [("name", ctypes.c_void_p), ("name_length", ctypes.c_uint), ("vectors", ctypes.POINTER(Vector)),
                                ("count", ctypes.c_size_t), ("control", ctypes.c_void_p), ("control_length", ctypes.c_size_t), ("flags", ctypes.c_int),
                                ("sent", ctypes.c_uint)]
                def messages(bytes):
                    vector = Vector(bytes, len(bytes))
                    message = Message(None, 0, ctypes.pointer(vector), 1, None, 0, 0, 0)
                    if ctypes.CDLL(None).sendmmsg(client.fileno(), ctypes.byref(message), 1, 0) != 1: sys.exit("sendmmsg failed")
                for _ in range(3): ask(client.sendall)
                ask(messages)
                for _ in range(7): ask(client.sendall)
                """)
            let session = try Session.recording(pid: client.pid, ["--client", "--hook", hook]) {
                try client.allow("go")
                try client.finish()
            }
            // Where its bytes lie only hook fentry sees; the others count again after an exchange that passed alone.
            #expect(session.counts == ["INCR": hook == "fentry" ? 11 : 9])
            #expect(session.record.commands["INCR"]?.phases["total"]?.count == session.counts["INCR"])
            let bytes = UInt64(request("INCR", "n").count)
            #expect(session.record.lost == (hook == "fentry" ? [:] : ["unsupported_sends": 1, "unsynchronised_bytes": bytes]))
        }

        @Test func aServerAsksNobody() throws {
            let server = try RedisServer()
            let session = try Session.recording(pid: server.pid, ["--client"], status: 1) {
                try server.benchmark(["-t", "get", "-n", "1009", "-c", "3"])
            }
            #expect(session.counts.isEmpty)
        }

        @Test func aClientWithoutAProcessIsWrongUsage() throws {
            let kiln = try KilnRun(["--client"])
            #expect(kiln.wait() == 64)
            #expect(kiln.errorText.contains("--pid, or --comm"))
            let nobody = try KilnRun(["--client", "--comm", "no-such-program"])
            #expect(nobody.wait() == 1)
            #expect(nobody.errorText.contains("no process is named no-such-program"))
        }
    }
}
