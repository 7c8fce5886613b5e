#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

/// The values of a measure without and with an observer.
public protocol ComparedSides {
    var without: Double { get }
    var with: Double { get }
    /// The relative change: 0.1 is 10 % more.
    var change: Double { get }
    var interval: ClosedRange<Double> { get }
}

/// An estimate of how much an observer increases a number, from windows with and without it on the same traffic.
///
/// Windows come in blocks of four: without, with, with, without. A steady drift of the traffic or the machine cancels within a block, so a
/// block is one observation: the mean logarithm of its windows with the observer minus that of its windows without. The interval is
/// Student's over the blocks. Its level is 99 %, because blocks are not quite independent of each other, and at least 19 of 20 intervals
/// should contain the true value.
public struct CostEstimate: ComparedSides, Sendable {
    /// The windows of a block in order; true: with the observer.
    public static let order = [false, true, true, false]
    /// With fewer blocks their noise is unknown.
    public static let leastBlocks = 4
    public static let confidence = 0.99

    public let blocks: Int
    /// Geometric means of all windows, in the unit of the windows' values.
    public let without, with: Double
    /// The relative change: 0.1 is 10 % more.
    public let change: Double
    public let interval: ClosedRange<Double>
    /// Standard deviation of a block's logarithm.
    let deviation: Double

    /// `windows`: the value of each window, block by block. Nil if there are too few blocks, or if the value of a window is not positive.
    public init?(windows: [Double]) {
        let size = Self.order.count
        guard windows.count % size == 0, windows.count / size >= Self.leastBlocks, windows.allSatisfy({ $0 > 0 && $0.isFinite }) else { return nil }
        let logarithms = windows.map { log($0) }
        func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(values.count) }
        func mean(_ values: ArraySlice<Double>, watched: Bool) -> Double {
            mean(zip(values, Self.order).filter { $1 == watched }.map { $0.0 })
        }
        let observations = stride(from: 0, to: windows.count, by: size).map { start in
            let block = logarithms[start..<start + size]
            return (without: mean(block, watched: false), with: mean(block, watched: true))
        }
        blocks = observations.count
        without = exp(mean(observations.map(\.without)))
        with = exp(mean(observations.map(\.with)))
        let differences = observations.map { $0.with - $0.without }, centre = mean(differences)
        deviation = (differences.reduce(0) { $0 + ($1 - centre) * ($1 - centre) } / Double(blocks - 1)).squareRoot()
        let half = Self.halfWidth(deviation, blocks: blocks)
        change = exp(centre) - 1
        interval = exp(centre - half) - 1...exp(centre + half) - 1
    }

    /// The absolute increase. Its interval is that of the relative change, scaled.
    public var added: Double { without * change }
    public var addedInterval: ClosedRange<Double> { without * interval.lowerBound...without * interval.upperBound }

    /// The larger distance from the change to a bound of its interval.
    public var uncertainty: Double { max(interval.upperBound - change, change - interval.lowerBound) }

    /// Whether the interval is narrow enough: within `precision`, or within a quarter of the change if that is more.
    public func isConclusive(precision: Double) -> Bool { uncertainty <= max(precision, abs(change) / 4) }

    /// The number of blocks that would make the interval narrow enough with the present noise; nil if it exceeds `most`.
    public func blocksWanted(precision: Double, most: Int) -> Int? {
        // The upper bound lies farther from the change than the lower one.
        let half = log((1 + change + max(precision, abs(change) / 4)) / (1 + change))
        guard most >= Self.leastBlocks, Self.halfWidth(deviation, blocks: most) <= half else { return nil }
        // Bisection: each additional block makes the interval narrower.
        var few = Self.leastBlocks, enough = most
        while few < enough {
            let middle = (few + enough) / 2
            if Self.halfWidth(deviation, blocks: middle) <= half { enough = middle } else { few = middle + 1 }
        }
        return enough
    }

    static func halfWidth(_ deviation: Double, blocks: Int) -> Double {
        deviation == 0 ? 0 : studentQuantile(confidence, freedom: blocks - 1) * deviation / Double(blocks).squareRoot()
    }
}

/// The t that |T| of Student's distribution doesn't exceed with this probability.
func studentQuantile(_ probability: Double, freedom: Int) -> Double {
    // Beyond 500, the normal distribution differs by less than 0.3 %, and the series would be long.
    let freedom = min(freedom, 500)
    var low = 0.0, high = 1.0
    while studentProbability(high, freedom: freedom) < probability { high *= 2 }
    for _ in 0..<60 {
        let middle = (low + high) / 2
        if studentProbability(middle, freedom: freedom) < probability { low = middle } else { high = middle }
    }
    return high
}

/// P(|T| <= t) for integer degrees of freedom: the finite series of Abramowitz and Stegun, 26.7.3 and 26.7.4.
private func studentProbability(_ t: Double, freedom: Int) -> Double {
    let angle = atan(t / Double(freedom).squareRoot()), cosine = cos(angle), isOdd = freedom % 2 == 1
    var term = isOdd ? cosine : 1.0, sum = freedom == 1 ? 0 : term
    var factor = isOdd ? 2 : 1
    while factor + 1 < freedom {
        term *= Double(factor) / Double(factor + 1) * cosine * cosine
        sum += term
        factor += 2
    }
    return isOdd ? 2 / Double.pi * (angle + sin(angle) * sum) : sin(angle) * sum
}
