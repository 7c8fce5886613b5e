import KilnModel
import Testing

@testable import KilnMetrics

struct ExpositionTests {
    private func text(_ body: (inout Exposition) -> Void) -> String {
        var text = Exposition()
        body(&text)
        return String(decoding: text.bytes, as: UTF8.self)
    }

    @Test func writesNumbersAsOtherExportersDo() {
        let numbers: [(Double, String)] = [
            (0, "0"), (1, "1"), (1e15, "1000000000000000"), (1.5, "1.5"), (-2, "-2"), (.nan, "NaN"), (.infinity, "+Inf"), (-.infinity, "-Inf"), (1e-6, "1e-06"),
        ]
        for (number, expected) in numbers {
            let written = text {
                $0.metric("a", .gauge, "b")
                $0.sample(Labels(), number)
            }
            #expect(written == "# HELP a b\n# TYPE a gauge\na \(expected)\n")
        }
    }

    @Test func hostileNamesStayInTheirQuotes() {
        let written = text {
            $0.metric("a_total", .counter, "one\\two\nthree")
            $0.sample(Labels(["command": "x\"} 1\ny\\", "error": "\u{1b}[2J\u{202e}"]), 3)
        }
        #expect(
            written
                == "# HELP a_total one\\\\two\\nthree\n# TYPE a_total counter\na_total{command=\"x\\\"} 1\\\\ny\\\\\",error=\"\\\\x1b[2J\\\\u{202e}\"} 3\n")
    }

    @Test func bucketsAreOneTwoFive() {
        #expect(BucketBounds.standard.seconds.map(numberText).prefix(4) == ["1e-06", "2e-06", "5e-06", "1e-05"])
        #expect(BucketBounds.standard.seconds.suffix(5) == [0.5, 1, 2, 5, 10] && BucketBounds.standard.seconds.count == 22)
    }

    @Test(arguments: [[], [0], [-1], [1, 1], [2, 1], [61], [.nan], [.infinity], Array(repeating: 1.0, count: 65)] as [[Double]])
    func refusesBounds(_ seconds: [Double]) { #expect(BucketBounds(seconds: seconds) == nil) }

    /// Each slot is in the bucket of its midpoint, so that a cumulative count is that of a bound at most 1/32 away.
    @Test func cumulativeCountsAreRightToWithinASlot() throws {
        let bounds = try #require(BucketBounds(seconds: [5e-6, 1e-3, 0.5]))
        var histogram = Histogram(), latencies: [UInt64] = []
        for step in 0..<4_000 { latencies.append(UInt64(1_000 * (1.005 * Double(step) / 250 + 1) * Double(1 + step * step / 40))) }
        for latency in latencies { histogram.record(Nanoseconds(latency)) }
        var totals = HistogramTotals()
        totals.add(histogram, bounds)
        totals.add(histogram, bounds)
        var sum = 0.0
        for (bound, count) in zip(bounds.seconds, totals.buckets) {
            sum += count
            let low = latencies.count { Double($0) < bound * 1e9 * (1 - 1.0 / 31) }, high = latencies.count { Double($0) < bound * 1e9 * (1 + 1.0 / 31) }
            #expect((2 * low...2 * high).contains(Int(sum)), "\(bound)")
        }
        #expect(totals.buckets.reduce(0, +) == 8_000)
        #expect(abs(totals.sum - 2 * Double(latencies.reduce(0, +)) / 1e9) < 1e-6)
        let written = text {
            $0.metric("t_seconds", .histogram, "h")
            $0.histogram(Labels(["phase": "exec"]), totals, bounds)
        }
        let lines = written.split(separator: "\n").dropFirst(2)
        #expect(lines.count == 6 && lines.last == "t_seconds_count{phase=\"exec\"} 8000")
        #expect(lines.dropFirst(3).first == "t_seconds_bucket{phase=\"exec\",le=\"+Inf\"} 8000")
    }

    @Test func whatIsBeyondTheHistogramIsOnlyInTheLastBucket() throws {
        let bounds = try #require(BucketBounds(seconds: [60]))
        var histogram = Histogram(), totals = HistogramTotals()
        histogram.record(Nanoseconds(70_000_000_000))
        totals.add(histogram, bounds)
        #expect(totals.buckets == [0, 1])
    }
}

struct RedisTotalsTests {
    private func interval(_ calls: [String: UInt64], process: Int = 0) -> Snapshot {
        var snapshot = Snapshot(time: Nanoseconds(1_000_000_000))
        for (name, count) in calls {
            var latencies = Histogram()
            latencies.record(Nanoseconds(1_500), times: count)
            snapshot.commands[CommandKey(process: process, name: CommandName(asked: name))] = CommandCounts(calls: count, phases: [.service: latencies])
        }
        return snapshot
    }

    private func text(_ servers: [RedisTotals]) -> String {
        var text = Exposition()
        RedisMetrics.write(servers, .standard, to: &text)
        return String(decoding: text.bytes, as: UTF8.self)
    }

