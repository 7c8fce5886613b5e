import Testing
@testable import Flamegraph

/// Two profiles as `kiln diff` reads them; nil when their weights need more than 64 bits.
func pair(_ before: [UInt8], _ after: [UInt8], normalized: Bool = false) -> FoldedStacks? {
    var stacks = FoldedStacks(parsing: before)
    stacks.beginSecondProfile()
    after.withUnsafeBytes { stacks.read($0) }
    stacks.endInput()
    if !stacks.pairProfiles(normalized: normalized) { return nil }
    return stacks
}

private func paired(_ before: String, _ after: String, normalized: Bool = false) -> (text: String, scale: Double)? {
    guard let stacks = pair(Array(before.utf8), Array(after.utf8), normalized: normalized) else { return nil }
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

    /// A text of scaled weights is judged as the pair it was written from.
    @Test(arguments: ["", "# weight of a sample: 2\n"])
    func theTextOfAScaledPairSaysHowItWasScaled(comments: String) throws {
        let (old, new) = ("\(comments)m;a 10\nm;b 10\n", "\(comments)m;a 35000\nm;b 65001\n")
        guard let stacks = pair(Array(old.utf8), Array(new.utf8), normalized: true) else {
            Issue.record("the weights fit")
            return
        }
        var reading = FoldedReading()
        reading.columns = .two
        let written = FoldedStacks(parsing: Array(stacks.measure.comments.utf8) + stacks.foldedText(), reading)
        let (scale, weight) = (written.beforeScale, written.sampleWeight)
        #expect(scale == 5000.05)
        #expect(weight == (comments.isEmpty ? 1 : 2))
        for picture in [text(try drawn(stacks, FlamegraphOptions())), text(try drawn(written, FlamegraphOptions()))] {
            #expect(picture.contains(">b<") && picture.contains(">a<"))
        }
    }

    @Test func aScaledPairOfUnknownSamplesIsNotJudged() {
        guard let stacks = pair(Array("a 1234567\nb 7654321\n".utf8), Array("a 7654321\nb 1234567\n".utf8), normalized: true) else {
            Issue.record("the weights fit")
            return
        }
        var reading = FoldedReading()
        reading.columns = .two
        let written = FoldedStacks(parsing: Array(stacks.measure.comments.utf8) + stacks.foldedText(), reading)
        let weights = [stacks.sampleWeight, written.sampleWeight]
        #expect(weights == [nil, nil])
    }

    @Test func samplesWeighMoreWhenWeightsAreMultiplied() throws {
        var reading = FoldedReading()
        reading.columns = .two
        var stacks = FoldedStacks(parsing: Array("a 3 4\n".utf8), reading)
        let isMultiplied = stacks.multiply(by: try #require(ExactNumber("1000")))
        let weight = stacks.sampleWeight
        #expect(isMultiplied && weight == 1000)
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

    @Test func aProfileThatIsScaledKeepsWhatEachStackHas() {
        #expect(paired("a 1\na;b 2\na;b;c 3\n", "a;b 24\nd 36\n", normalized: true)?.text == "a 10 0\na;b 20 24\na;b;c 30 0\nd 0 36\n")
        #expect(paired("a 1.5\na;b 2\n", "a;b 0.7\n", normalized: true)?.text == "a 0.3 0\na;b 0.4 0.7\n")
    }

    @Test func linesThatCantBeReadAreCountedForEachProfile() {
        var stacks = FoldedStacks(parsing: Array("a 1\nbad\n".utf8))
        let inFirst = stacks.rejectedLines.map { [$0.input, $0.number] }
        #expect(inFirst == [[0, 2]])
        stacks.beginSecondProfile()
        Array("a 1\n\nworse\n".utf8).withUnsafeBytes { stacks.read($0) }
        stacks.endInput()
        let inSecond = stacks.rejectedLines.map { [$0.input, $0.number] }
        #expect(inSecond == [[1, 3]])
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func bothProfilesAreInThePairWhole(seed: UInt64) {
        let (old, new) = (randomFolded(seed: seed, lines: 307), randomFolded(seed: seed + 1, lines: 293))
        guard let pair = pair(old, new) else {
            Issue.record("no pair")
            return
        }
        let totals = [pair.totalBefore, pair.total - pair.totalBefore]
        #expect(totals == [sumOfWeights(old), sumOfWeights(new)])
    }
}
