import KilnModel
import SystemPackage
import Testing

@testable import kiln

/// What is printed of the calls whose stacks were kept.
struct KeptCallsTextTests {
    private static func name(_ text: String) -> CommandName { CommandName(bytes: Array(text.utf8)) }

    /// A session of 2 s at 100 Hz.
    private struct Recorded {
        var snapshot = Snapshot(time: Nanoseconds(2_000_000_000))
        var selection = CallSelection()
        var onCPU: [NamedStack] = []
        /// Nil: without --off-cpu.
        var waits: [(work: Work, ns: UInt64)]?

        init(slowerThan threshold: CallSelection.Threshold = .none) { selection.threshold = threshold }

        mutating func add(_ name: String, calls: UInt64, _ judged: JudgedCalls = JudgedCalls(), client: String = "127.0.0.1") {
            let key = CommandKey(process: 0, name: KeptCallsTextTests.name(name))
            var service = Histogram()
            service.record(Nanoseconds(1000), times: calls)
            snapshot.commands[key] = CommandCounts(calls: calls, phases: [.service: service])
            snapshot.judged[key] = judged
            snapshot.clients[ClientKey(process: 0, address: client)] = ClientCounts(commands: calls, receivedBytes: 1, sentBytes: 1)
        }

        mutating func sample(_ work: Work, _ samples: UInt64) {
            onCPU.append(NamedStack(process: 0, root: "redis-server", work: work, frames: "main", weight: samples))
        }

        var record: SessionRecord {
            var record = SessionRecord(
                version: "0", kernel: "6", started: "", interval: 1, ended: "duration",
                target: SessionRecord.Target(pid: 7, exe: nil, comm: "redis-server", ports: [6379], container: nil), snapshot: snapshot,
                cost: SessionRecord.Cost(programs: nil, ownCPU: .zero, ownPeakRSS: 1, targetCPU: Nanoseconds(1_000_000_000), attach: .zero)
            )
            record.addRequests(of: snapshot, process: 0, hook: "socket", side: .server, tlsLibrary: nil, programs: [])
            record.addSamples(of: snapshot, process: 0, frequency: 100, expected: 100)
            record.addKeptCalls(selection, of: snapshot, process: 0)
            let times = waits?.map { work, ns -> SessionRecord.ByCommand.Wait in
                var times = WaitTimes()
                times.add(Nanoseconds(ns), in: .sleeping)
                return (0, work, false, times)
            }
            if let times { record.samples.offCPU = SessionRecord.OffCPU(counts: [], waits: times.map { ($0.isIdle, $0.times) }) }
            record.samples.byCommand = .init(
                process: 0, onCPU: onCPU, offCPU: waits == nil ? nil : [], waits: times ?? [], frequency: 100, snapshot: snapshot, keepsAll: false)
            return record
        }

        var lines: [String] { (KeptCallsText(record, tableRows: 20)?.lines ?? []).map(\.text) }
    }

    private static func slow(_ count: UInt64, ms: UInt64, blocked: UInt64 = 0, of all: UInt64) -> JudgedCalls {
        JudgedCalls(
            slow: .init(count: count, service: Nanoseconds(ms * 1_000_000), sendBlocked: Nanoseconds(blocked * 1_000_000)), fast: .init(count: all - count))
    }

    private static let other =
        "  other work of the same turns: what the server did between a request and its reply for others, or while it put the call off"

