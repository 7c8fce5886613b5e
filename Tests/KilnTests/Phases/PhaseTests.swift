import Foundation
import Glibc
import KilnModel
import TestSupport
import Testing

extension KernelTests {
    /// Where commands' time goes, and who made whom wait.
    @Suite struct PhaseTests {
        /// A script that computes for some milliseconds.
        private static let busy = "local t = 0 for i = 1, 1500000 do t = t + i end return 1"

        @Test(.tags(.timing)) func aSlowScriptKeepsOthersWaitingAndIsNamed() throws {
            let server = try RedisServer()
            let session = try Session.recording(pid: server.pid) {
                let load = try Child("redis-benchmark", ["-p", "\(server.port)", "-q", "-t", "get", "-n", "\(load(150_001))", "-c", "50"])
                let client = try Connection(port: server.port)
                for _ in 0..<11 { _ = try client.reply(to: "EVAL", Self.busy, "0") }
                load.wait()
            }
            let get = try #require(session.record.commands["GET"]).phases, eval = try #require(session.record.commands["EVAL"]).phases
            let script = try #require(eval["exec"])
            #expect(script.count == 11)
            let least = try #require(script.slots.first)[0]
            #expect(least > 1_000_000)
            // The GETs waited in their sockets; their own execution is what it is without the script.
            #expect(try #require(get["queue"]).maxNs > least / 2)
            #expect(try #require(get["exec"]?.p99Ns) < 1_000_000)
            let blamed = try #require(session.record.waits.first { $0.blocker == "EVAL" && $0.blocked == "GET" })
            #expect(blamed.times >= 50)
            #expect(blamed.waitNs > blamed.times * least / 4)
            #expect(session.output.contains("BLOCKED"))
        }

        /// Each command of a receive waited as long as all its others, whichever of them came last.
        @Test(.tags(.timing)) func everyCommandOfAPipelineThatWaitedIsAVictim() throws {
            let server = try RedisServer()
            let rounds = 9
            let session = try Session.recording(pid: server.pid) {
                let busy = try Connection(port: server.port), waiter = try Connection(port: server.port)
                try waiter.settle()  // the first receive has no queue
                for _ in 0..<rounds {
                    try busy.send(request("EVAL", Self.busy, "0"))
                    usleep(2000)
                    try waiter.send(request("INCR", "a") + request("INCR", "a") + request("GET", "a") + request("PING"))
                    try waiter.receive(until: "PONG\r\n")
                    try busy.receive(until: ":1\r\n")
                }
            }
            let waits = session.record.waits.filter { $0.blocker == "EVAL" }.sorted { $0.blocked < $1.blocked }
            #expect(waits.map(\.blocked) == ["GET", "INCR", "PING"])
            #expect(waits.map(\.times) == [rounds, 2 * rounds, rounds].map(UInt64.init))
            for wait in waits { #expect(wait.waitNs <= session.record.commands[wait.blocked]?.phases["queue"]?.sumNs ?? 0) }
            #expect(session.output.contains("% of the time in queue, which is "))
        }

        /// A pipeline of equal commands has their name.
        @Test(.tags(.timing)) func aPipelineOfEqualCommandsIsNamedAsACulprit() throws {
            let server = try RedisServer()
            let session = try Session.recording(pid: server.pid) {
                let busy = try Connection(port: server.port), waiter = try Connection(port: server.port)
                try waiter.settle()
                for _ in 0..<9 {
                    try busy.send(request("EVAL", Self.busy, "0") + request("EVAL", Self.busy, "0"))
                    usleep(2000)
                    try waiter.send(request("GET", "a"))
                    try waiter.receive(until: "\r\n")
                    try busy.receive(until: ":1\r\n:1\r\n")
                }
            }
            #expect(session.record.waits.first { $0.blocker == "EVAL" && $0.blocked == "GET" }?.times == 9)
            #expect(!session.record.waits.contains { $0.blocker == "(pipeline)" })
        }

        @Test(arguments: Capability.hooks)
        func partsAddUpToTheWhole(hook: String) throws {
            let server = try RedisServer()
            let session = try Session.recording(pid: server.pid, ["--hook", hook]) {
                let client = try Connection(port: server.port)
                for _ in 0..<503 { _ = try client.reply(to: "INCR", "n") }
            }
            let phases = try #require(session.record.commands["INCR"]).phases
            let service = try #require(phases["service"]), exec = try #require(phases["exec"]), reply = try #require(phases["reply"])
            #expect(service.count == 503)
            #expect(exec.count == 503 && reply.count == 503)
            #expect(exec.sumNs + reply.sumNs == service.sumNs)
            if hook != "syscall" {
                let queue = try #require(phases["queue"]), total = try #require(phases["total"])
                // Before the first receive nobody looked at the connection.
                #expect(queue.count == 502 && total.count == 502)
                #expect(total.sumNs > queue.sumNs && total.sumNs <= queue.sumNs + service.sumNs)
            } else {
                #expect(phases["queue"] == nil && phases["total"] == nil)
                #expect(session.record.phasesUnknown["queue"] != nil)
                #expect(session.record.phasesUnknown["waits"] == session.record.phasesUnknown["queue"])
            }
        }

        /// Commands of milliseconds, and of some 100 and 200 us.
        @Test(.tags(.timing), arguments: Capability.hooks, [1_500_000, 12_000, 24_000])
        func execAgreesWithTheServersOwnClock(hook: String, turns: Int) throws {
            let server = try RedisServer(), count = turns > 100_000 ? 31 : 1_009
            let script = "local t = 0 for i = 1, \(turns) do t = t + i end return 1"
            let session = try Session.recording(pid: server.pid, ["--hook", hook, "-F", "0"]) {
                let client = try Connection(port: server.port)
                for _ in 0..<count { _ = try client.reply(to: "EVAL", script, "0") }
            }
            let own =
                try #require(
                    try Connection(port: server.port).reply(to: "INFO", "commandstats").split(separator: "\r\n")
                        .first { $0.hasPrefix("cmdstat_eval:") }?.split(separator: ",").first { $0.hasPrefix("usec=") }
                        .flatMap { Double($0.dropFirst("usec=".count)) }) / Double(count)
            let exec = try #require(session.record.commands["EVAL"]?.phases["exec"])
            #expect(exec.count == count && own > 50)
            let mean = Double(exec.sumNs) / 1000 / Double(count)
            #expect(abs(mean - own) < own * 0.1, "\(mean) us, the server says \(own)")
        }

