/// When the weights of a session's stacks grew: by interval, and by stack and state of the wait. Stacks with other labels or bands are other stacks.
///
/// A stack that waits for its call's reply is in no sum yet, so it grows in the interval in which the call is answered, as the call's histogram does. A
/// wait grows in the interval in which it ends.
public struct SampleHistory: Sendable {
    public struct Interval: Sendable {
        /// Wall-clock time of its end, RFC 3339.
        public var time: String
        public var length: Nanoseconds
        /// Of `growth`.
        public var range: Range<Int>
    }

    /// What grows by itself: a stack on a CPU or at an event, or one state of the waits at a stack.
    public struct Series: Hashable, Sendable {
        public var key: StackTable.Key
        public var state: WaitState?

        public init(key: StackTable.Key, state: WaitState? = nil) {
            self.key = key
            self.state = state
        }
    }

    public struct Growth: Sendable {
        /// Index in `series`.
        public var series: Int
        /// Samples, nanoseconds or events, as the kind says.
        public var weight: UInt64
    }

    public private(set) var intervals: [Interval] = []
    public private(set) var growth: [Growth] = []
    public private(set) var series: [Series] = []
    /// Weights that found no room, by kind.
    public private(set) var dropped: [StackKind: UInt64] = [:]

    /// What is known of a series: its index, if it has grown, and its weight at the last reading.
    private var known: [Series: (index: Int?, weight: UInt64)] = [:]
    private let capacity: Int
    /// Where the present interval begins in `growth`.
    private var open = 0
    /// The interval that was closed last, whether it is kept or not.
    private var closed: (time: String, length: Nanoseconds)?

    /// - Parameter capacity: Of `growth`; 32 MB by default, more than 99 samples a second of a busy CPU for five hours.
    public init(capacity: Int = 1 << 21) { self.capacity = capacity }

    /// Adds what has grown to the present interval.
    public mutating func note(_ weights: [StackTable.Key: UInt64], _ waits: [StackTable.Key: WaitTimes]) {
        for (key, weight) in weights where key.kind != .waker { note(Series(key: key), weight) }
        for (key, times) in waits {
            for (state, time) in times.times { note(Series(key: key, state: state), time.count) }
        }
    }

    private mutating func note(_ one: Series, _ weight: UInt64) {
        var (index, before) = known[one] ?? (nil, 0)
        guard weight > before else { return }
        if growth.count >= capacity {
            dropped[one.key.kind, default: 0] += weight - before
        } else {
            if index == nil {
                index = series.count
                series.append(one)
            }
            growth.append(Growth(series: index ?? 0, weight: weight - before))
        }
        known[one] = (index, weight)
    }

    /// Ends the present interval, which may have growth of several readings. An interval without growth is not kept.
    public mutating func close(at time: String, length: Nanoseconds) {
        closed = (time, length)
        keepOpen(at: time, length: length)
    }

    /// Adds what has grown since an interval was closed last to that interval.
    public mutating func closeLast() {
        guard let closed else { return }
        if let last = intervals.indices.last, intervals[last].time == closed.time {
            intervals[last].range = intervals[last].range.lowerBound..<growth.count
            open = growth.count
        } else {
            keepOpen(at: closed.time, length: closed.length)
        }
    }

    private mutating func keepOpen(at time: String, length: Nanoseconds) {
        if open < growth.count { intervals.append(Interval(time: time, length: length, range: open..<growth.count)) }
        open = growth.count
    }

    /// Lets a stack's growth so far be that of another one.
    mutating func settle(_ key: StackTable.Key, as other: StackTable.Key) {
        for state in [nil] + WaitState.allCases {
            let one = Series(key: key, state: state)
            guard let (index, weight) = known[one], let index else { continue }
            series[index].key = other
            known[one] = (nil, weight)
        }
    }

    /// Gives stacks other labels.
    mutating func relabel(_ corrected: [StackTable.Key: StackTable.Key]) {
        for index in series.indices { series[index].key = corrected[series[index].key] ?? series[index].key }
    }
}
