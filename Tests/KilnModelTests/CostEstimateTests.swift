import Foundation
import Testing

@testable import KilnModel

/// What windows with and without a session say of its cost: known numbers in, known ones out.
struct CostEstimateTests {
    /// Tables of Student's distribution, two-sided 99 %.
    @Test(arguments: [(1, 63.657), (2, 9.925), (3, 5.841), (4, 4.604), (5, 4.032), (6, 3.707), (10, 3.169), (30, 2.750), (120, 2.617)])
    func studentsQuantilesAreThoseOfTheTables(freedom: Int, quantile: Double) {
        #expect(abs(studentQuantile(0.99, freedom: freedom) - quantile) < 0.0006)
    }

    /// The expected numbers were computed apart, with the quantile of the tables.
    @Test func knownWindowsGiveTheKnownInterval() throws {
        let estimate = try #require(CostEstimate(windows: [100, 112, 110, 101, 98, 108, 111, 99, 103, 115, 113, 102, 100, 109, 112, 97]))
        #expect(estimate.blocks == 4)
        #expect(abs(estimate.without - 99.982495) < 1e-5)
        #expect(abs(estimate.with - 111.230088) < 1e-5)
        #expect(abs(estimate.change - 0.1124956) < 1e-6)
        #expect(abs(estimate.interval.lowerBound - 0.0918303) < 1e-5)
        #expect(abs(estimate.interval.upperBound - 0.1335520) < 1e-5)
        #expect(abs(estimate.added - 11.247592) < 1e-4)
    }

    @Test func aSteadyDriftCancels() throws {
        // Each window costs 7 % more than the one before, whoever watches.
        let windows = (0..<16).map { pow(1.07, Double($0)) }
        let estimate = try #require(CostEstimate(windows: windows))
        #expect(abs(estimate.change) < 1e-9 && estimate.uncertainty < 1e-9)
    }

    @Test func tooFewBlocksOrEmptyWindowsAreNoEstimate() {
        #expect(CostEstimate(windows: [Double](repeating: 1, count: 12)) == nil)
        #expect(CostEstimate(windows: [Double](repeating: 1, count: 17)) == nil)
        #expect(CostEstimate(windows: [Double](repeating: 1, count: 15) + [0]) == nil)
        #expect(CostEstimate(windows: [Double](repeating: 1, count: 15) + [.nan]) == nil)
    }

    /// 99 % by its construction; noise of both blocks and windows, and a drift.
    @Test func theIntervalHoldsTheTruthAsOftenAsItSays() {
        var random = Gaussian(seed: 5)
        for truth in [0.0, 0.12] {
            var held = 0
            for _ in 0..<2000 {
                var level = 8000.0
                let windows = (0..<12).flatMap { _ in
                    level *= exp(0.03 * random.next())
                    return CostEstimate.order.map { level * ($0 ? 1 + truth : 1) * exp(0.04 * random.next()) }
                }
                if let estimate = CostEstimate(windows: windows), estimate.interval.contains(truth) { held += 1 }
            }
            // 1980 are expected, with a deviation of 4.4.
            #expect((1955...1999).contains(held), "\(held) of 2000")
        }
    }

    @Test func whatItSaysWouldDoDoes() throws {
        var random = Gaussian(seed: 9)
        func windows(_ blocks: Int) -> [Double] { (0..<blocks * 4).map { _ in 100 * exp(0.1 * random.next()) } }
        let estimate = try #require(CostEstimate(windows: windows(8)))
        #expect(!estimate.isConclusive(precision: 0.02))
        let wanted = try #require(estimate.blocksWanted(precision: 0.02, most: 20_000))
        #expect(wanted > 8)
        // The noise of eight blocks is known to a factor of two at best.
        let longer = try #require(CostEstimate(windows: windows(wanted)))
        #expect(longer.uncertainty < 0.04)
        #expect(try #require(CostEstimate(windows: windows(400))).isConclusive(precision: 0.02))
    }

    @Test(arguments: [0.0, 0.01, 0.05, 0.2, 0.6], [0.0001, 0.002, 0.02, 0.3])
    func howManyBlocksWouldDoIsTheFirstNumberThatDoes(noise: Double, precision: Double) throws {
        var random = Gaussian(seed: 21)
        let estimate = try #require(CostEstimate(windows: (0..<24).map { _ in 100 * exp(noise * random.next()) }))
        let half = log((1 + estimate.change + max(precision, abs(estimate.change) / 4)) / (1 + estimate.change))
        for most in [3, 4, 5, 2000] {
            let first = (CostEstimate.leastBlocks...2000).first { $0 <= most && CostEstimate.halfWidth(estimate.deviation, blocks: $0) <= half }
            #expect(estimate.blocksWanted(precision: precision, most: most) == first)
        }
    }

    @Test func theUnitIsTheFirstThatWasCountedOftenEnough() {
        func windows(commands: UInt64?, calls: UInt64?, cpu: UInt64 = 1_000_000) -> [CostWindow] {
            (0..<16).map { CostWindow(watched: CostEstimate.order[$0 % 4], wallNs: 1_000_000_000, cpuNs: cpu, commands: commands, ioCalls: calls) }
        }
        #expect(windows(commands: 1000, calls: 2000).bestUnit == .command)
        #expect(windows(commands: nil, calls: 2000).bestUnit == .call)
        #expect(windows(commands: nil, calls: 5).bestUnit == .second)
        #expect(windows(commands: 5, calls: 5).bestUnit == nil)
        #expect(windows(commands: nil, calls: nil, cpu: 0).bestUnit == nil)
        #expect(abs((windows(commands: 1000, calls: nil).cost(per: .command)?.without ?? 0) - 1000) < 1e-6)
    }

    @Test func samplesAreExpectedByTheFrequencyOfTheirTime() {
        var expected = ExpectedSamples(frequency: 100)
        expected.change(to: 10, at: Nanoseconds(2_000_000_000))
        func second(_ number: UInt64) -> Nanoseconds { Nanoseconds(number * 1_000_000_000) }
        #expect(expected.count(in: .zero...second(5)) == 230)
        // And of a part of the session.
        #expect(expected.count(in: second(1)...second(3)) == 110 && expected.count(in: second(3)...second(5)) == 20)
        for change in 3..<3000 { expected.change(to: 10, at: second(UInt64(change))) }
        #expect(expected.count(in: second(2900)...second(2910)) == 100 && expected.count(in: second(1)...second(2910)) > 0)
    }
}

/// Normal numbers, the same in each run.
private struct Gaussian {
    private var state: UInt64
    init(seed: UInt64) { state = seed }

    private mutating func unit() -> Double {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return (Double(state >> 11) + 0.5) / Double(UInt64(1) << 53)
    }

    mutating func next() -> Double { (-2 * log(unit())).squareRoot() * cos(2 * Double.pi * unit()) }
}
