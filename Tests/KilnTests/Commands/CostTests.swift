import Foundation
import Glibc
import TestSupport
import Testing

extension KernelTests {
    /// What `kiln cost` says, on a server with an observer whose cost is known, and with none. Bounds are wide: how narrow the
    /// intervals are on a quiet machine is measured by `make bench`.
    @Suite struct CostTests {
        /// The numbers of `kiln cost --json` that the tests look at.
        private struct Cost: Decodable {
            var unit: String
            var blocks: Int
            var confidence_percent: Double
            var is_conclusive: Bool
            var cost_percent, cost_least_percent, cost_most_percent: Double
            var added_cpu_ns, added_least_cpu_ns, added_most_cpu_ns: Double
            var bpf_ns_per_command: Double?
            var pings_without, pings_with: Int?
            var ping_p50, ping_p90, ping_p99: RoundTrip?
            var windows: [Window]

            struct RoundTrip: Decodable {
                var without_ns: Double
            }

            struct Window: Decodable {
                var watched: Bool
                var cpu_ns: UInt64
                var commands, io_calls: UInt64?
            }
        }

        /// How long the observer burns at each request.
        private static let burnedNs = 30_000

        @Test(.tags(.timing)) func aKnownObserverCostsWhatItBurns() throws {
            let server = try RedisServer(), load = try Self.load(server)
            let observer = "\(KilnRun.binary.dropLast("kiln".count))kiln-observer burn \(server.pid) \(Self.burnedNs) \(load.file)"
            let measured = try Self.cost(server, ["--observer", observer]).cost
            let sums = try String(contentsOfFile: load.file, encoding: .utf8).split { $0 == " " || $0 == "\n" }.compactMap { Double($0) }
            let truth = sums[1] / sums[0]
            #expect(truth >= Double(Self.burnedNs))
            #expect(measured.unit == "command")
            #expect(measured.windows.map(\.watched) == (0..<measured.blocks * 4).map { [1, 2].contains($0 % 4) })
            let seen = "\(measured.added_cpu_ns) ns, from \(measured.added_least_cpu_ns) to \(measured.added_most_cpu_ns), of \(truth)"
            #expect(measured.added_cpu_ns > truth * 0.7 && measured.added_cpu_ns < truth * 1.5, "\(seen)")
            #expect(measured.added_least_cpu_ns < truth * 1.1 && measured.added_most_cpu_ns > truth * 0.9, "\(seen)")
        }

