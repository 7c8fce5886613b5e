/// The estimated calls of a command of which a part was watched. In commands.jsonl these fields stand beside the row's others.
public struct CallsEstimateRecord: Codable, Sendable, Equatable {
    /// The watched part of all requests, less than 1; 0 if nothing was watched. `calls` are those of that part.
    public var watchedShare: Double
    public var callsEstimate: UInt64
    /// The 95 % interval; absent where too little was watched to tell.
    public var callsLow, callsHigh: UInt64?

    enum CodingKeys: String, CodingKey {
        case watchedShare = "watched_share", callsEstimate = "calls_estimate", callsLow = "calls_low", callsHigh = "calls_high"
    }

    /// Nil: everything was watched.
    init?(_ estimates: Estimates?, _ key: CommandKey, counted: UInt64) {
        guard let estimates, !estimates.isExact else { return nil }
        let calls = estimates.calls(key, counted: counted)
        watchedShare = estimates.shownFraction
        callsEstimate = UInt64(saturating: calls.value.rounded())
        callsLow = calls.interval.map { UInt64(saturating: $0.lowerBound.rounded(.down)) }
        callsHigh = calls.interval.map { UInt64(saturating: $0.upperBound.rounded(.up)) }
    }
}

/// The section of session.json for a session that watched a part.
public struct WatchedRecord: Codable, Sendable {
    /// The watched part of all requests. Counts are those of that part, unless they are called estimates.
    public var share: Double
    /// Some connections were left out, so that it isn't known which command waited behind which other one.
    public var leftOutConnections: Bool

    enum CodingKeys: String, CodingKey { case share, leftOutConnections = "left_out_connections" }

    /// Nil: everything was watched.
    init?(_ estimates: Estimates) {
        guard !estimates.isExact else { return nil }
        share = estimates.shownFraction
        leftOutConnections = estimates.leavesOutConnections
    }

    /// What it means for the other numbers, a sentence each.
    public var words: [String] {
        let tenths = (share * 1000).rounded() / 10
        let part = "watched: \(tenths >= 0.1 ? "\(tenths)" : "less than 0.1") % of all requests"
        return [
            "\(part): calls and percentiles are estimates, with their 95 % interval; other counts are those of the watched part"
        ] + (leftOutConnections ? ["which command waited behind which other one is left out: that needs all connections"] : [])
    }
}

extension LatencyRecord {
    /// Counts and slots are those of the watched latencies. Percentiles are estimates for all latencies, with their 95 % intervals.
    init(_ histogram: Histogram, _ estimate: PhaseEstimate?, of estimates: Estimates?) {
        self.init(histogram)
        guard let estimate, let estimates, !estimates.isExact, count > 0 else { return }
        func percentile(_ place: Int) -> (UInt64?, low: UInt64?, high: UInt64?) {
            let (low, high) = estimate.interval(place, of: estimates)
            return (estimate.percentile(PhaseEstimate.percentiles[place])?.count, low?.count, high?.count)
        }
        (p50Ns, p50LowNs, p50HighNs) = percentile(0)
        (p90Ns, p90LowNs, p90HighNs) = percentile(1)
        (p99Ns, p99LowNs, p99HighNs) = percentile(2)
        (p999Ns, p999LowNs, p999HighNs) = percentile(3)
    }

    /// p50, p90, p99 and p99.9 with the ends of their 95 % intervals, as far as they are known.
    public var percentiles: [(value: UInt64?, low: UInt64?, high: UInt64?)] {
        [(p50Ns, p50LowNs, p50HighNs), (p90Ns, p90LowNs, p90HighNs), (p99Ns, p99LowNs, p99HighNs), (p999Ns, p999LowNs, p999HighNs)]
    }
}

/// What a table shows of a command of which a part was watched.
public struct ShownEstimate: Sendable {
    public let calls: EstimatedCount
    /// p50, p90, p99 and p99.9 of its main latency.
    public let percentiles: [Nanoseconds?]

    /// Nil: everything was watched.
    public init?(_ estimates: Estimates?, _ key: CommandKey, _ counts: CommandCounts) {
        guard let estimates, !estimates.isExact else { return nil }
        calls = estimates.calls(key, counted: counts.calls)
        let phases = estimates.commands[key]?.phases ?? [:], main = phases[.service] ?? phases[.total]
        percentiles = PhaseEstimate.percentiles.map { share in main?.percentile(share) }
    }

    public init?(_ command: SessionRecord.Command) {
        guard let estimate = command.estimate else { return nil }
        let interval = estimate.callsLow.flatMap { low in estimate.callsHigh.map { Double(low)...Double(max(low, $0)) } }
        calls = EstimatedCount(value: Double(estimate.callsEstimate), interval: interval)
        let main = command.phases["service"] ?? command.phases["total"]
        percentiles = main?.percentiles.map { $0.value.map { Nanoseconds($0) } } ?? PhaseEstimate.percentiles.map { _ in nil }
    }
}
