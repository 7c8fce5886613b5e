#if canImport(Glibc)
import Glibc
#else
import Musl
#endif
import Testing

@testable import KilnModel

struct ShareEstimateTests {
    /// The examples of Newcombe, Two-sided confidence intervals for the single proportion, Statistics in Medicine 17, 1998 (method 3); and all of all.
    @Test(arguments: [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611), (1, 29, 0.0061, 0.1718), (20, 20, 0.8389, 1)])
    func theIntervalIsWilsons(part: UInt64, whole: UInt64, low: Double, high: Double) throws {
        let estimate = try #require(ShareEstimate(part, of: whole))
        #expect(estimate.share == Double(part) / Double(whole))
        #expect(abs(estimate.interval.lowerBound - low) < 0.00006 && abs(estimate.interval.upperBound - high) < 0.00006, "\(estimate.interval)")
        #expect(estimate.interval.contains(estimate.share))
    }

    @Test func thereIsNoShareOfNothing() {
        #expect(ShareEstimate(0, of: 0) == nil && ShareEstimate(2, of: 1) == nil)
        #expect(ShareEstimate(.max, of: .max)?.interval.upperBound == 1)
    }

    /// By the binomial distribution itself: of few samples and of small shares, too, some 95 of 100 intervals contain the truth.
    @Test(arguments: [20, 50, 200, 1000], [0.05, 0.1, 0.31, 0.5])
    func nineteenOfTwentyIntervalsContainTheTruth(samples: Int, truth: Double) throws {
        var covered = 0.0
        for part in 0...samples {
            let ways = lgamma(Double(samples + 1)) - lgamma(Double(part + 1)) - lgamma(Double(samples - part + 1))
            let probability = exp(ways + Double(part) * log(truth) + Double(samples - part) * log(1 - truth))
            if try #require(ShareEstimate(UInt64(part), of: UInt64(samples))).interval.contains(truth) { covered += probability }
        }
        #expect((0.92...0.985).contains(covered), "\(covered)")
    }
}
