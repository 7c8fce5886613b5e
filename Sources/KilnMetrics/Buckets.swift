import KilnModel

/// The upper bounds of a histogram's buckets. Prometheus needs them to stay the same for a process's life.
///
/// Latencies are counted in slots of `Histogram`, 16 in each power of two, and a bound may lie inside of one. A slot belongs to the first bucket whose
/// bound is not below the slot's midpoint: a cumulative count is that of a bound which is at most 1/32 away.
public struct BucketBounds: Equatable, Sendable {
    /// 1, 2, 5 from 1 us to 10 s.
    public static let standard = BucketBounds(
        uncheckedSeconds: (-6...0).flatMap { power in
            [1, 2, 5].map { Double("\($0)e\(power)") ?? 0 }
        } + [10])

    /// What is longer than the longest slot is only in the last bucket, so bounds beyond it would be wrong.
    public static let longest = 60.0
    public static let mostBounds = 64

    /// Ascending, without the last one, which is infinite.
    public let seconds: [Double]
    /// By bucket, what a line ends with before its number: `le="0.001"} `.
    let lineEnds: [[UInt8]]
    /// By slot of `Histogram`, with the overflow slot: the bucket.
    private let bucketOfSlot: [Int]

    /// - Parameter seconds: 1 to 64 bounds, ascending, more than 0 and at most 60 s. Otherwise nil.
    public init?(seconds: [Double]) {
        guard (1...Self.mostBounds).contains(seconds.count), seconds.allSatisfy({ $0 > 0 && $0 <= Self.longest }),
            zip(seconds, seconds.dropFirst()).allSatisfy({ $0 < $1 })
        else { return nil }
        self.init(uncheckedSeconds: seconds)
    }

    private init(uncheckedSeconds seconds: [Double]) {
        self.seconds = seconds
        lineEnds = (seconds + [.infinity]).map { Array("le=\"\(numberText($0))\"} ".utf8) }
        bucketOfSlot = (0...Histogram.slotCount).map { slot in
            let (lower, upper) = Histogram.range(ofSlot: slot)
            let middle = (Double(lower.count) + Double(upper.count)) / 2 / 1e9
            return slot == Histogram.slotCount ? seconds.count : seconds.firstIndex { middle <= $0 } ?? seconds.count
        }
    }

    func bucket(ofSlot slot: Int) -> Int { bucketOfSlot[slot] }
}

/// Latencies so far, by bucket.
public struct HistogramTotals: Equatable, Sendable {
    /// By bucket, not cumulative; empty: nothing was counted.
    public private(set) var buckets: [Double] = []
    /// In seconds.
    public private(set) var sum = 0.0

    public init() {}

    public var isEmpty: Bool { buckets.isEmpty }

    /// Adds latencies that were counted.
    public mutating func add(_ histogram: Histogram, _ bounds: BucketBounds) {
        add(histogram.slots, sum: Double(histogram.sum.count), bounds) { Double($0) }
    }

    /// Adds estimated latencies.
    public mutating func add(_ estimate: PhaseEstimate, _ bounds: BucketBounds) { add(estimate.slots, sum: estimate.sum, bounds) { $0 } }

    private mutating func add<Count: Numeric>(_ slots: [Count], sum nanoseconds: Double, _ bounds: BucketBounds, _ number: (Count) -> Double) {
        for (slot, count) in slots.enumerated() where count != .zero {
            if buckets.isEmpty { buckets = [Double](repeating: 0, count: bounds.lineEnds.count) }
            buckets[bounds.bucket(ofSlot: slot)] += number(count)
        }
        if !buckets.isEmpty { sum += nanoseconds / 1e9 }
    }
}
