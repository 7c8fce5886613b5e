import Glibc
import TestSupport
import Testing

@testable import KilnModel

private let get = CommandKey(process: 0, name: CommandName(recorded: "GET"))

/// Traffic that varies, watched in part: what is estimated is held against what happened.
struct EstimateTests {
    /// One interval of a session: `slices` slices of a quarter of a second. What happened, and estimates of it.
    private struct Watched {
        var truth = 0.0
        var latencies: [Double] = []
        var estimates = Estimates()
        var counted: UInt64 = 0
    }

    /// Each slice has a rate and a level of latency of its own, and of its calls those of a random part are watched, in clumps: a connection's, or a
    /// window's.
    private func watch(_ slices: Int, fraction: Double, clumps: Int, timed: Bool, _ random: inout SeededGenerator) -> Watched {
        var watched = Watched(), estimator = SliceEstimator()
        for _ in 0..<slices {
            let level = exp(Double.random(in: -0.3...0.3, using: &random))
            var counts = CommandCounts()
            for _ in 0..<clumps {
                let calls = Int.random(in: 0...20, using: &random), pace = exp(Double.random(in: -0.5...0.5, using: &random))
                let isWatched = Double.random(in: 0..<1, using: &random) < fraction
                if !timed, isWatched { counts.calls += UInt64(calls) }
                for _ in 0..<(timed ? calls : 0) {
                    let latency = 10_000 * level * pace * exp(Double.random(in: -1...1, using: &random))
                    watched.latencies.append(latency)
                    guard isWatched else { continue }
                    counts.calls += 1
                    counts.phases[.service, default: Histogram()].record(Nanoseconds(UInt64(latency)))
                }
                watched.truth += Double(calls)
            }
            watched.counted += counts.calls
            estimator.add(WatchedSlice(length: 0.25, fraction: fraction, leavesOutConnections: true), counts: [get: counts])
        }
        watched.estimates = estimator.estimates
        watched.latencies.sort()
        return watched
    }

    @Test(arguments: [0.5, 1.0 / 8, 1.0 / 32], [4, 16, 60])
    func nineteenOfTwentyIntervalsContainWhatHappened(fraction: Double, slices: Int) throws {
        var random = SeededGenerator(seed: 1), calls = 0, sum = 0.0, truth = 0.0
        let rounds = 200
        for _ in 0..<rounds {
            let watched = watch(slices, fraction: fraction, clumps: 64, timed: false, &random)
            let estimate = watched.estimates.calls(get, counted: watched.counted)
            if try #require(estimate.interval).contains(watched.truth) { calls += 1 }
            sum += estimate.value
            truth += watched.truth
        }
        #expect(calls >= rounds * 93 / 100, "\(calls) of \(rounds)")
        #expect(abs(sum / truth - 1) < 0.05, "the mean estimate is \(sum / truth) of what happened")
    }

