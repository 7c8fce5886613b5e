import Foundation
import Glibc
import KilnModel
import TestSupport
import Testing

extension KernelTests {
    /// The stacks of some calls: of slow ones, of a client, of a command, of errors, and no others.
    @Suite(.enabled(if: Program.canCompile, "no C compiler")) struct CallSelectionTests {
        @Test(.tags(.timing), arguments: Capability.hooks) func slowCallsAreThoseOfTheSlowBranch(hook: String) throws {
            let server = try KnownWork.server(), calls = load(401)
            let session = try WorkSession(server, ["--slower-than", "1ms", "--compare-slow", "--hook", hook]) {
                try server.repeating(calls, ["BRANCH", "0"], ["BRANCH", "1"])
            }
            session.expectSums()
            let judged = try session.judged("BRANCH"), onCPU = session.record.samples.onCPU
            #expect(judged.slow.count + judged.fast.count == 2 * calls && judged.slow.count >= calls, "\(judged)")
            // Fast calls that took longer than a millisecond, because something else had the CPU, are slow ones: so many can be there.
            let late = judged.slow.count - calls
            #expect(late < calls / 20, "\(late) fast calls were slow")
            let slow = session.byCommand.owners(of: "slow_branch"), fast = session.byCommand.owners(of: "fast_branch")
            #expect(Array(slow.keys) == ["BRANCH (slow)"], "\(slow)")
            #expect(fast["BRANCH (fast)"] ?? 0 > 0 && fast["BRANCH (slow)"] ?? 0 <= late * 3 && fast.count <= 2, "\(fast), \(late) late")
            #expect(judged.slow.serviceNs > calls * 2_000_000 && judged.fast.serviceNs > (calls - late) * 100_000, "\(judged)")
            // Seen: kept, dropped (what was recorded and not kept), and left out.
            let seen = onCPU.recorded + (onCPU.leftOut?.sum ?? 0), expected = Double(onCPU.expected ?? 0)
            #expect(try #require(onCPU.kept) <= onCPU.recorded && abs(Double(seen) - expected) < expected * 0.1 + 50, "\(onCPU)")
            #expect(session.rows.allSatisfy { $0.verdict != nil }, "\(session.rows)")
        }

        @Test(.tags(.timing)) func onlySlowCallsAreKept() throws {
            let server = try KnownWork.server(), calls = load(401)
            let session = try WorkSession(server, ["--slower-than", "1ms", "--off-cpu"]) { try server.repeating(calls, ["BRANCH", "0"], ["BRANCH", "1"]) }
            session.expectSums()
            let late = try session.judged("BRANCH").slow.count - calls, onCPU = session.record.samples.onCPU
            #expect(session.rows.map(\.name) == ["BRANCH"] && session.rows.first?.verdict == "slow", "\(session.rows)")
            #expect(session.byCommand.owners(of: "fast_branch")["BRANCH (slow)"] ?? 0 <= late * 3)
            // A fast call has a twentieth of the time of a slow one.
            #expect((onCPU.kept ?? 0) > onCPU.recorded * 8 / 10 && (onCPU.kept ?? 0) < onCPU.recorded, "\(onCPU)")
        }

        /// Of 50 calls one is in the slow branch: p99 lies among these.
        @Test(.tags(.timing)) func percentileIsTheCommandsOwn() throws {
            let server = try KnownWork.server(), calls = load(6_007)
            let session = try WorkSession(server, ["--slower-than", "p99", "-i", "0.2"]) {
                let client = try Connection(port: server.port)
                for call in 0..<calls {
                    try client.ask(["BRANCH", call % 50 == 0 ? "1" : "0"])
                    try client.ask(["GET", "key"])
                }
            }
            session.expectSums()
            let judged = try session.judged("BRANCH")
            // Until a thousand calls, nothing is known to be slow; then about one in a hundred.
            let all = judged.slow.count + judged.fast.count
            #expect(all > calls / 3 && all <= calls - 1000, "\(judged)")
            #expect(judged.slow.count > 0 && judged.slow.count < all / 40, "\(judged)")
            let slow = session.byCommand.owners(of: "slow_branch")["BRANCH (slow)"] ?? 0,
                fast = session.byCommand.owners(of: "fast_branch")["BRANCH (slow)"] ?? 0
            #expect(slow > judged.slow.count * 5 && fast <= slow / 20, "\(slow) and \(fast) of \(judged.slow.count) calls")
        }

        /// A slow call with more different stacks than a thread can hold.
        @Test(arguments: [["--slower-than", "10ms"], ["--command", "EVAL"]]) func longCallsKeepAllTheirStacks(options: [String]) throws {
            let script = """
                for i = 1, 20000 do
                    redis.call('SET', 'a' .. i, i) redis.call('HSET', 'h' .. i % 100, i, i) redis.call('ZADD', 'z' .. i % 50, i, i)
                    redis.call('LPUSH', 'l' .. i % 20, i) redis.call('EXPIRE', 'a' .. i, 100)
                end
                redis.call('KEYS', 'a1*') redis.call('SORT', 'l1') return 1
                """
            let server = try KnownWork.server()
            let session = try WorkSession(server, options) { try server.repeating(1, ["EVAL", script, "0"], ["GET", "key"]) }
            let onCPU = session.record.samples.onCPU, full = session.record.lost["held_stacks_full"] ?? 0, kept = onCPU.kept ?? onCPU.recorded
            #expect(try session.judged("EVAL").slow.count == 1)
            #expect(full < kept / 20, "\(onCPU), \(full) lost")
            // Nearly all that the server did was that call.
            #expect(kept > onCPU.recorded * 9 / 10 && kept > (onCPU.expected ?? 0) * 7 / 10 && kept > 100, "\(onCPU)")
        }

        /// A stack of every second write stands for two. A reply is one write.
        @Test(arguments: [UInt64(1), 2]) func eventsOfOtherCallsAreLeftOut(every: UInt64) throws {
            let server = try KnownWork.server(), calls = load(301) + 1
            let session = try WorkSession(server, ["-e", "syscalls:sys_enter_write", "-c", "\(every)", "--command", "BURN.A"]) {
                try server.repeating(calls, ["BURN.A", "50"], ["BURN.A", "50"], ["GET", "key"], ["GET", "key"])
            }
            let event = try #require(session.record.samples.events?.first), kept = try #require(event.kept), leftOut = try #require(event.leftOut)
            #expect(event.lost == 0 && event.count >= 4 * calls, "\(event)")
            #expect(event.recorded + leftOut.sum <= event.count / every + 1, "\(event)")
            #expect(event.recorded + leftOut.sum + 10 >= 2 * calls / every + kept, "\(event)")
            let stacks = try #require(session.events), replies = stacks.lines.filter { Array($0.frames.dropFirst().prefix(2)) == ["BURN.A", "reply"] }
            #expect(stacks.total == kept * every && Stacks(lines: replies).total == stacks.total, "\(stacks.total) of \(event)")
            #expect(every > 1 ? kept > calls / 2 : kept == 2 * calls, "\(event)")
        }

        /// Fast calls are kept with all of their time, too: LRANGE's reply is sent in parts.
        @Test func fastCallsHaveTheTimeBetweenTheirSends() throws {
            let server = try KnownWork.server()
            try server.repeating(1, ["RPUSH", "list"] + (0..<256).map { _ in String(repeating: "v", count: 1000) })
            let session = try WorkSession(server, ["--slower-than", "100s", "--compare-slow", "--off-cpu"]) {
                let client = try Connection(port: server.port)
                for _ in 0..<load(101) {
                    try client.send(request("LRANGE", "list", "0", "-1"))
                    try client.receive(bytes: 6 + 256 * 1009)
                }
            }
            session.expectSums()
            #expect(try #require(session.record.samples.keptCalls?.judged["LRANGE"]?.fast).sendBlockedNs > 0)
        }

        struct Filter: CustomTestStringConvertible, Sendable {
            var testDescription: String { options.joined(separator: " ") }
            let options: [String]
            /// Commands and their calls, in hundreds, and the functions that are sampled.
            let calls: [String: UInt64], functions: [String]
        }

        @Test(arguments: [
            Filter(
                options: ["--command", "burn.b", "--command", "FAIL", "--off-cpu"], calls: ["BURN.B": 1, "FAIL": 2], functions: ["burn_b", "burn_failing"]),
            Filter(options: ["--client-address", "127.0.0.2"], calls: ["BURN.B": 1, "FAIL": 1], functions: ["burn_b", "burn_failing"]),
            Filter(options: ["--client-address", "unix"], calls: ["BURN.A": 1], functions: ["burn_a"]),
            Filter(options: ["--errors", "--off-cpu"], calls: ["FAIL": 2], functions: ["burn_failing"]),
            Filter(
                options: ["--errors", "--command", "FAIL", "--client-address", "127.0.0.2", "--hook", "syscall"], calls: ["FAIL": 1],
                functions: ["burn_failing"]),
        ])
        func onlyWhatIsAskedForIsKept(_ filter: Filter) throws {
            // The server is for clients of other addresses, too.
            let server = try KnownWork.server(["--protected-mode", "no"]), hundred = load(101)
            let session = try WorkSession(server, filter.options) {
                let first = try Connection(port: server.port), second = try Connection(port: server.port, from: "127.0.0.2")
                let local = try Connection(unixSocket: server.unixSocket)
                for _ in 0..<hundred {
                    try first.ask(["BURN.A", "500"])
                    try second.ask(["BURN.B", "500"])
                    try local.ask(["BURN.A", "300"])
                    try second.ask(["FAIL", "300"])
                    try first.ask(["FAIL", "no number"])
                }
            }
            session.expectSums()
            let kept = try #require(session.record.samples.keptCalls)
            #expect(kept.judged.compactMapValues(\.unjudged?.count).filter { $0.value != 0 } == filter.calls.mapValues { $0 * hundred })
            #expect(kept.judged.allSatisfy { $0.value.slow == nil && $0.value.fast == nil })
            #expect(Set(session.rows.map(\.name)).isSubset(of: filter.calls.keys), "\(session.rows.map(\.name))")
            for function in ["burn_a", "burn_b", "burn_failing"] {
                #expect((session.byCommand.owners(of: function).values.reduce(0, +) > 0) == filter.functions.contains(function), "\(function)")
            }
        }
    }
}
