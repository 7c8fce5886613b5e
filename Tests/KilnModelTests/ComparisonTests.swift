import KilnModel
import Testing

/// Two sessions compared: what moved is found, and noise is not.
struct ComparisonTests {
    @Test func whatMovedIsFoundAndNoiseIsNot() {
        var random = SystemRandom(seed: 3)
        let before = rows(p50: 100_000, calls: 5000, spread: 0.1, &random), same = rows(p50: 100_000, calls: 5000, spread: 0.1, &random)
        let slower = rows(p50: 150_000, calls: 5000, spread: 0.1, &random)
        #expect(SessionComparison(session(before), session(same)).moved.isEmpty)
        let moved = SessionComparison(session(before), session(slower)).moved
        #expect(moved.map(\.what).sorted() == ["service p50", "service p99"])
        #expect(moved.allSatisfy { abs($0.change - 0.5) < 0.1 })
    }

    @Test func noiseSeldomMoves() {
        var random = SystemRandom(seed: 4)
        var moved = 0, compared = 0
        for _ in 0..<300 {
            let comparison = SessionComparison(
                session(rows(p50: 50_000, calls: 900, spread: 0.3, &random)), session(rows(p50: 50_000, calls: 900, spread: 0.3, &random))
            )
            moved += comparison.moved.count
            compared += comparison.compared
        }
        #expect(compared == 900)
        #expect(moved < compared / 50, "\(moved) of \(compared)")
    }

    @Test func callsInFewIntervalsAreFewerCalls() {
        var random = SystemRandom(seed: 6)
        let all = rows(p50: 1000, calls: 100, spread: 0.1, &random)
        let other = rows(p50: 1000, calls: 100, spread: 0.1, &random, command: "SET")
        // GET in 4 of 12 intervals of the second session.
        let moved = SessionComparison(session(all + other), session(Array(all.prefix(4)) + other)).moved
        #expect(moved.map { "\($0.command) \($0.what)" } == ["GET calls/s"])
    }

    @Test func intervalsInWhichNoCommandRanAreFewerCalls() throws {
        var random = SystemRandom(seed: 7)
        // Both have 1,000 calls in each interval that has any: of B that is every sixth one.
        let always = rows(p50: 1000, calls: 1000, spread: 0.01, &random), seldom = [always[0], always[6]]
        let moved = SessionComparison(session(always), session(seldom)).moved
        let rate = try #require(moved.first)
        #expect(moved.count == 1 && rate.what == "calls/s")
        #expect(abs(rate.first - 1000) < 10 && abs(rate.second - 1000 / 6) < 10)
        // An interval that ended late stands for two, and a last one that was cut for none.
        var late = always
        late[3].intervalS = 2
        late[3].calls *= 2
        late[11].intervalS = 0.3
        late[11].calls = 7
        #expect(SessionComparison(session(always), session(late, duration: 12.3)).moved.isEmpty)
    }

    @Test func fewIntervalsAreSaid() {
        var random = SystemRandom(seed: 5)
        let few = Array(rows(p50: 1000, calls: 100, spread: 0, &random).prefix(3))
        let comparison = SessionComparison(session(few, duration: 3.3), session(few, duration: 3.3))
        #expect(comparison.unclear == ["GET"] && comparison.compared == 0)
    }

    @Test func aSessionIsReadBackAsItWas() throws {
        var histogram = Histogram()
        for latency: UInt64 in [3, 1000, 1_000_000, 1 << 37] { histogram.record(Nanoseconds(latency), times: latency % 7 + 1) }
        let back = Histogram(LatencyRecord(histogram))
        #expect(back.slots == histogram.slots && back.count == histogram.count && back.sum == histogram.sum)
        #expect(back.percentile(0.5) == histogram.percentile(0.5))
    }

    private func session(_ rows: [CommandRow], duration: Double = 12) -> SessionComparison.Recorded {
        SessionComparison.Recorded(rows: rows, duration: duration, interval: 1)
    }

    private func rows(p50: Double, calls: Double, spread: Double, _ random: inout SystemRandom, command: String = "GET") -> [CommandRow] {
        (10..<22).map { second in
            let factor = 1 + spread * (random.unit() - 0.5), count = UInt64(calls * (1 + spread * (random.unit() - 0.5)))
            var histogram = Histogram()
            histogram.record(Nanoseconds(UInt64(p50 * factor)), times: count)
            return CommandRow(
                time: "2026-01-02T03:04:\(second)Z", interval: Nanoseconds(1_000_000_000), pid: 7, command: CommandName(bytes: Array(command.utf8)),
                phase: .service, counts: CommandCounts(calls: count, phases: [.service: histogram])
            )
        }
    }
}

/// Numbers that are the same in each run.
private struct SystemRandom {
    var state: UInt64
    init(seed: UInt64) { state = seed }

    mutating func unit() -> Double {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return Double(state >> 11) / Double(UInt64(1) << 53)
    }
}
