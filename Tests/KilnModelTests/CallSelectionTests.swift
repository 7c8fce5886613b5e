import Testing

@testable import KilnModel

struct CallSelectionTests {
    private func key(_ name: String, _ process: Int = 0) -> CommandKey { CommandKey(process: process, name: CommandName(bytes: Array(name.utf8))) }

    @Test func aPercentileIsAThresholdOnceTenCallsLieBeyondIt() throws {
        var selection = CallSelection()
        selection.threshold = .percentile(0.99)
        var snapshot = Snapshot(time: Nanoseconds(1))
        func served(_ times: UInt64, _ phase: Phase = .service) -> CommandCounts {
            var histogram = Histogram()
            histogram.record(Nanoseconds(1_000), times: times - times / 50)
            histogram.record(Nanoseconds(1_000_000), times: times / 50)
            return CommandCounts(calls: times, phases: [phase: histogram])
        }
        snapshot.commands = [
            key("GET"): served(1_000), key("GET", 1): served(5_000), key("SET"): served(999), key("BLPOP"): served(5_000, .wait),
            key("DEL"): CommandCounts(calls: 5_000),
        ]
        let thresholds = selection.thresholds(of: snapshot)
        #expect(Set(thresholds.keys) == [key("GET"), key("GET", 1)])
        let slow = try #require(thresholds[key("GET")])
        // Two of a hundred take a millisecond.
        #expect(abs(Double(slow.count) / 1e6 - 1) <= 1.0 / 32)
        selection.threshold = .percentile(0.5)
        #expect(selection.thresholds(of: snapshot)[key("SET")].map { $0.count < 1_100 } == true)
        selection.threshold = .fixed(Nanoseconds(5))
        #expect(selection.thresholds(of: snapshot).isEmpty && CallSelection().thresholds(of: snapshot).isEmpty)
    }

    @Test func aSelectionKeepsAllUnlessItSaysOtherwise() {
        #expect(CallSelection().keepsAll)
        var errors = CallSelection()
        errors.errorsOnly = true
        #expect(!errors.keepsAll)
    }

    @Test func judgedCallsGrowAndLeaveWithTheirProcess() {
        var before = Snapshot(time: Nanoseconds(1)), after = Snapshot(time: Nanoseconds(3))
        before.judged = [key("GET"): JudgedCalls(slow: .init(count: 2, service: Nanoseconds(70))), key("SET"): JudgedCalls(fast: .init(count: 1))]
        after.judged = [
            key("GET"): JudgedCalls(slow: .init(count: 5, service: Nanoseconds(100), sendBlocked: Nanoseconds(8))),
            key("SET"): JudgedCalls(fast: .init(count: 1)),
        ]
        let grown = after.since(before).judged
        #expect(grown == [key("GET"): JudgedCalls(slow: .init(count: 3, service: Nanoseconds(30), sendBlocked: Nanoseconds(8)))])
        after.leaveOutRequests(of: 0)
        #expect(after.judged.isEmpty)
    }
}
