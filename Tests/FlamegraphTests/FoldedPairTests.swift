import Testing
@testable import Flamegraph

private func paired(_ before: String, _ after: String, normalized: Bool = false) -> (text: String, scale: Double)? {
    let old = folded(before)
    let new = folded(after)
    guard let stacks = FoldedStacks.pair(before: old, after: new, normalized: normalized) else { return nil }
    return (text(stacks.foldedText()), stacks.beforeScale)
}

@Suite struct FoldedPairTests {
    @Test func stacksOfOneProfileHaveZeroInTheOther() {
        #expect(paired("a;b 3\na 1\n", "a;b 4\nc 2\n")?.text == "a 1 0\na;b 3 4\nc 0 2\n")
    }

    @Test func normalizedProfilesWeighTheSame() {
        let pair = paired("a 1\nb 3\n", "a 10\nb 30\n", normalized: true)
        #expect(pair?.text == "a 10 10\nb 30 30\n")
        #expect(pair?.scale == 10)
        #expect(paired("a 1\nb 2\n", "a 1\nb 1\n", normalized: true)?.text == "a 0.667 1\nb 1.333 1\n")
    }

    @Test func whatWasThereDoesNotVanishByRounding() {
        #expect(paired("a 1\nb 99999\n", "b 1\n", normalized: true)?.text == "a 0.001 0\nb 1 1\n")
    }

    /// Shown, names may be equal that were not, and come in another order.
    @Test func whatATerminalWouldObeyIsShownAndMerged() {
        #expect(paired("z\u{1b};b 1\nz\\x1b;b 2\n", "z\u{1b};b 4\nz\\u{202e} 1\nz\u{202e} 1\n")?.text == "z\\u{202e} 0 2\nz\\x1b;b 3 4\n")
    }

    @Test func decimalsOfTheProfilesMayDiffer() {
        #expect(paired("a 1.5\n", "a 2\n")?.text == "a 1.5 2\n")
        #expect(paired("a 1.5\n", "a 0.25\n")?.text == "a 1.5 0.25\n")
    }

    @Test func weightsThatNeedMoreThan64BitsAreRefused() {
        #expect(paired("a 18446744073709551615\n", "a 1\n") == nil)
        #expect(paired("a 18446744073709551614\n", "a 1\n")?.text == "a 18446744073709551614 1\n")
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func bothProfilesAreInThePairWhole(seed: UInt64) {
        let (old, new) = (randomFolded(seed: seed, lines: 307), randomFolded(seed: seed + 1, lines: 293))
        let first = FoldedStacks(parsing: old)
        let second = FoldedStacks(parsing: new)
        guard let pair = FoldedStacks.pair(before: first, after: second, normalized: false) else {
            Issue.record("no pair")
            return
        }
        let totals = [pair.totalBefore, pair.total - pair.totalBefore]
        #expect(totals == [sumOfWeights(old), sumOfWeights(new)])
    }
}