    @Test func theServiceOfSlowCallsIsSplit() {
        var session = Recorded(slowerThan: .percentile(0.99))
        session.add("GET", calls: 6400, Self.slow(64, ms: 615, of: 6400))
        session.add("ZADD", calls: 5000, Self.slow(50, ms: 900, blocked: 100, of: 5000))
        session.sample(Work(.command(Self.name("GET")), .exec, .slow), 1)
        // Receiving the request is before the service, and fast calls are others.
        session.sample(Work(.command(Self.name("GET")), .read, .slow), 50)
        session.sample(Work(.command(Self.name("GET")), .reply, .fast), 60)
        session.sample(Work(.command(Self.name("ZADD")), .exec, .slow), 40)
        session.sample(Work(.command(Self.name("ZADD")), .reply, .slow), 30)
        session.waits = [(Work(.command(Self.name("GET")), .exec, .slow), 80_000_000), (Work(.command(Self.name("ZADD")), .exec, .slow), 200_000_000)]
        #expect(
            session.lines == [
                "calls slower than p99, whose stacks are kept:",
                "  ZADD: 50 of 5,000 calls, 900 ms of service: about 600 ms on CPU, 200 ms off it, 100 ms between the sends of a reply; 0 ns (0.0 %) other work of the same turns",
                "  GET: 64 of 6,400 calls, 615 ms of service: about 10.0 ms on CPU (1 sample), 80.0 ms off it, 0 ns between the sends of a reply; 525 ms (85 %) other work of the same turns",
                Self.other,
            ])
        session.waits = nil
        #expect(
            session.lines.suffix(3) == [
                "  GET: 64 of 6,400 calls, 615 ms of service: about 10.0 ms on CPU (1 sample), 0 ns between the sends of a reply; 605 ms (98 %) off it or other work of the same turns",
                Self.other,
                "  give --off-cpu to see how much of it was time off the CPU",
            ])
    }

    @Test func noPartIsMoreThanTheService() {
        var session = Recorded(slowerThan: .fixed(Nanoseconds(1_000_000)))
        session.add("GET", calls: 9, Self.slow(2, ms: 20, blocked: 3, of: 9))
        session.sample(Work(.command(Self.name("GET")), .exec, .slow), 5)
        session.waits = [(Work(.command(Self.name("GET")), .exec, .slow), 8_000_000)]
        let line = "  GET: 2 of 9 calls, 20.0 ms of service: about "
        #expect(
            session.lines.last
                == line + "9.00 ms on CPU (5 samples), 8.00 ms off it, 3.00 ms between the sends of a reply; 0 ns (0.0 %) other work of the same turns")
        session.waits?[0].ns = .max
        #expect(
            session.lines.last
                == line + "0 ns on CPU (5 samples), 17.0 ms off it, 3.00 ms between the sends of a reply; 0 ns (0.0 %) other work of the same turns")
    }

    /// A file of another program may have any number.
    @Test(arguments: [Double.nan, .infinity, 1, 2, 0, -1]) func aPercentileThatIsNoneIsNoFault(share: Double) {
        var session = Recorded(slowerThan: .percentile(share))
        session.add("GET", calls: 9, Self.slow(2, ms: 20, of: 9))
        #expect(session.lines.count == 4)
    }

    @Test func commandsWithoutStacksOfTheirOwnPointAtPipelines() {
        var session = Recorded(slowerThan: .fixed(Nanoseconds(1_000_000)))
        session.selection.keepsFast = true
        session.add("EVAL", calls: 246, Self.slow(246, ms: 485, of: 246))
        session.waits = []
        let line = "  EVAL: 246 of 246 calls, 485 ms of service: no sample on CPU, 0 ns off it, 0 ns between the sends of a reply; 485 ms (100 %)"
        let title = "calls slower than 1.00 ms, whose stacks are `slow`; those of the others are `fast`:"
        #expect(session.lines == [title, line + " other work of the same turns", Self.other])
        session.sample(Work(.pipeline, .exec, .fast), 5)
        #expect(session.lines == [title, line + " other work of the same turns", Self.other])
        session.sample(Work(.pipeline, .exec, .slow), 5)
        #expect(session.lines == [title, line + " work of pipelines or other work of the same turns (its stacks are in the row pipeline)", Self.other])
        session.sample(Work(.command(Self.name("EVAL")), .exec, .slow), 48)
        #expect(session.lines.count == 2 && session.lines[1].hasSuffix("5.00 ms (1.0 %) work of pipelines or other work of the same turns"))
    }

    @Test func commandsWithoutAPercentileAreNamed() {
        let needed = ": a command needs 1,000 calls before its slow ones are known"
        var session = Recorded(slowerThan: .percentile(0.99))
        session.add("EVAL", calls: 285)
        session.add("EXEC", calls: 910)
        session.add("PING", calls: 1)
        let few = "no p99 yet of EXEC (910 calls), EVAL (285), PING (1)" + needed
        #expect(session.lines == [few])
        session.add("GET", calls: 2000, JudgedCalls(fast: .init(count: 1000)))
        #expect(session.lines == ["no call was slower than p99 (of 1,000)", few])
        session.add("GET", calls: 2000, Self.slow(3, ms: 5, of: 1000))
        #expect(session.lines.count == 5 && session.lines.last == few)
        session.selection.commands = ["eval", "get"]
        #expect(session.lines.last == "no p99 yet of EVAL (285 calls)" + needed)
        for number in 0..<9 { session.add("X\(number)", calls: 2) }
        session.selection.commands = []
        #expect(session.lines.last?.contains("X5 (2) and 4 more commands: a command needs") == true)
        #expect(Recorded(slowerThan: .percentile(0.99)).lines == ["no call was seen"])
    }

    @Test func filtersThatMatchNothingSayWhatWasSeen() {
        var session = Recorded()
        session.add("GET", calls: 30)
        session.add("SET", calls: 20)
        session.selection.clients = ["9.9.9.9"]
        #expect(session.lines == ["stacks only of calls from 9.9.9.9", "no call from 9.9.9.9; clients seen: 127.0.0.1"])
        session.selection.threshold = .fixed(Nanoseconds(1_000_000))
        #expect(session.lines == ["stacks only of calls from 9.9.9.9", "no call from 9.9.9.9; clients seen: 127.0.0.1"])
        session.selection = CallSelection()
        session.selection.commands = ["keys", "Get", "nosuch"]
        session.add("GET", calls: 30, JudgedCalls(unjudged: .init(count: 30)))
        for number in 0..<5 { session.add("X\(number)", calls: 2) }
        #expect(
            session.lines == [
                "stacks only of calls of keys, Get, nosuch", "no call of keys, nosuch; commands seen: GET, SET, X0, X1, X2 and 2 more",
                "stacks of 30 calls of GET (of 30): 0 ns of service",
            ])
        // Whose row is that for the rest is not known.
        session.snapshot.commands[CommandKey(process: 0, name: .other)] = CommandCounts(calls: 1)
        #expect(session.lines.count == 2)
    }

    @Test func onlyWhatHoldsIsSaidOfCallsThatWereNotFound() {
        var session = Recorded()
        session.selection.errorsOnly = true
        session.add("GET", calls: 30)
        let filter = "stacks only of calls that were answered with an error"
        #expect(session.lines == [filter, "no call was answered with an error"])
        session.selection.threshold = .fixed(Nanoseconds(1_000_000))
        #expect(session.lines == [filter, "no call was answered with an error"])
        session.add("GET", calls: 30, JudgedCalls(fast: .init(count: 4)))
        #expect(session.lines == [filter, "no call that was answered with an error was slower than 1.00 ms (of 4)"])
        session.selection.errorsOnly = false
        session.selection.clients = ["127.0.0.1"]
        #expect(session.lines.last == "no call from 127.0.0.1 was slower than 1.00 ms (of 4)")
        session.selection = CallSelection()
        session.selection.commands = ["get"]
        session.add("GET", calls: 30)
        #expect(session.lines.last == "no such call with a service was found")
        session.selection.threshold = .percentile(0.9)
        session.add("GET", calls: 3000)
        #expect(session.lines.last == "no call of get came after the p90 of its command was known")
        session.selection = CallSelection()
        session.selection.threshold = .fixed(Nanoseconds(1_000_000))
        #expect(session.lines == ["no call with a service was found"])
        // An error of a blocking command is one, and not asked for.
        session.selection.errorsOnly = true
        session.snapshot.commands[CommandKey(process: 0, name: Self.name("BLPOP"))] = CommandCounts(calls: 1)
        session.snapshot.commands[CommandKey(process: 0, name: Self.name("BLPOP"))]?.errors = 1
        #expect(session.lines.last == "no such call with a service was found")
    }
}