        /// Of 99 %: one interval in a hundred may miss zero.
        @Test(.tags(.timing)) func noObserverCostsNothing() throws {
            let server = try RedisServer(), load = try Self.load(server)
            let (nothing, said) = try Self.cost(server, ["--observer", "none", "--precision", "0.01", "--ping"])
            let interval = "\(nothing.added_least_cpu_ns) to \(nothing.added_most_cpu_ns) ns"
            #expect(nothing.confidence_percent == 99)
            #expect(nothing.added_least_cpu_ns <= 0 && nothing.added_most_cpu_ns >= 0 && nothing.added_most_cpu_ns < Double(Self.burnedNs), "\(interval)")
            #expect(try #require(nothing.ping_p50).without_ns > 1000)
            // A side has 8 windows of 0.15 s, which is 120 PINGs at most.
            let pings = min(try #require(nothing.pings_without), try #require(nothing.pings_with))
            #expect((20...120).contains(pings))
            #expect((nothing.ping_p90 != nil) == (pings >= 100) && nothing.ping_p99 == nil)
            // Nor are four blocks enough to know it to a hundredth of a point; how many would be is said.
            #expect(!nothing.is_conclusive)
            #expect(said.contains("no conclusion: ") && (said.contains(" s are enough: --duration ") || said.contains("A day would not")), "\(said)")
            #expect(nothing.cost_least_percent < nothing.cost_percent && nothing.cost_percent < nothing.cost_most_percent)
            _ = consume load
        }

        @Test func aSessionsCostIsMeasuredWithoutAskingTheServerToo() throws {
            let server = try RedisServer(["--requirepass", "secret of a test"])
            let load = try Self.load(server, ["-a", "secret of a test"])
            let (measured, _) = try Self.cost(server, [], ["--no-syscalls", "-F", "0"])
            #expect(measured.unit == "call")
            #expect(measured.windows.allSatisfy { $0.commands == nil && ($0.io_calls ?? 0) > 100 })
            #expect(try #require(measured.bpf_ns_per_command) > 10)
            // What is said follows from the windows: CPU time per call, as geometric means of the watched and of the others.
            func mean(watched: Bool) -> Double {
                let logarithms = measured.windows.filter { $0.watched == watched }.map { Foundation.log(Double($0.cpu_ns) / Double($0.io_calls ?? 0)) }
                return exp(logarithms.reduce(0, +) / Double(logarithms.count))
            }
            let percent = (mean(watched: true) / mean(watched: false) - 1) * 100
            #expect(abs(measured.cost_percent - percent) < 0.01, "\(percent) % by the windows")
            #expect(measured.cost_least_percent < measured.cost_percent && measured.cost_percent < measured.cost_most_percent)
            _ = consume load
        }

        /// The account comes from a session of its own, which may fail where the others did not.
        @Test func whereTheKernelKeepsNoAccountTheCostIsReportedWithoutIt() throws {
            let server = try RedisServer(), load = try Self.load(server)
            let (measured, said) = try Self.cost(server, [], ["--no-syscalls", "-F", "0"], wrapper: Capability.withoutAdministration)
            #expect(measured.bpf_ns_per_command == nil)
            #expect(measured.windows.count == measured.blocks * 4)
            let lines = said.split(separator: "\n").filter { $0.contains("without BPF run-time statistics: ") }
            #expect(lines.count == 1 && lines[0].contains("CAP_SYS_ADMIN"), "\(said)")
            _ = consume load
        }

        @Test func aServerWithoutTrafficIsRefused() throws {
            let server = try RedisServer(), monitor = try Connection(port: server.port)
            try monitor.send(request("MONITOR"))
            try monitor.receive(until: "+OK\r\n")
            let kiln = try KilnRun(["-p", "\(server.pid)", "-d", "1", "--window", "0.1", "--observer", "none"], subcommand: "cost")
            #expect(kiln.wait() == 1)
            #expect(kiln.errorText.contains("too little traffic"))
            #expect(kiln.outputText.isEmpty)
            // At the edges of windows no more is asked than what is divided by.
            _ = try Connection(port: server.port).reply(to: "ECHO", "no-more")
            let asked = try monitor.receive(until: "no-more").split(separator: "\r\n").dropLast().map { $0.drop { $0 != "\"" } }
            #expect(asked.prefix(2) == ["\"PING\"", "\"INFO\" \"server\""] && asked.count == 2 + 4 * 4 * 2)
            #expect(asked.dropFirst(2).allSatisfy { $0 == "\"INFO\" \"commandstats\"" }, "\(Set(asked))")
        }

        /// Each reply in pieces, or what is no reply: a server of our own on one connection.
        @Test(.enabled(if: PythonClient.isInstalled, "python3 is not installed"), arguments: [true, false])
        func repliesInPiecesAreWaitedForAndWhatIsNoReplyIsSaid(isRedis: Bool) throws {
            let port = try freePort()
            let server = try Child(
                "python3",
                [
                    "-c",
                    """
                    import os, socket, time
                    listener = socket.create_server(("127.0.0.1", \(port)))
                    client, calls = listener.accept()[0], 0
                    while request := client.recv(1000):
                        calls += 1000
                        text = "process_id:%d" % os.getpid() if b"server" in request else "cmdstat_get:calls=%d,usec=1" % calls
                        reply = ("$%d\\r\\n%s\\r\\n" % (len(text), text)).encode() if \(isRedis ? "True" : "False") else b"HTTP/1.1 400 Bad Request\\r\\n\\r\\n"
                        for at in range(0, len(reply), 3):
                            client.sendall(reply[at:at + 3])
                            time.sleep(0.001)
                    """,
                ])
            #expect(
                eventually {
                    (try? String(contentsOfFile: "/proc/\(server.pid)/net/tcp", encoding: .utf8))?.contains(String(format: ":%04X 00000000:0000 0A", port))
                        ?? false
                })
            let kiln = try KilnRun(
                ["-p", "\(server.pid)", "-d", "1", "--window", "0.1", "--observer", "none", "--unit", "command", "--precision", "100", "--json"],
                subcommand: "cost"
            )
            let status = kiln.wait()
            guard isRedis else {
                #expect(status == 1 && kiln.errorText.contains("doesn't answer in RESP"), "\(kiln.errorText)")
                return
            }
            let cost = try JSONDecoder().decode(Cost.self, from: Data(kiln.outputText.utf8))
            #expect(cost.windows.count == 16 && cost.windows.allSatisfy { $0.commands == 1000 }, "\(kiln.errorText)")
        }

        @Test(arguments: [["--window", "0"], ["-d", "0"], ["--precision", "0"], ["--", "-o", "/tmp/x"], ["--", "--nonsense"], ["--port", "1"]])
        func optionsThatMakeNoSenseAreWrongUsage(arguments: [String]) throws {
            let kiln = try KilnRun(["-p", "1"] + arguments, subcommand: "cost")
            #expect(kiln.wait() == 64)
            #expect(kiln.errorText.hasPrefix("Error: "))
        }

        /// GETs one after the other until it goes: each is a send of its own.
        private static func load(_ server: RedisServer, _ more: [String] = []) throws -> Load {
            Load(child: try Child("redis-benchmark", ["-p", "\(server.port)", "-q", "-l", "-t", "get", "-c", "4"] + more), file: server.directory + "/burned")
        }

        private struct Load {
            let child: Child
            let file: String
        }

        /// Uneven or not: the numbers are there. With what was said.
        private static func cost(_ server: RedisServer, _ arguments: [String], _ session: [String] = [], wrapper: [String] = []) throws -> (
            cost: Cost, said: String
        ) {
            let kiln = try KilnRun(
                ["-p", "\(server.pid)", "-d", "4", "--window", "0.15", "--json"] + arguments + (session.isEmpty ? [] : ["--"] + session), subcommand: "cost",
                wrapper: wrapper
            )
            let status = kiln.wait()
            guard status == 0 || kiln.errorText.contains("are enough") || kiln.errorText.contains("A day would not") else {
                throw TestFailure("kiln cost ended with \(status): \(kiln.errorText)")
            }
            return (try JSONDecoder().decode(Cost.self, from: Data(kiln.outputText.utf8)), kiln.errorText)
        }
    }
}
