import Testing

@testable import KilnModel

struct ByCommandTests {
    private static func name(_ text: String) -> CommandName { CommandName(bytes: Array(text.utf8)) }
    private static let get = name("GET"), set = name("SET")

    private static func sample(_ work: Work, _ frames: String, _ weight: UInt64, process: Int = 0) -> NamedStack {
        NamedStack(process: process, root: "redis-server", work: work, frames: frames, weight: weight)
    }

    private static let samples = [
        sample(Work(.command(get), .exec), "main;dictFind", 20), sample(Work(.command(get), .exec), "main;lookup;dictFind", 5),
        sample(Work(.command(get), .reply), "main;write_[k]", 6), sample(Work(.command(get), .read), "main;read_[k]", 4),
        sample(Work(.command(set), .exec), "main;dictAdd", 10), sample(Work(.pipeline, .exec), "main;dictFind", 30), sample(Work(.eventLoop), "main;aeMain", 7),
        sample(Work(.background), "bio;fsync_[k]", 3), sample(Work(.unknown(reason: "io-threads")), "io;read_[k]", 2),
        sample(Work(.unknown(reason: "no room")), "main", 1), sample(Work(.unlabelled), "main", 12),
        // Of a child.
        sample(Work(.background), "main;rdbSave", 1000, process: 17),
    ]

    private static var snapshot: Snapshot {
        var snapshot = Snapshot(time: Nanoseconds(1))
        snapshot.commands = [CommandKey(process: 0, name: get): CommandCounts(calls: 1_200_000), CommandKey(process: 1, name: set): CommandCounts(calls: 5)]
        return snapshot
    }

