#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

/// A number without and with something that watches.
public protocol ComparedSides {
    var without: Double { get }
    var with: Double { get }
    /// Relative: 0.1 is 10 % more.
    var change: Double { get }
    var interval: ClosedRange<Double> { get }
}

/// How much a number grows when something watches, from windows with and without it on the same traffic.
///
/// Windows come in blocks of four: without, with, with, without. A steady drift of traffic or machine cancels within a block, so
/// a block is one observation: the mean logarithm of its windows with, less that of its windows without. The interval is
/// Student's over the blocks. 99 %: blocks are not quite independent of each other, and 19 of 20 intervals are to hold the truth.
public struct CostEstimate: ComparedSides, Sendable {
    /// A block's windows in their order.
    public static let order = [false, true, true, false]
    /// Below that many blocks nothing can be said of their noise.
    public static let leastBlocks = 4
    public static let confidence = 0.99

    public let blocks: Int
    /// Geometric means of all windows, in the unit of what was measured.
    public let without, with: Double
    /// The relative change: 0.1 is 10 % more.
    public let change: Double
    public let interval: ClosedRange<Double>
    /// Standard deviation of a block's logarithm.
    let deviation: Double

    /// `windows`: what was measured in each window, block by block. nil: too few blocks, or a window that measured nothing.
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

    /// What is added to the number without; the interval is the relative one's, scaled.
    public var added: Double { without * change }
    public var addedInterval: ClosedRange<Double> { without * interval.lowerBound...without * interval.upperBound }

    /// The larger distance from the change to an end of its interval.
    public var uncertainty: Double { max(interval.upperBound - change, change - interval.lowerBound) }

    /// Whether the interval is narrow enough: within `precision`, or a quarter of the change where that is more.
    public func isConclusive(precision: Double) -> Bool { uncertainty <= max(precision, abs(change) / 4) }

    /// How many blocks would be, with the noise seen so far; nil: more than `most`.
    public func blocksWanted(precision: Double, most: Int) -> Int? {
        // The upper end lies farther from the change than the lower one.
        let half = log((1 + change + max(precision, abs(change) / 4)) / (1 + change))
        guard most >= Self.leastBlocks, Self.halfWidth(deviation, blocks: most) <= half else { return nil }
        // Each block more makes the interval narrower.
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
    // Beyond, the normal distribution's differs by less than 0.3 %; and the series would be long.
    let freedom = min(freedom, 500)
    var low = 0.0, high = 1.0
    while studentProbability(high, freedom: freedom) < probability { high *= 2 }
    for _ in 0..<60 {
        let middle = (low + high) / 2
        if studentProbability(middle, freedom: freedom) < probability { low = middle } else { high = middle }
    }
    return high
}

/// P(|T| <= t) for whole degrees of freedom: the finite series of Abramowitz and Stegun, 26.7.3 and 26.7.4.
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