    @Test func addsUpTheIntervalsOfItsProcess() {
        var totals = RedisTotals(instance: "h:1", bounds: .standard)
        totals.add(interval(["get": 3]), process: 0) { "\($0)" }
        totals.add(interval(["get": 4, "set": 1]), process: 0) { "\($0)" }
        totals.add(interval(["get": 100], process: 1), process: 0) { "\($0)" }
        let written = text([totals])
        #expect(written.contains("kiln_redis_commands_total{command=\"GET\",instance=\"h:1\"} 7\n"))
        #expect(written.contains("kiln_redis_commands_total{command=\"SET\",instance=\"h:1\"} 1\n"))
        #expect(written.contains("kiln_redis_command_duration_seconds_bucket{command=\"GET\",phase=\"service\",instance=\"h:1\",le=\"1e-06\"} 0\n"))
        #expect(written.contains("kiln_redis_command_duration_seconds_bucket{command=\"GET\",phase=\"service\",instance=\"h:1\",le=\"2e-06\"} 7\n"))
        #expect(written.contains("kiln_watched_ratio{instance=\"h:1\"} 1\n") && written.contains("kiln_watched_seconds_total{instance=\"h:1\"} 3\n"))
    }

    @Test func estimatesReplaceCounts() {
        var estimator = SliceEstimator(), snapshot = interval(["get": 10])
        estimator.add(WatchedSlice(length: 0.5, fraction: 0.25), counts: interval(["get": 4]).commands)
        estimator.add(WatchedSlice(length: 0.5, fraction: 0.25, slowing: 0.5), counts: interval(["get": 6]).commands)
        snapshot[Estimates.self] = estimator.estimates
        snapshot.commands[CommandKey(process: 0, name: CommandName(asked: "get"))]?.errorWords = ["ERR": 2]
        snapshot.clients[ClientKey(process: 0, address: "10.0.0.1")] = ClientCounts(commands: 10, receivedBytes: 100, sentBytes: 50)
        var totals = RedisTotals(instance: "h:1", bounds: .standard)
        totals.add(snapshot, process: 0) { "\($0)" }
        let written = text([totals])
        #expect(written.contains("kiln_redis_commands_total{command=\"GET\",instance=\"h:1\"} 40\n"))
        #expect(written.contains("kiln_redis_command_duration_seconds_count{command=\"GET\",phase=\"service\",instance=\"h:1\"} 40\n"))
        #expect(written.contains("kiln_redis_errors_total{command=\"GET\",error=\"ERR\",instance=\"h:1\"} 8\n"))
        #expect(written.contains("kiln_redis_received_bytes_total{instance=\"h:1\"} 400\n") && written.contains("kiln_watched_ratio{instance=\"h:1\"} 0.25\n"))
        let variance = written.split(separator: "\n").first { $0.hasPrefix("kiln_redis_commands_variance_total{") }?.split(separator: " ").last
        #expect((variance.flatMap { Double($0) } ?? 0) > 0)
        #expect(written.contains("kiln_redis_commands_held_total{command=\"GET\",instance=\"h:1\"} 9\n"))
    }

    /// Of clients that invent commands, errors and pairs, the number of series stays bounded, and no count is lost.
    @Test func seriesAreBounded() {
        var totals = RedisTotals(instance: "h:1", bounds: .standard)
        for round in 0..<3 {
            var snapshot = interval(Dictionary(uniqueKeysWithValues: (0..<2_000).map { ("made-up-\(round)-\($0)", 1) }))
            for (key, _) in snapshot.commands { snapshot.commands[key]?.errorWords = ["E\(key.name)": 1] }
            for place in 0..<2_000 {
                let name = CommandName(asked: "b\(round)-\(place)")
                snapshot.waits[WaitKey(process: 0, blocker: name, blocked: name)] = WaitCounts(times: 1, wait: Nanoseconds(1_000_000))
            }
            totals.add(snapshot, process: 0) { "\($0)" }
        }
        #expect(totals.calls == 6_000 && totals.errors == 6_000)
        let lines = text([totals]).split(separator: "\n")
        func series(_ name: String) -> [Substring] { lines.filter { $0.hasPrefix(name + "{") } }
        #expect(series("kiln_redis_commands_total").count == 513 && series("kiln_redis_errors_total").count <= 513 + 2 * 64)
        #expect(series("kiln_redis_blocked_waits_total").count == 1025)
        #expect(series("kiln_redis_blocked_waits_total").reduce(0.0) { $0 + (Double($1.split(separator: " ").last ?? "") ?? 0) } == 6_000)
    }

    @Test func aScrapeOfTwoHundredCommandsIsQuick() {
        var totals = RedisTotals(instance: "h:1", bounds: .standard)
        var snapshot = interval(Dictionary(uniqueKeysWithValues: (0..<200).map { ("command-\($0)", 1) }))
        for (key, counts) in snapshot.commands {
            for phase in Phase.allCases { snapshot.commands[key]?.phases[phase] = counts.phases[.service] }
        }
        totals.add(snapshot, process: 0) { "\($0)" }
        let clock = ContinuousClock(), best = (0..<5).map { _ in clock.measure { _ = text([totals]) } }.min() ?? .zero
        // The aim is 10 ms of a release build; this leaves room for a busy machine.
        #expect(best < .milliseconds(100), "\(best)")
    }
}
