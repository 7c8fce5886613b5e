import Testing
@testable import Flamegraph

/// An input whose parts are read apart gives what it gives when it is read as a whole.
@Suite struct FoldedPartsTests {
    private static func read(_ bytes: some Sequence<UInt8>, into stacks: inout FoldedStacks) {
        Array(bytes).withUnsafeBytes { stacks.read($0) }
    }

    /// Everything that anybody sees of the stacks.
    private static func seen(_ stacks: borrowing FoldedStacks) -> [String] {
        let counts = [stacks.acceptedLines, stacks.rejectedCount, stacks.blankLines, stacks.commentLines, stacks.frameCount, stacks.decimals]
        return [
            "\(counts) \(stacks.measure) \(stacks.weightByLeafKind)", "\(stacks.rejectedLines)", text(stacks.foldedText()),
            text(renderSVG(stacks)),
        ]
    }

    private static func inParts(_ input: [UInt8], cut: Int, _ reading: FoldedReading = FoldedReading()) -> [String] {
        var stacks = FoldedStacks(reading)
        var part = stacks.laterPart()
        read(input[..<cut], into: &stacks)
        read(input[cut...], into: &part)
        if !stacks.append(&part) { read(input[cut...], into: &stacks) }
        stacks.endInput()
        return seen(stacks)
    }

    private static func whole(_ input: [UInt8], _ reading: FoldedReading = FoldedReading()) -> [String] {
        seen(FoldedStacks(parsing: input, reading))
    }

    /// Where lines begin, but for the first.
    private static func cuts(_ input: [UInt8]) -> [Int] { input.indices.filter { input[$0] == UInt8(ascii: "\n") }.map { $0 + 1 } }

    @Test(arguments: 1...12 as ClosedRange<UInt64>)
    func partsOfRandomLines(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        let others = ["# unit: ns\n", "bad\n", "\n", "a;b 0.25\n", "x 0\n", "# roots: processes\n", "worse1\n", "last 3"]
        var input: [UInt8] = []
        for round in 0..<8 {
            input += randomFolded(seed: seed + UInt64(round), lines: 30)
            for _ in 0..<3 { input += Array((others.dropLast().randomElement(using: &generator) ?? "").utf8) }
        }
        input += Array("last 3".utf8)
        var reading = FoldedReading()
        reading.isReversed = seed % 3 == 0
        let expected = Self.whole(input, reading)
        for cut in Self.cuts(input).shuffled(using: &generator).prefix(3) { #expect(Self.inParts(input, cut: cut, reading) == expected) }
    }

    @Test func nodesWithManyChildrenInEitherPart() {
        for (left, right) in [(2, 30), (30, 2), (30, 30), (4, 4), (0, 9)] {
            let first = (0..<left).map { "r;a\($0);x 1\nr;a\($0);y\($0) 2\n" }.joined()
            let second = (0..<right).map { "r;a\($0 * 2);x 1\nr;b;c\($0);d\($0) 2\n" }.joined()
            let input = Array((first + second).utf8)
            #expect(Self.inParts(input, cut: first.utf8.count) == Self.whole(input))
        }
    }

    @Test func whatIsReadAfterPartsFindsTheirStacks() {
        let lines = (0..<200).map { "r;a\($0 % 7);b\($0 % 50);c\($0) 1\n" }
        let thirds = [lines[..<70], lines[70..<140], lines[140...]].map { Array($0.joined().utf8) }
        var stacks = FoldedStacks()
        for _ in 0..<3 {
            var part = stacks.laterPart()
            Self.read(thirds[0], into: &stacks)
            Self.read(thirds[1], into: &part)
            let isWhole = stacks.append(&part)
            #expect(isWhole)
            Self.read(thirds[2] + thirds[1] + thirds[0], into: &stacks)
        }
        stacks.endInput()
        #expect(Self.seen(stacks) == Self.whole(Array(repeating: thirds[0] + thirds[1] + thirds[2] + thirds[1] + thirds[0], count: 3).joined().map { $0 }))
    }

    @Test func whatTogetherNeedsMoreThan64BitsIsReadAgain() {
        let inputs = [
            "a 18446744073709551610\nb 3\n" + "c 4\nd 2\n", "a 1\nb 2\n" + "c 18446744073709551610\nd 9\ne 1\n",
            "a 18446744073709551610\n" + "b 0.5\nc 1\n", "a 0.5\n" + "b 18446744073709551610\n",
        ]
        for input in inputs.map({ Array($0.utf8) }) {
            for cut in Self.cuts(input) { #expect(Self.inParts(input, cut: cut) == Self.whole(input)) }
        }
    }

    @Test func onlyTheInputsFirstLineMayHaveAByteOrderMark() {
        let input = Array("\u{feff}a 1\n\u{feff}a 2\n".utf8)
        for cut in Self.cuts(input) { #expect(Self.inParts(input, cut: cut) == Self.whole(input)) }
    }
}
