/// The estimated calls of a command of which a part was watched. In commands.jsonl these fields stand beside the row's others.
public struct CallsEstimateRecord: Codable, Sendable, Equatable {
    /// The watched part of the time and of the connections, less than 1; 0 if nothing was watched. `calls` are those of that part.
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

extension EstimatedCount {
    /// As it is recorded.
    public init(_ record: CallsEstimateRecord) {
        let interval = record.callsLow.flatMap { low in record.callsHigh.map { Double(low)...Double(max(low, $0)) } }
        self.init(value: Double(record.callsEstimate), interval: interval)
    }
}

/// The section of session.json for a session that watched a part.
public struct WatchedRecord: Codable, Sendable {
    /// The watched part of the time and of the connections. Counts are those of that part, unless they are called estimates.
    public var share: Double
    /// In some intervals connections were left out, so that it isn't known which command waited behind which other one in them.
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
        let tenths = (share * 1000).rounded() / 10, whole = Estimates.whole(leavesOutConnections: leftOutConnections)
        let part = "watched: \(tenths >= 0.1 ? "\(tenths)" : "less than 0.1") % of \(whole)"
        let waits = "which command waited behind which other one is known for the intervals in which all connections were watched; the others are left out"
        return [
            "\(part): calls and percentiles are estimates, with their 95 % interval; other counts, except those of system calls and samples, are those of the watched part"
        ] + (leftOutConnections ? [waits] : [])
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
        // The middle of the longest latency's slot may be beyond it.
        func atMost(_ value: UInt64?) -> UInt64? { value.map { min($0, maxNs) } }
        (p50Ns, p90Ns, p99Ns, p999Ns) = (atMost(p50Ns), atMost(p90Ns), atMost(p99Ns), atMost(p999Ns))
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
        calls = EstimatedCount(estimate)
        let main = command.phases["service"] ?? command.phases["total"]
        percentiles = main?.percentiles.map { $0.value.map { Nanoseconds($0) } } ?? PhaseEstimate.percentiles.map { _ in nil }
    }
}
