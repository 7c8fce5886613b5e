import Foundation
import TestSupport
import Testing

@testable import KilnModel

/// Percentiles of all times of a side: known ones in, known ones out.
struct PercentileEstimateTests {
    /// Each window has the times 1, 2 ... `count` us, longer by `factor` in windows with.
    private func windows(blocks: Int = 4, count: UInt64, factor: UInt64) -> [[UInt64]] {
        (0..<blocks * 4).map { window in (1...count).map { $0 * 1000 * (CostEstimate.order[window % 4] ? factor : 1) } }
    }

    @Test(arguments: [(0.5, 250_000.0), (0.9, 450_000), (0.99, 495_000)])
    func aSidesPercentilesAreThoseOfAllItsTimes(share: Double, wanted: Double) throws {
        let estimate = try #require(PercentileEstimate(share, times: windows(count: 500, factor: 3)))
        #expect(estimate.without == wanted)
        #expect(estimate.with == 3 * wanted)
        #expect(abs(estimate.change - 2) < 1e-9)
        // All blocks are alike.
        #expect(abs(estimate.interval.lowerBound - 2) < 1e-9 && abs(estimate.interval.upperBound - 2) < 1e-9)
    }

    @Test func aPercentileTakesTenTimesBeyondIt() {
        // A side has twice four windows.
        for (share, least) in [(0.5, 3), (0.9, 13), (0.99, 125)] {
            #expect(PercentileEstimate(share, times: windows(count: UInt64(least), factor: 2)) != nil)
            #expect(PercentileEstimate(share, times: windows(count: UInt64(least - 1), factor: 2)) == nil)
        }
        #expect(PercentileEstimate(0.5, times: windows(blocks: 3, count: 1000, factor: 2)) == nil)
        #expect(PercentileEstimate(0.5, times: []) == nil)
    }

    /// 99 % by its construction; each window is slow or fast as a whole, as where something else takes the processor.
    @Test(arguments: [0.0, 0.25])
    func theIntervalHoldsTheTruthAndTellsItFromNothing(truth: Double) throws {
        var random = SeededGenerator(seed: 7)
        var held = 0, told = 0
        for run in 0..<100 {
            let times: [[UInt64]] = (0..<32).map { window in
                let level = 50_000 * Double.random(in: 0.95...1.05, using: &random) * (CostEstimate.order[window % 4] ? 1 + truth : 1)
                return (0..<25).map { _ in UInt64(level * exp(Double.random(in: 0...1, using: &random))) }
            }
            let estimate = try #require(PercentileEstimate(0.9, times: times, draws: 100))
            if estimate.interval.contains(truth) { held += 1 }
            if estimate.interval.lowerBound > 0 { told += 1 }
            if run == 0 { #expect(PercentileEstimate(0.9, times: times, draws: 100)?.interval == estimate.interval) }
        }
        #expect(held >= 95, "\(held) of 100")
        #expect(truth == 0 ? told <= 5 : told >= 95, "\(told) of 100")
    }
}
