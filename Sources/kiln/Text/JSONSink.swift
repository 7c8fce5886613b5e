import KilnModel

/// A session as JSON lines on standard output: the rows of each interval, and at the end a line for each target with the content of
/// session.json.
struct JSONSink: Sink {
    private let output = Output.standardOutput

    func interval(_ interval: SessionInterval) throws {
        var text = interval.lines.flatMap { $0.files.flatMap(\.lines) }
        text += try jsonLines([
            IntervalEnd(
                time: interval.time.rfc3339, interval_s: interval.counts.time.seconds, lost: interval.counts.losses,
                own_cpu_s: interval.ownCPU.seconds, own_peak_rss_bytes: interval.ownPeakRSS
            )
        ])
        try output.write(text)
    }

    func end(_ result: SessionResult) throws { try output.write(jsonLines(result.records)) }

    /// The last line of an interval.
    private struct IntervalEnd: Encodable {
        var time: String
        var interval_s: Double
        var lost: [String: UInt64]
        var own_cpu_s: Double
        var own_peak_rss_bytes: UInt64
    }
}