        @Test(arguments: Capability.hooks.filter { $0 != "syscall" }, [false, true])
        func aWaitBeginsWithTheFirstByteThatWasNotYetRead(hook: String, unix: Bool) throws {
            let server = try RedisServer()
            let clock = ContinuousClock()
            var gap = Duration.zero
            let session = try Session.recording(pid: server.pid, ["--hook", hook]) {
                let sleeper = try Connection(port: server.port)
                let client = unix ? try Connection(unixSocket: server.unixSocket) : try Connection(port: server.port)
                _ = try client.reply(to: "PING")
                try sleeper.send(request("DEBUG", "SLEEP", "1"))
                usleep(100_000)
                // One read brings both: the second one's bytes came late, and waited as long.
                gap = try clock.measure {
                    try client.send(request("GET", "early"))
                    usleep(600_000)
                }
                try client.send(request("GET", "late"))
                try client.receive(until: "$-1\r\n$-1\r\n")
                _ = try client.reply(to: "PING")
            }
            let queue = try #require(session.record.commands["GET"]?.phases["queue"]), least = try #require(queue.slots.first)
            #expect(queue.count == 2)
            #expect(least[1] >= UInt64(gap / .nanoseconds(1)))
            // Of the first receive nothing is known; what came after all was read is known again.
            #expect(session.record.commands["PING"]?.phases["queue"]?.count == 1)
            #expect(session.record.lost.isEmpty)
        }

        @Test(.tags(.timing), arguments: Capability.hooks)
        func blockingCommandsHaveAWaitAndNoLatency(hook: String) throws {
            let server = try RedisServer()
            let session = try Session.recording(pid: server.pid, ["--hook", hook]) {
                let waiter = try Connection(port: server.port), other = try Connection(port: server.port)
                for _ in 0..<3 {
                    try waiter.send(request("BLPOP", "list", "0"))
                    usleep(60_000)
                    _ = try other.reply(to: "RPUSH", "list", "x")
                    try waiter.receive(until: "x\r\n")
                }
                try waiter.send(request("XREAD", "BLOCK", "50", "STREAMS", "s", "$"))
                try waiter.receive(until: "*-1\r\n")
                try waiter.send(request("XREAD", "COUNT", "1", "STREAMS", "s", "0"))
                try waiter.receive(until: "*-1\r\n")
            }
            let list = try #require(session.record.commands["BLPOP"]), stream = try #require(session.record.commands["XREAD"])
            // Of the first receive nothing is known, and of none where the hook does not see when bytes come.
            let seesQueue = hook != "syscall"
            #expect(list.phases.keys.sorted() == (seesQueue ? ["queue", "wait"] : ["wait"]))
            #expect(list.phases["queue"]?.count == (seesQueue ? 2 : nil))
            #expect(list.phases["wait"]?.count == 3)
            #expect((list.phases["wait"]?.maxNs ?? 0) >= 50_000_000)
            // One XREAD blocks, the other doesn't.
            #expect(stream.count == 2)
            #expect(stream.phases["wait"]?.count == 1 && stream.phases["service"]?.count == 1)
            #expect((stream.phases["service"]?.maxNs ?? .max) < 50_000_000)
            #expect(session.output.contains("blocking: BLPOP 3 answered"))
        }

