import KilnModel
import Testing

@Suite struct FunctionCountsTests {
    private static func counts(_ calls: [UInt64], after seconds: UInt64, letGo: [Int: UInt64] = [:]) -> FunctionCounts {
        var counts = FunctionCounts(
            functions: calls.map {
                var count = FunctionCount()
                count.calls = $0
                return count
            })
        counts.length = Nanoseconds(seconds * 1_000_000_000)
        counts.letGo = letGo.mapValues { Nanoseconds($0 * 1_000_000) }
        return counts
    }

    /// The interval in which a function is let go knows how long it was counted; those before and after it don't.
    @Test func aFunctionThatIsLetGoWasCountedForAPartOfOneInterval() {
        let first = Self.counts([100, 7], after: 10), second = Self.counts([140, 14], after: 20, letGo: [0: 12_500])
        let third = Self.counts([140, 21], after: 30, letGo: [0: 12_500])
        #expect(first.since(nil).functions.map(\.countedFor) == [nil, nil])
        let interval = second.since(first).functions
        #expect(interval.map(\.calls) == [40, 7])
        #expect(interval.map(\.countedFor) == [Nanoseconds(2_500_000_000), nil])
        let after = third.since(second).functions
        #expect(after.map(\.calls) == [0, 7])
        #expect(after.map(\.countedFor) == [nil, nil])
        // In the first interval of all.
        #expect(second.since(nil).functions.map(\.countedFor) == [Nanoseconds(12_500_000_000), nil])
    }
}
