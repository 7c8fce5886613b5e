import Foundation
import Testing

@testable import KilnModel

struct SnapshotTests {
    @Test func namesShowWhatIsNotPrintable() {
        #expect(CommandName(bytes: Array("GET".utf8) + [0, 0, 0]).description == "GET")
        #expect(CommandName(bytes: [0x41, 0x1b, 0x5b, 0x20, 0x5c, 0xff, 0, 0]).description == "A\\x1b[\\x20\\x5c\\xff")
        #expect(CommandName(bytes: [0, 0]).description == "\"\"")
    }

    @Test func whatDidNotGrowIsNotInTheInterval() {
        var before = Snapshot(time: Nanoseconds(1_000)), after = Snapshot(time: Nanoseconds(3_000))
        let get = CommandKey(process: 0, name: CommandName(bytes: Array("GET".utf8)))
        let set = CommandKey(process: 0, name: CommandName(bytes: Array("SET".utf8)))
        before.commands = [get: CommandCounts(calls: 5), set: CommandCounts(calls: 7)]
        after.commands = [get: CommandCounts(calls: 5), set: CommandCounts(calls: 9)]
        before.losses = ["receive_gaps": 2]
        after.losses = ["receive_gaps": 2, "stacks_map_full": 1]
        after.syscalls = [SyscallKey(process: 0, number: 1): SyscallCounts(count: 3, errors: 1)]
        let interval = after.since(before)
        #expect(interval.time == Nanoseconds(2_000))
        #expect(interval.commands == [set: CommandCounts(calls: 2)])
        #expect(interval.losses == ["stacks_map_full": 1])
        #expect(interval.syscalls.values.first == SyscallCounts(count: 3, errors: 1))
    }

    @Test func whatIoThreadsReadIsSaidWithItsNumbers() {
        var histogram = Histogram(), few = Histogram()
        histogram.record(Nanoseconds(50), times: 31)
        few.record(Nanoseconds(50), times: 7)
        let get = CommandKey(process: 1, name: CommandName(bytes: Array("GET".utf8)))
        var snapshot = Snapshot(time: Nanoseconds(1_000))
        snapshot.commands[get] = CommandCounts(calls: 31, phases: [.service: histogram, .queue: histogram, .total: histogram, .exec: few, .reply: few])
        snapshot.readByOtherThreads = [1]
        #expect(snapshot.since(Snapshot(time: .zero)).readByOtherThreads == [1])
        let reasons = snapshot.unknownPhases(process: 1, hook: "socket")
        #expect(reasons.keys.sorted() == ["exec", "reply", "waits"])
        #expect(Set(reasons.values).count == 1 && reasons["exec"]?.contains("7 of 31 replies") == true)
    }

    @Test func whyNothingIsKnownOfWaitsIsToldOnlyWhereNothingIs() {
        var histogram = Histogram()
        histogram.record(Nanoseconds(50), times: 3)
        let get = CommandKey(process: 0, name: CommandName(bytes: Array("GET".utf8)))
        var snapshot = Snapshot(time: Nanoseconds(1_000))
        // Pipelines: no exec, and waits all the same.
        snapshot.commands[get] = CommandCounts(calls: 3, phases: [.service: histogram, .queue: histogram, .total: histogram])
        #expect(snapshot.unknownPhases(process: 0, hook: "socket").keys.sorted() == ["exec", "reply"])
        snapshot.readByOtherThreads = [0]
        let several = snapshot.unknownPhases(process: 0, hook: "socket")
        #expect(several["waits"] == several["exec"] && several["waits"]?.contains("io threads") == true)
        snapshot = Snapshot(time: Nanoseconds(1_000))
        snapshot.commands[get] = CommandCounts(calls: 3, phases: [.service: histogram, .exec: histogram, .reply: histogram])
        let unseen = snapshot.unknownPhases(process: 0, hook: "syscall")
        #expect(unseen["waits"] == unseen["queue"] && unseen["waits"] != nil)
    }

    @Test func rowsAreReadBackAsTheyWereWritten() throws {
        var histogram = Histogram()
        for value: UInt64 in [50, 60_000, 70_000_000_000] { histogram.record(Nanoseconds(value)) }
        let row = CommandRow(
            time: "2026-01-02T03:04:05.678Z", interval: Nanoseconds(1_000_000_000), pid: 7, command: .other, phase: .service,
            counts: CommandCounts(calls: 4, phases: [.service: histogram])
        )
        let text = try JSONEncoder().encode(row)
        let fields = try #require(try JSONSerialization.jsonObject(with: text) as? [String: Any])
        #expect(fields["command"] as? String == "other")
        #expect(fields["p99_9_ns"] as? UInt64 == 68_719_476_736)
        #expect((fields["slots"] as? [[UInt64]])?.last == [68_719_476_736, 68_719_476_736, 1])
        let read = try JSONDecoder().decode(CommandRow.self, from: text)
        #expect(read.latency.slots == row.latency.slots)
        #expect(read.calls == 4)
    }
}
