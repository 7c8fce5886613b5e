#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

/// An estimate of how an observer changes a percentile of single times (round trips of PING).
///
/// A window has too few times for a percentile of its own, so all times of a side are merged. The uncertainty of the ratio comes from a
/// bootstrap over the blocks (Efron 1979; `CostEstimate.order`): blocks are drawn with replacement, as many as there are, and the logarithm
/// of the ratio is computed for each draw. Times within a window depend on each other, blocks hardly. Student's quantile accounts for few
/// blocks.
public struct PercentileEstimate: ComparedSides {
    /// In nanoseconds.
    public let without, with: Double
    public let change: Double
    public let interval: ClosedRange<Double>

    /// The least number of times on each side: ten beyond the percentile.
    public static func timesNeeded(_ share: Double) -> Int { Int((10 / (1 - share)).rounded()) }

    /// `times`: in nanoseconds, by window, block by block. Nil if there are too few blocks or times.
    public init?(_ share: Double, times: [[UInt64]]) { self.init(share, times: times, draws: 1000) }

    init?(_ share: Double, times: [[UInt64]], draws: Int) {
        let size = CostEstimate.order.count, blocks = times.count / size
        guard times.count % size == 0, blocks >= CostEstimate.leastBlocks else { return nil }
        let sides = [false, true].map { watched in
            Side(
                times.enumerated().flatMap { window, times in
                    CostEstimate.order[window % size] == watched ? times.map { (time: $0, block: window / size) } : []
                })
        }
        guard sides.allSatisfy({ $0.sorted.count >= Self.timesNeeded(share) }) else { return nil }
        let once = [Int](repeating: 1, count: blocks)
        without = sides[0].percentile(share, weights: once)
        with = sides[1].percentile(share, weights: once)
        let centre = log(with / without)
        // A fixed seed, so that the same numbers give the same interval.
        var random = SplitMix(state: 1)
        let drawn = (0..<draws).map { _ in
            var weights = [Int](repeating: 0, count: blocks)
            for _ in 0..<blocks { weights[random.below(blocks)] += 1 }
            return log(sides[1].percentile(share, weights: weights) / sides[0].percentile(share, weights: weights))
        }.filter(\.isFinite)
        guard centre.isFinite, drawn.count > draws / 2 else { return nil }
        let mean = drawn.reduce(0, +) / Double(drawn.count)
        let variance = drawn.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(drawn.count - 1)
        // The variance of the draws is smaller than that of the blocks, by the factor (n - 1) / n.
        let error = (variance * Double(blocks) / Double(blocks - 1)).squareRoot()
        let half = studentQuantile(CostEstimate.confidence, freedom: blocks - 1) * error
        change = exp(centre) - 1
        interval = exp(centre - half) - 1...exp(centre + half) - 1
    }

    /// Times with their blocks, sorted once.
    private struct Side {
        let sorted: [(time: UInt64, block: Int)]

        init(_ times: [(time: UInt64, block: Int)]) { sorted = times.sorted { $0.time < $1.time } }

        /// `weights`: how often each block's times count. Returns 0 if no time counts.
        func percentile(_ share: Double, weights: [Int]) -> Double {
            let total = sorted.reduce(0) { $0 + weights[$1.block] }
            var left = Int((share * Double(total)).rounded(.up))
            for one in sorted {
                left -= weights[one.block]
                if left <= 0 { return Double(one.time) }
            }
            return 0
        }
    }
}

/// Random numbers from a seed: Steele, Lea, Flood, Fast splittable pseudorandom number generators, 2014.
private struct SplitMix {
    var state: UInt64

    mutating func below(_ bound: Int) -> Int {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return Int((mixed ^ (mixed >> 31)).multipliedFullWidth(by: UInt64(bound)).high)
    }
}
