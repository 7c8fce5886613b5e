/// What moved between two sessions beyond noise.
///
/// A number's noise is taken from how it varied from interval to interval within each session: a difference counts where it
/// is more than three standard errors of the two means together, and for latencies more than the histogram can tell apart
/// (3.1 % each). An interval without calls of a command has a rate of 0 and no latency.
public struct SessionComparison: Sendable {
    public struct Row: Sendable {
        public var command: String
        /// `calls/s`, or a phase and percentile: `service p99`.
        public var what: String
        public var isRate: Bool
        public var first, second: Double
        /// Two standard errors of the difference over the first value.
        public var noise: Double

        /// The relative change.
        public var change: Double { first == 0 ? .infinity : second / first - 1 }
    }

    /// The largest change first.
    public let moved: [Row]
    /// How many numbers were compared.
    public let compared: Int
    /// Commands of both that had too few intervals with calls to compare.
    public let unclear: [String]
    /// Commands of one session alone.
    public let onlyFirst, onlySecond: [String]

    /// Below that many intervals with samples nothing can be said of noise.
    public static let leastIntervals = 4
    private static let leastSamples: UInt64 = 10
    private static let resolution = 2.0 / 32

    /// The rows of commands.jsonl of both.
    public init(_ first: [CommandRow], _ second: [CommandRow]) {
        let left = Self.series(first), right = Self.series(second)
        var moved: [Row] = [], compared = 0
        var clear: Set<String> = []
        for (key, values) in left {
            guard let others = right[key], values.count >= Self.leastIntervals, others.count >= Self.leastIntervals else { continue }
            clear.insert(key.command)
            compared += 1
            let one = Self.mean(values), two = Self.mean(others)
            let error = (one.error * one.error + two.error * two.error).squareRoot()
            let difference = abs(two.mean - one.mean)
            guard difference > 3 * error, key.isRate || difference > Self.resolution * min(one.mean, two.mean) else { continue }
            moved.append(Row(
                command: key.command, what: key.what, isRate: key.isRate, first: one.mean, second: two.mean,
                noise: one.mean == 0 ? 0 : 2 * error / one.mean
            ))
        }
        self.moved = moved.sorted { (abs($1.change), $0.command, $0.what) < (abs($0.change), $1.command, $1.what) }
        self.compared = compared
        let one = Set(first.map(\.command)), two = Set(second.map(\.command))
        unclear = one.intersection(two).subtracting(clear).sorted()
        onlyFirst = one.subtracting(two).sorted()
        onlySecond = two.subtracting(one).sorted()
    }

    private struct Key: Hashable {
        var command: String
        var what: String
        var isRate: Bool
    }

    /// Each number's value in each interval; a session's last interval, which is cut, is left out where it is short.
    private static func series(_ rows: [CommandRow]) -> [Key: [Double]] {
        let usual = rows.map(\.intervalS).max() ?? 0
        let whole = rows.filter { $0.intervalS > usual / 2 }
        var series: [Key: [Double]] = [:]
        var rates: [String: [String: Double]] = [:]
        for row in whole {
            rates[row.command, default: [:]][row.time] = Double(row.calls) / row.intervalS
            guard row.latency.count >= leastSamples else { continue }
            for (name, value) in [("p50", row.latency.p50Ns), ("p99", row.latency.p99Ns)] {
                guard let value, name == "p50" || row.latency.count >= 100 else { continue }
                series[Key(command: row.command, what: "\(row.phase) \(name)", isRate: false), default: []].append(Double(value))
            }
        }
        // As known by any command: intervals without any are not.
        let times = Set(whole.map(\.time))
        for (command, rates) in rates {
            series[Key(command: command, what: "calls/s", isRate: true)] = times.map { rates[$0] ?? 0 }
        }
        return series
    }

    /// Mean and its standard error.
    private static func mean(_ values: [Double]) -> (mean: Double, error: Double) {
        let mean = values.reduce(0, +) / Double(values.count)
        let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count - 1)
        return (mean, (variance / Double(values.count)).squareRoot())
    }
}
