/// Changes between two sessions that exceed noise.
///
/// The noise of a number is its variation from interval to interval within each session. A difference counts if it is more than three
/// standard errors of the two means combined; for latencies it must also exceed the resolution of the two histograms (3.1 % each). An
/// interval without calls of a command has a rate of 0 and no latency.
public struct SessionComparison: Sendable {
    public struct Row: Sendable {
        public var command: String
        /// `calls/s`, or a phase and percentile: `service p99`.
        public var what: String
        public var isRate: Bool
        public var first, second: Double
        /// Two standard errors of the difference divided by the first value.
        public var noise: Double

        /// The relative change.
        public var change: Double { first == 0 ? .infinity : second / first - 1 }

        /// One of both values: a time with its unit, or calls per second, which `what` says; small rates have a decimal.
        public func text(_ value: Double) -> String {
            guard isRate else { return "\(Nanoseconds(UInt64(saturating: value)))" }
            return value >= 9.95 || value == 0 ? grouped(UInt64(saturating: value.rounded())) : String(Double(Int(value * 10 + 0.5)) / 10)
        }
    }

    /// The largest change first.
    public let moved: [Row]
    /// The number of compared numbers.
    public let compared: Int
    /// Commands of both sessions that had calls in too few intervals.
    public let unclear: [String]
    /// Commands of only one session.
    public let onlyFirst, onlySecond: [String]

    /// With fewer intervals with samples the noise is unknown.
    public static let leastIntervals = 4
    private static let leastSamples: UInt64 = 10
    private static let resolution = 2.0 / 32

    /// The recorded commands of a session.
    public struct Recorded: Sendable {
        /// The content of commands.jsonl.
        public var rows: [CommandRow]
        /// In seconds, from session.json: the length of the session, and the interval.
        public var duration, interval: Double

        public init(rows: [CommandRow], duration: Double, interval: Double) {
            self.rows = rows
            self.duration = duration
            self.interval = interval
        }
    }

    public init(_ first: Recorded, _ second: Recorded) {
        let left = Self.series(first), right = Self.series(second)
        var moved: [Row] = [], compared = 0
        var clear: Set<String> = []
        for (key, values) in left {
            guard let others = right[key], values.count >= Double(Self.leastIntervals), others.count >= Double(Self.leastIntervals) else { continue }
            clear.insert(key.command)
            compared += 1
            let one = values.mean, two = others.mean
            let error = (one.error * one.error + two.error * two.error).squareRoot()
            let difference = abs(two.mean - one.mean)
            guard difference > 3 * error, key.isRate || difference > Self.resolution * min(one.mean, two.mean) else { continue }
            moved.append(
                Row(
                    command: key.command, what: key.what, isRate: key.isRate, first: one.mean, second: two.mean,
                    noise: one.mean == 0 ? 0 : 2 * error / one.mean
                ))
        }
        self.moved = moved.sorted { (abs($1.change), $0.command, $0.what) < (abs($0.change), $1.command, $1.what) }
        self.compared = compared
        let one = Set(first.rows.map(\.command)), two = Set(second.rows.map(\.command))
        unclear = one.intersection(two).subtracting(clear).sorted()
        onlyFirst = one.subtracting(two).sorted()
        onlySecond = two.subtracting(one).sorted()
    }

    private struct Key: Hashable {
        var command: String
        var what: String
        var isRate: Bool
    }

    /// The values of a number by interval.
    private struct Series {
        var values: [Double] = []
        /// The number of further intervals with the value 0. They are not listed, because a month has 26 million intervals.
        var zeros = 0.0

        var count: Double { Double(values.count) + zeros }

        /// The mean and its standard error.
        var mean: (mean: Double, error: Double) {
            let mean = values.reduce(0, +) / count
            let variance = values.reduce(zeros * mean * mean) { $0 + ($1 - mean) * ($1 - mean) } / (count - 1)
            return (mean, (variance / count).squareRoot())
        }
    }

    /// The values of each number by interval. The last interval of a session is left out if it is short.
    private static func series(_ session: Recorded) -> [Key: Series] {
        let whole = session.rows.filter { $0.intervalS > session.interval / 2 }
        var series: [Key: Series] = [:]
        var rates: [String: [String: Double]] = [:]
        for row in whole {
            rates[row.command, default: [:]][row.time] = Double(row.calls) / row.intervalS
            guard row.latency.count >= leastSamples else { continue }
            for (name, value) in [("p50", row.latency.p50Ns), ("p99", row.latency.p99Ns)] {
                guard let value, name == "p50" || row.latency.count >= 100 else { continue }
                series[Key(command: row.command, what: "\(row.phase) \(name)", isRate: false), default: Series()].values.append(Double(value))
            }
        }
        let times = Set(whole.map(\.time)), silent = silentIntervals(session)
        for (command, rates) in rates {
            let values = times.map { rates[$0] ?? 0 }
            series[Key(command: command, what: "calls/s", isRate: true)] = Series(values: values, zeros: silent)
        }
        return series
    }

    /// The number of intervals without commands. They have no rows, so their number comes from the session's length minus the time of the
    /// rows. Rows alone are not enough, because an interval that ended late is longer than the others.
    private static func silentIntervals(_ session: Recorded) -> Double {
        let lengths = Dictionary(session.rows.map { ($0.time, $0.intervalS) }, uniquingKeysWith: { first, _ in first })
        let intervals = ((session.duration - lengths.values.reduce(0, +)) / session.interval).rounded()
        return intervals.isFinite && intervals > 0 ? intervals : 0
    }
}
