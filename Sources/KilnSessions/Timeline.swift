/// A session's time in ticks: its intervals, of which neighbours are merged where there are more than can be drawn.
///
/// A tick is a column of a heatmap. Intervals of less than half a second without commands (`kiln record`) are drawn as FlameScope does it: a column is a
/// second, and `rows` ticks, of equal length, are its fractions; a merged column is several seconds, with as many rows.
public struct Timeline: Sendable {
    public static let mostColumns = 1_000

    public struct Tick: Equatable, Sendable {
        /// In seconds since 1970.
        public var start, end: Double
    }

    public let ticks: [Tick]
    /// Ticks in a column.
    public let rows: Int
    /// How many intervals a tick has at most; with `rows` above 1, how many seconds a column has.
    public let intervalsPerTick: Int
    /// The longest interval, in seconds.
    public let longest: Double
    private let tickByTime: [String: Int]

    /// The intervals of a session's files, each once.
    struct Intervals {
        /// By the time of their end as the files have it. The length is in seconds.
        private(set) var byTime: [String: (end: Double, length: Double)] = [:]

        /// A month of seconds.
        static let most = 3_000_000

        /// - Throws: `JSONScanner.Damage` for a time that is none.
        mutating func add(_ time: String, length: Double) throws {
            guard length >= 0, length < 1e9 else { throw JSONScanner.Damage(reason: "interval_s is \(length)") }
            if byTime[time] != nil { return }
            guard let end = WallClock.seconds(time) else { throw JSONScanner.Damage(reason: "the time \(time.prefix(40).debugDescription) is not in RFC 3339") }
            guard byTime.count < Self.most else { throw JSONScanner.Damage(reason: "there are more than \(Self.most) intervals") }
            byTime[time] = (end, length)
        }
    }

    /// - Parameters:
    ///   - mayHaveRows: The session has no commands.
    init(_ intervals: Intervals, mayHaveRows: Bool) {
        let sorted = intervals.byTime.sorted { ($0.value.end, $0.key) < ($1.value.end, $1.key) }.map {
            (time: $0.key, start: $0.value.end - $0.value.length, end: $0.value.end)
        }
        let lengths = sorted.map { $0.end - $0.start }.sorted()
        let usual = lengths.isEmpty ? 1 : max(lengths[lengths.count / 2], 1e-4)
        if mayHaveRows, usual < 0.5, let first = sorted.first, let last = sorted.last {
            self.init(sorted, from: first.start.rounded(.down), to: last.end, rows: min(Int((1 / usual).rounded()), 100))
        } else {
            self.init(sorted, usual: usual)
        }
    }

    /// A tick for each interval, however many.
    init(eachOf intervals: Intervals) {
        let sorted = intervals.byTime.sorted { ($0.value.end, $0.key) < ($1.value.end, $1.key) }
        ticks = sorted.map { Tick(start: $0.value.end - $0.value.length, end: $0.value.end) }
        (rows, intervalsPerTick) = (1, 1)
        longest = sorted.map(\.value.length).max() ?? 0
        tickByTime = Dictionary(zip(sorted.map(\.key), sorted.indices), uniquingKeysWith: { first, _ in first })
    }

    /// Columns of one tick.
    private init(_ sorted: [(time: String, start: Double, end: Double)], usual: Double) {
        var perTick = max(1, (sorted.count + Self.mostColumns - 1) / Self.mostColumns)
        var grouped: (ticks: [Tick], ofInterval: [Int])
        repeat {
            grouped = Self.grouped(sorted, perTick, usual)
            if grouped.ticks.count <= Self.mostColumns { break }
            // Silent intervals have no rows, and a tick ends at such a gap, so there may still be too many ticks.
            perTick += max(1, perTick / 8)
        } while true
        ticks = grouped.ticks
        rows = 1
        intervalsPerTick = perTick
        longest = sorted.map { $0.end - $0.start }.max() ?? 0
        tickByTime = Dictionary(zip(sorted.map(\.time), grouped.ofInterval), uniquingKeysWith: { first, _ in first })
    }

    /// Merges up to `perTick` neighbours. An interval that ends later than they would without a gap begins a new tick.
    private static func grouped(_ sorted: [(time: String, start: Double, end: Double)], _ perTick: Int, _ usual: Double) -> (ticks: [Tick], ofInterval: [Int]) {
        var ticks: [Tick] = [], ofInterval: [Int] = [], members = 0
        for interval in sorted {
            if let open = ticks.last, members < perTick, interval.end <= open.start + (Double(perTick) + 0.5) * usual {
                ticks[ticks.count - 1].end = interval.end
                members += 1
            } else {
                // Intervals that end late overlap with nobody.
                ticks.append(Tick(start: max(interval.start, ticks.last?.end ?? interval.start), end: interval.end))
                members = 1
            }
            ofInterval.append(ticks.count - 1)
        }
        return (ticks, ofInterval)
    }

    /// Columns of several ticks of equal length, without gaps.
    private init(_ sorted: [(time: String, start: Double, end: Double)], from first: Double, to last: Double, rows: Int) {
        let column = max(1, ((last - first) / Double(Self.mostColumns)).rounded(.up))
        let count = max(1, min(Int(((last - first) / column).rounded(.up)), Self.mostColumns))
        let length = column / Double(rows)
        ticks = (0..<(count * rows)).map { Tick(start: first + Double($0) * length, end: first + Double($0 + 1) * length) }
        self.rows = rows
        intervalsPerTick = Int(column)
        longest = sorted.map { $0.end - $0.start }.max() ?? 0
        var tickByTime: [String: Int] = [:]
        for interval in sorted {
            tickByTime[interval.time] = min(max(Int(((interval.start + interval.end) / 2 - first) / length), 0), count * rows - 1)
        }
        self.tickByTime = tickByTime
    }

    /// The same with two neighbouring columns as one.
    func mergedInPairs() -> Timeline {
        let pairs = stride(from: 0, to: ticks.count, by: 2).map { Tick(start: ticks[$0].start, end: ticks[min($0 + 1, ticks.count - 1)].end) }
        return Timeline(ticks: pairs, rows: rows, intervalsPerTick: 2 * intervalsPerTick, longest: longest, tickByTime: tickByTime.mapValues { $0 / 2 })
    }

    private init(ticks: [Tick], rows: Int, intervalsPerTick: Int, longest: Double, tickByTime: [String: Int]) {
        (self.ticks, self.rows, self.intervalsPerTick, self.longest, self.tickByTime) = (ticks, rows, intervalsPerTick, longest, tickByTime)
    }

    /// Of the first tick, in seconds.
    public var tickLength: Double { ticks.first.map { $0.end - $0.start } ?? 0 }

    /// The tick that has the interval that ended at this time, as the files have it.
    func tick(of time: String) -> Int? { tickByTime[time] }
}