        /// Alone and in a pipeline: what MULTI queues is answered at once.
        @Test(arguments: Capability.hooks)
        func aBlockingCommandThatIsQueuedHasNoWait(hook: String) throws {
            let server = try RedisServer()
            let session = try Session.recording(pid: server.pid, ["--hook", hook]) {
                let client = try Connection(port: server.port)
                for words in [["MULTI"], ["BLPOP", "list", "0"], ["EXEC"]] { try client.send(request(words)); try client.receive(until: "\r\n") }
                try client.send(request("MULTI") + request("BLPOP", "list", "0") + request("GET", "x") + request("DISCARD"))
                try client.settle()
                try client.send(request("RPUSH", "list", "x") + request("BLPOP", "list", "0"))
                try client.settle()
            }
            #expect(session.record.commands["BLPOP"]?.count == 3)
            #expect(session.record.commands["BLPOP"]?.phases["wait"]?.count == 1)
            #expect(session.record.commands["GET"]?.phases["service"]?.count == 1)
            #expect(session.record.lost.isEmpty)
        }

        @Test(.tags(.timing)) func aReplyToAClientThatDoesNotReadIsBlockedSendingAndNotExec() throws {
            let server = try RedisServer()
            let client = try Connection(port: server.port)
            try client.send(request([Array("SET".utf8), Array("big".utf8), [UInt8](repeating: 120, count: 8_000_000)]))
            try client.receive(until: "+OK\r\n")
            let session = try Session.recording(pid: server.pid) {
                _ = try client.reply(to: "PING")
                try client.send(request("GET", "big"))
                usleep(200_000)
                try client.receive(until: "x\r\n")
                _ = try client.reply(to: "PING")
            }
            let get = try #require(session.record.commands["GET"])
            #expect((get.phases["exec"]?.maxNs ?? .max) < 100_000_000)
            #expect((get.phases["send_blocked"]?.maxNs ?? 0) > 150_000_000)
            #expect(get.replyBytesMax == 8_000_000 + 12)
        }

        /// A reply's size is its own, wherever in a send it lies and however many sends it takes.
        @Test(arguments: Capability.hooks)
        func theLargestReplyOfAPipelineIsItsCommands(hook: String) throws {
            let server = try RedisServer()
            let client = try Connection(port: server.port)
            try client.send(request([Array("SET".utf8), Array("big".utf8), [UInt8](repeating: 120, count: 3_000_000)]))
            try client.receive(until: "+OK\r\n")
            let session = try Session.recording(pid: server.pid, ["--hook", hook]) {
                let client = try Connection(port: server.port)
                try client.send(request("ECHO", "a") + request("GET", "big") + request("PING"))
                try client.receive(until: "PONG\r\n")
                try client.send(request("PING") + request("ECHO", String(repeating: "e", count: 1000)) + request("NOSUCH") + request("PING"))
                try client.receive(until: "PONG\r\n")
            }
            #expect(session.record.commands["GET"]?.replyBytesMax == 3_000_000 + 12)
            #expect(session.record.commands["ECHO"]?.replyBytesMax == 1000 + 9)
        }

        /// The main thread reads alone until there is enough to do: what it reads then is told.
        @Test func whatSeveralThreadsReadHasNoExec() throws {
            let server = try RedisServer(["--io-threads", "4", "--io-threads-do-reads", "yes"])
            let (kiln, counted, session) = try server.counts(hook: Capability.hooks.first ?? "") {
                try server.benchmark(["-t", "get", "-n", "5021", "-c", "50"])
            }
            #expect(kiln == counted)
            #expect(session.record.commands["GET"]?.phases["service"]?.count == kiln["GET"])
            #expect(session.record.phasesUnknown["exec"]?.contains("io threads") == true)
            #expect((session.record.commands["GET"]?.phases["exec"]?.count ?? 0) < (kiln["GET"] ?? 0) / 10)
            #expect(session.record.phasesUnknown["waits"] == session.record.phasesUnknown["exec"])
            #expect(session.output.components(separatedBy: "io threads read requests").count == 2)
        }

        @Test(.tags(.timing), .enabled(if: access("/usr/bin/taskset", X_OK) == 0, "taskset is not installed"))
        func timeWithoutACPUIsToldApart() throws {
            let server = try RedisServer()
            let rival = try Child("taskset", ["-c", "0", "sh", "-c", "while :; do :; done"])
            defer { kill(rival.pid, SIGKILL) }
            try #require(Child("taskset", ["-a", "-p", "-c", "0", "\(server.pid)"]).wait() == 0)
            let session = try Session.recording(pid: server.pid) {
                let client = try Connection(port: server.port)
                for _ in 0..<31 { _ = try client.reply(to: "EVAL", Self.busy, "0") }
            }
            let eval = try #require(session.record.commands["EVAL"]), exec = try #require(eval.phases["exec"])
            #expect(eval.execRunQueueNs > exec.sumNs / 5 && eval.execRunQueueNs < exec.sumNs)
            // As it is printed.
            let share = "\((Double(eval.execRunQueueNs) / Double(exec.sumNs) * 1000).rounded() / 10) %"
            let phases = session.output.split(separator: "\n").reversed().drop { !$0.hasPrefix("CPU BY COMMAND") }
            let line = try #require(phases.first { $0.hasPrefix("EVAL ") && $0.contains("%") })
            #expect(line.contains("  \(share)  "), "\(line)")
        }
    }
}
