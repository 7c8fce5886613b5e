import KilnBPF
import Testing

@testable import KilnModel

struct HistogramTests {
    @Test func everySlotHoldsExactlyItsRange() {
        for slot in 0..<Histogram.slotCount {
            let (lower, upper) = Histogram.range(ofSlot: slot)
            #expect(kiln_histogram_slot(lower.count) == UInt32(slot))
            #expect(kiln_histogram_slot(upper.count - 1) == UInt32(slot))
            #expect(upper == Histogram.range(ofSlot: slot + 1).lower)
            // Sixteen equal slots in a power of two: an edge is at most 1/16 above the other.
            #expect(slot < 16 || (upper.count - lower.count) * 16 <= lower.count)
        }
        #expect(Histogram.range(ofSlot: 0).lower == .zero)
        #expect(Histogram.range(ofSlot: Histogram.slotCount - 1).upper == Histogram.limit)
    }

    @Test func whatIsLongerThanTheReachFallsIntoTheOverflowSlot() {
        #expect(kiln_histogram_slot((1 << 36) - 1) == UInt32(Histogram.slotCount - 1))
        for latency: UInt64 in [1 << 36, 1 << 40, UInt64.max] {
            #expect(kiln_histogram_slot(latency) == UInt32(Histogram.slotCount))
        }
        var histogram = Histogram()
        histogram.record(Nanoseconds(1 << 40))
        #expect(histogram.percentile(0.5) == Histogram.limit)
        #expect(histogram.since(Histogram()).maximum == .beyond(Histogram.limit))
    }

    @Test func percentilesLieWithinOneThirtySecond() throws {
        for scale: UInt64 in [1, 7, 1003, 999_983, 900_000_007] {
            var histogram = Histogram()
            let values = (1...1000).map { UInt64($0) * scale % 60_000_000_000 + 1 }.sorted()
            for value in values { histogram.record(Nanoseconds(value)) }
            for (share, rank) in [(0.5, 500), (0.9, 900), (0.99, 990), (0.999, 999)] {
                let truth = Double(values[rank - 1]), reported = Double(try #require(histogram.percentile(share)).count)
                #expect(abs(reported - truth) <= truth / 32 + 0.5, "\(share) of \(scale): \(reported), \(truth)")
            }
        }
    }

    @Test func anIntervalIsTheDifferenceOfTwoSnapshots() {
        var before = Histogram()
        for value: UInt64 in [10, 1000, 1_000_000] { before.record(Nanoseconds(value)) }
        var after = before
        for value: UInt64 in [100, 2000] { after.record(Nanoseconds(value)) }
        let interval = after.since(before)
        #expect(interval.count == 2)
        #expect(interval.sum == Nanoseconds(2100))
        #expect(interval.filled.map(\.count) == [1, 1])
        // 2000 ns lies in the slot that ends at 2048 ns; the session's own maximum stays exact.
        #expect(interval.maximum == .atMost(Nanoseconds(2048)))
        #expect(after.maximum == .exact(Nanoseconds(1_000_000)))
        #expect(after.since(after).percentile(0.5) == nil)
    }

    @Test func copiesOfSeveralCPUsAddUp() {
        var first = [UInt64](repeating: 0, count: Histogram.slotCount + 1), second = first
        first[Int(kiln_histogram_slot(20))] = 2
        second[5] = 1
        var sum = Histogram()
        sum.add(slots: first, sum: kiln_latency_sum(sum_ns: 30, max_ns: 20))
        sum.add(slots: second, sum: kiln_latency_sum(sum_ns: 5, max_ns: 5))
        #expect(sum.count == 3)
        #expect(sum.sum == Nanoseconds(35))
        #expect(sum.maximum == .exact(Nanoseconds(20)))
        #expect(sum.percentile(0.2) == Nanoseconds(5))
    }

    @Test func timesAreShownWithThreeDigitsAndTheirUnit() {
        let shown: [(UInt64, String)] = [
            (0, "0 ns"), (999, "999 ns"), (1000, "1.00 us"), (12_345, "12.3 us"), (999_499, "999 us"), (999_999, "1.00 ms"),
            (52_000_000, "52.0 ms"), (1_500_000_000, "1.50 s"), (68_719_476_736, "68.7 s"),
        ]
        for (count, text) in shown { #expect(Nanoseconds(count).description == text) }
    }
}