    @Test func commandsAndTheRestAreAllSamples() throws {
        let record = SessionRecord.ByCommand(process: 0, onCPU: Self.samples, offCPU: nil, waits: [], frequency: 100, snapshot: Self.snapshot, keepsAll: true)
        #expect(record.commands.map(\.name) == ["GET", "SET"])
        #expect(
            record.rest.map { "\($0.name) \($0.reason ?? "")" } == [
                "pipeline ", "event loop ", "background ", "unknown io-threads", "unknown no room", "unlabelled ", "child processes ",
            ])
        let own = record.commands + record.rest.dropLast(), children = try #require(record.rest.last)
        #expect(own.map(\.samples).reduce(0, +) == 100 && children.samples == 1000)
        #expect(abs(own.compactMap(\.share).reduce(0, +) - 1) < 1e-9 && children.share == nil)
        let get = try #require(record.commands.first)
        #expect(get.samples == 35 && get.execSamples == 25 && get.replySamples == 6 && get.readSamples == 4 && get.calls == 1_200_000)
        #expect(get.share == 0.35 && get.cpuSEstimate == 0.35 && get.offCPU == nil && get.verdict == nil)
        #expect(try #require(get.shareLow) < 0.27 && #require(get.shareHigh) > 0.44)
        #expect(get.functions.map { "\($0.function) \($0.samples)" } == ["dictFind 25", "write_[k] 6", "read_[k] 4"])
        #expect(get.functions[0].share == 25.0 / 35)
        // The target's own calls only.
        #expect(record.commands[1].calls == 0)
    }

    @Test func commandsAndTheRestAreAllTimeOffTheCPU() throws {
        func waited(_ times: [WaitState: UInt64], ended: UInt64) -> WaitTimes {
            var waits = WaitTimes()
            for (state, ns) in times { waits.add(Nanoseconds(ns), in: state) }
            waits.ended = ended
            return waits
        }
        let exec = Work(.command(Self.get), .exec), loop = Work(.eventLoop)
        let waits: [SessionRecord.ByCommand.Wait] = [
            (0, exec, false, waited([.uninterruptible: 700, .runnable: 50], ended: 3)), (0, loop, true, waited([.sleeping: 90_000, .runnable: 40], ended: 9)),
            (17, Work(.background), false, waited([.uninterruptible: 5], ended: 1)),
        ]
        func stack(_ work: Work, _ state: WaitState, _ frames: String, _ ns: UInt64, _ process: Int = 0) -> NamedStack {
            NamedStack(process: process, root: "redis-server", work: work, state: state, frames: frames, weight: ns)
        }
        let shown = [
            stack(exec, .uninterruptible, "main;io_schedule_[k]", 700), stack(exec, .runnable, "main;io_schedule_[k]", 50),
            stack(loop, .runnable, "main;ep_poll_[k]", 40), stack(Work(.background), .uninterruptible, "main;write_[k]", 5, 17),
        ]
        let record = SessionRecord.ByCommand(process: 0, onCPU: [], offCPU: shown, waits: waits, frequency: 0, snapshot: Self.snapshot, keepsAll: true)
        let get = try #require(record.commands.first?.offCPU)
        #expect(get.uninterruptibleNs == 700 && get.runnableNs == 50 && get.ns == 750 && get.waits == 3 && get.idleNs == 0)
        #expect(get.functions.map(\.function) == ["io_schedule_[k]"] && get.functions[0].share == 1)
        #expect(record.rest.map(\.name) == ["event loop", "child processes"] && record.rest[0].offCPU?.idleNs == 90_000)
        let all = SessionRecord.OffCPU(counts: [], waits: waits.map { ($0.isIdle, $0.times) }), rows = (record.commands + record.rest).compactMap(\.offCPU)
        #expect(rows.map(\.ns).reduce(0, +) == all.sleepingNs + all.uninterruptibleNs + all.runnableNs + all.stoppedNs)
        #expect(rows.map(\.idleNs).reduce(0, +) == all.idleNs)
        #expect(record.commands[0].share == nil && record.commands[0].cpuSEstimate == 0)
    }

    @Test func theLongestWaitsAreFirstWhateverWasSampled() {
        func waited(_ ns: UInt64) -> WaitTimes {
            var waits = WaitTimes()
            waits.add(Nanoseconds(ns), in: .sleeping)
            return waits
        }
        let work = [(Self.get, Work.Verdict.slow, 9), (Self.set, .slow, 500), (Self.get, .fast, 7000), (Self.set, .fast, 7001)].map {
            (work: Work(.command($0.0), .exec, $0.1), ns: UInt64($0.2))
        }
        let record = SessionRecord.ByCommand(
            process: 0, onCPU: [Self.sample(work[0].work, "main", 8), Self.sample(work[2].work, "main", 9)], offCPU: [],
            waits: work.map { (0, $0.work, false, waited($0.ns)) }, frequency: 100, snapshot: Self.snapshot, keepsAll: false)
        #expect(record.commands.map { "\($0.name) \($0.verdict ?? "")" } == ["GET slow", "SET slow", "GET fast", "SET fast"])
        #expect(record.longestWaitsFirst.map { "\($0.name) \($0.verdict ?? "")" } == ["SET slow", "GET slow", "SET fast", "GET fast"])
    }

    @Test func onlyCallsThatWereAskedForAreCounted() {
        var snapshot = Self.snapshot
        snapshot.judged[CommandKey(process: 0, name: Self.get)] = JudgedCalls(unjudged: .init(count: 5))
        func calls(keepsAll: Bool) -> [UInt64?] {
            let record = SessionRecord.ByCommand(
                process: 0, onCPU: [Self.sample(Work(.command(Self.get), .exec), "main", 1)], offCPU: nil, waits: [], frequency: 100, snapshot: snapshot,
                keepsAll: keepsAll)
            return record.commands.map(\.calls)
        }
        #expect(calls(keepsAll: false) == [5] && calls(keepsAll: true) == [1_200_000])
    }

    @Test func slowAndFastCallsHaveRowsOfTheirOwn() throws {
        var snapshot = Self.snapshot
        snapshot.judged[CommandKey(process: 0, name: Self.get)] = JudgedCalls(
            slow: .init(count: 12, service: Nanoseconds(500), sendBlocked: Nanoseconds(30)), fast: .init(count: 988))
        let stacks = [Self.sample(Work(.command(Self.get), .exec, .fast), "main;get", 30), Self.sample(Work(.command(Self.get), .exec, .slow), "main;sort", 9)]
        let record = SessionRecord.ByCommand(process: 0, onCPU: stacks, offCPU: nil, waits: [], frequency: 100, snapshot: snapshot, keepsAll: false)
        #expect(record.commands.map { "\($0.name) \($0.verdict ?? "") \($0.calls ?? 0) \($0.samples)" } == ["GET slow 12 9", "GET fast 988 30"])
        // The share is one of all samples, those without a kept stack among them.
        var counts = SampleCounts()
        (counts.recorded, counts.dropped, counts.leftOut.eventLoop) = (60, 21, 30)
        snapshot.samples = [counts]
        let shares = SessionRecord.ByCommand(process: 0, onCPU: stacks, offCPU: nil, waits: [], frequency: 100, snapshot: snapshot, keepsAll: false).commands
            .map(\.share)
        #expect(shares == [9.0 / 90, 30.0 / 90])
        let blocked = NamedStack.sendBlocked(.slow, of: snapshot, process: 0, root: "redis-server")
        #expect(blocked.map(\.weight) == [30] && blocked.map(\.work) == [Work(.command(Self.get), .reply, .slow)])
        #expect(
            NamedStack.sendBlocked(.fast, of: snapshot, process: 0, root: "").isEmpty
                && NamedStack.sendBlocked(.slow, of: snapshot, process: 1, root: "").isEmpty)
    }
}