    @Test(arguments: [0.5, 1.0 / 8], [16, 60])
    func percentilesLieInTheirIntervals(fraction: Double, slices: Int) throws {
        var random = SeededGenerator(seed: 2), held = [0, 0, 0], known = [0, 0, 0]
        for _ in 0..<40 {
            let watched = watch(slices, fraction: fraction, clumps: 24, timed: true, &random)
            let phase = try #require(watched.estimates.commands[get]?.phases[.service])
            for (place, share) in PhaseEstimate.percentiles.prefix(3).enumerated() {
                let truth = watched.latencies[Int(share * Double(watched.latencies.count))], interval = phase.interval(place, of: watched.estimates)
                known[place] += 1
                if Double(interval.low?.count ?? 0) <= truth, truth <= Double(interval.high?.count ?? .max) { held[place] += 1 }
                let value = try #require(phase.percentile(share))
                #expect(Double(interval.low?.count ?? 0) <= Double(value.count) && value.count <= interval.high?.count ?? .max)
            }
        }
        for place in held.indices { #expect(held[place] * 100 >= known[place] * 90, "percentile \(place): \(held[place]) of \(known[place])") }
    }

    @Test func aSessionThatWatchedEverythingIsExact() {
        var estimator = SliceEstimator()
        estimator.add(WatchedSlice(length: 3, fraction: 1), counts: [get: CommandCounts(calls: 1_234)])
        #expect(estimator.estimates.isExact && estimator.estimates.fraction == 1)
        #expect(estimator.estimates.calls(get, counted: 1_234) == EstimatedCount(value: 1_234, interval: 1_234...1_234))
    }

    /// An exact part adds to the estimate, and nothing to its variance.
    @Test func whatWasCountedExactlyIsAtLeastPartOfTheEstimate() throws {
        var estimator = SliceEstimator()
        for calls: UInt64 in [100, 110, 90] { estimator.add(WatchedSlice(length: 0.25, fraction: 0.1), counts: [get: CommandCounts(calls: calls)]) }
        let sampled = estimator.estimates.calls(get, counted: 300)
        #expect(sampled.value == 3_000)
        let sampledScatter = estimator.estimates.commands[get]?.scatter
        // Rates of 4,000, 4,400 and 3,600 a second; three slices of a quarter of a second, of which a tenth was watched.
        #expect(sampledScatter == Scatter(variance: 0.9 * 3 / 16 * (400 * 400 + 800 * 800) / 2 / 2, differences: 2))
        estimator.add(WatchedSlice(length: 60, fraction: 1), counts: [get: CommandCounts(calls: 1_000_000)])
        let estimates = estimator.estimates, both = estimates.calls(get, counted: 1_000_300)
        #expect(both.value == 1_003_000 && estimates.commands[get]?.scatter == sampledScatter)
        #expect(try #require(both.interval).lowerBound >= 1_000_300)
        // Of the exact part alone.
        var before = SliceEstimator()
        for calls: UInt64 in [100, 110, 90] { before.add(WatchedSlice(length: 0.25, fraction: 0.1), counts: [get: CommandCounts(calls: calls)]) }
        #expect(estimates.since(before.estimates).isExact)
    }

    @Test func oneSliceTellsNoInterval() {
        var estimator = SliceEstimator()
        estimator.add(WatchedSlice(length: 0.25, fraction: 0.1), counts: [get: CommandCounts(calls: 10)])
        #expect(estimator.estimates.calls(get, counted: 10) == EstimatedCount(value: 100, interval: nil))
    }

    /// A command that was not seen at all may have been called: the interval says how often.
    @Test func noneSeenIsNotNone() throws {
        var estimator = SliceEstimator()
        for calls: UInt64 in [0, 0, 1, 0] + Array(repeating: 0, count: 40) {
            estimator.add(WatchedSlice(length: 0.25, fraction: 0.1), counts: [get: CommandCounts(calls: calls)])
        }
        let whole = estimator.estimates, interval = try #require(whole.calls(get, counted: 1).interval)
        #expect(interval.lowerBound == 1 && interval.upperBound > 20)
    }

    @Test func aTimeWithoutAWindowIsTakenToBeAsTheOneBefore() {
        var estimator = SliceEstimator()
        for _ in 0..<4 { estimator.add(WatchedSlice(length: 0.25, fraction: 0.5), counts: [get: CommandCounts(calls: 50)]) }
        estimator.extend(by: 0.125)
        #expect(estimator.estimates.time == 1.125 && estimator.estimates.calls(get, counted: 200).value == 450)
    }

    /// Differences of sums of many slices are what they would be without rounding.
    @Test func anIntervalHasNothingOfTheSlicesBefore() {
        var estimator = SliceEstimator(), random = SeededGenerator(seed: 3)
        for _ in 0..<5_000 {
            let slice = WatchedSlice(
                length: .random(in: 0.05...0.3, using: &random), fraction: .random(in: 0.02...0.9, using: &random), leavesOutConnections: true)
            estimator.add(slice, counts: [get: CommandCounts(calls: 7)])
        }
        let before = estimator.estimates
        for length in [0.2503, 1.7, 0.001] {
            estimator.extend(by: length)
            let interval = estimator.estimates.since(before)
            #expect(interval.fraction == 0 && !interval.isExact && interval.calls(get, counted: 0).interval == nil)
        }
        let last = estimator.estimates
        estimator.add(WatchedSlice(length: 0.2503, fraction: 1), counts: [:])
        let interval = estimator.estimates.since(last)
        #expect(interval.isExact && interval.fraction == 1 && !interval.leavesOutConnections && estimator.estimates.leavesOutConnections)
    }

    /// Those of intervals in which a share of the connections was watched are not known.
    @Test func waitsAreThoseOfTheTimeWithAllConnections() {
        var estimator = SliceEstimator(), known = KnownWaits(), snapshot = Snapshot(time: .zero)
        let key = WaitKey(process: 0, blocker: get.name, blocked: get.name)
        func times(_ times: UInt64, _ slices: [WatchedSlice]) -> UInt64? {
            for slice in slices { estimator.add(slice, counts: [:]) }
            snapshot[Estimates.self] = estimator.estimates
            snapshot.waits[key] = WaitCounts(times: times, wait: Nanoseconds(times * 10))
            return known.added(snapshot)[key]?.times
        }
        let whole = WatchedSlice(length: 0.25, fraction: 1), window = WatchedSlice(length: 0.25, fraction: 0.1)
        let share = WatchedSlice(length: 0.25, fraction: 0.5, leavesOutConnections: true)
        #expect(times(3, [share]) == nil && times(5, [whole]) == 2 && times(9, [whole, share]) == 2 && times(10, [window]) == 3 && times(17, []) == 10)
        #expect(known.added(snapshot)[key]?.wait == Nanoseconds(100))
    }

    /// A command that comes up in the last part of a session, of which no window was whole.
    @Test func anIntervalOfWhichNothingWasWatchedHasNoInterval() {
        var estimator = SliceEstimator()
        for _ in 0..<4 { estimator.add(WatchedSlice(length: 0.25, fraction: 0.5), counts: [get: CommandCounts(calls: 50)]) }
        let before = estimator.estimates, info = CommandKey(process: 0, name: CommandName(recorded: "INFO"))
        estimator.extend(by: 0.125)
        let last = estimator.estimates.since(before)
        #expect(last.fraction == 0 && !last.isExact)
        #expect(last.calls(info, counted: 1) == EstimatedCount(value: 1, interval: nil))
        #expect(last.calls(get, counted: 3) == EstimatedCount(value: 50, interval: nil))
    }

    @Test func rowsSayWhatIsEstimated() throws {
        var estimator = SliceEstimator()
        for calls: UInt64 in [10, 12, 11, 9] {
            var counts = CommandCounts(calls: calls)
            counts.phases[.service] = Histogram()
            counts.phases[.service]?.record(Nanoseconds(5_000), times: calls)
            estimator.add(WatchedSlice(length: 0.25, fraction: 0.25), counts: [get: counts])
        }
        var counts = CommandCounts(calls: 42)
        counts.phases[.service] = Histogram()
        counts.phases[.service]?.record(Nanoseconds(5_000), times: 42)
        let row = CommandRow(
            time: "t", interval: Nanoseconds(1_000_000_000), pid: 1, command: get.name, phase: .service, counts: counts, estimator.estimates, get)
        #expect(row.calls == 42 && row.latency.count == 42)
        let estimate = try #require(row.estimate)
        #expect(estimate.callsEstimate == 168 && estimate.watchedShare == 0.25)
        #expect(try #require(estimate.callsLow) < 168 && #require(estimate.callsHigh) > 168)
        #expect(row.latency.p50LowNs != nil && row.latency.p50HighNs != nil)
        let exact = CommandRow(time: "t", interval: Nanoseconds(1_000_000_000), pid: 1, command: get.name, phase: .service, counts: counts)
        #expect(exact.estimate == nil && exact.latency.p50LowNs == nil)
    }

    /// Windows see a busy server while watching slows it: the upper end has room for what it does besides, the estimate itself hasn't.
    @Test func theServerMayBeFasterWhileNothingIsWatched() throws {
        func interval(slowing: Double) throws -> (value: Double, interval: ClosedRange<Double>) {
            var estimator = SliceEstimator()
            for calls: UInt64 in [100, 110, 90] {
                estimator.add(WatchedSlice(length: 0.25, fraction: 0.2, slowing: slowing), counts: [get: CommandCounts(calls: calls)])
            }
            let estimate = estimator.estimates.calls(get, counted: 300)
            return (estimate.value, try #require(estimate.interval))
        }
        let plain = try interval(slowing: 0), slowed = try interval(slowing: 0.1)
        #expect(plain.value == 1500 && slowed.value == 1500)
        #expect(slowed.interval.lowerBound == plain.interval.lowerBound)
        #expect(abs(slowed.interval.upperBound - plain.interval.upperBound - 1500 * 0.8 * 0.1) < 1e-6)
    }
}
