import Testing
@testable import Flamegraph

@Suite struct FrameTreeTests {
    @Test func siblingsOfOneNameAreOneBoxWhateverBytesTheyContain() {
        let stacks = folded("a 1\na.b;c 1\na;x 1\n")
        #expect(stacks.frameCount == 4)
        let layout = Layout(stacks, minimumShare: 0)
        let boxes = layout.boxes.filter { $0.depth == 1 }
        #expect(boxes.map { text(Array(stacks.names.bytes(stacks.tree[$0.node].name))) } == ["a", "a.b"])
        #expect(boxes.map(\.total) == [2, 1])
    }

    @Test func framesThatShareBytesButNotBordersAreApart() {
        #expect(text(folded("a;b 1\na;bc 1\nab;c 1\na 1\n").foldedText()) == "a 1\na;b 1\na;bc 1\nab;c 1\n")
    }

    @Test func namesAroundTheLengthsOfMachineWordsStayApart() {
        var lines: [String] = []
        for length in 0...40 {
            for last in ["x", "y", "\0"] { lines.append(String(repeating: "n", count: length) + last + ";leaf 1") }
        }
        let stacks = folded(lines.joined(separator: "\n"))
        #expect(stacks.rejectedCount == 0)
        #expect(stacks.frameCount == 2 * lines.count)
    }

    @Test func aNodeOfManyChildrenFindsEachOfThemAgain() {
        let lines = (0..<5003).map { "root;child\($0 % 2501) 1" }
        let stacks = folded(lines.joined(separator: "\n"))
        #expect(stacks.total == 5003)
        #expect(stacks.frameCount == 2502)
    }

    @Test func aVeryDeepStackIsNoProblem() {
        let stacks = folded(Array(repeating: "f", count: 100_003).joined(separator: ";") + " 1")
        #expect(stacks.frameCount == 100_003)
        #expect(Layout(stacks, minimumShare: 0).rows == 100_004)
    }

    @Test(arguments: [1, 2, 3, 4, 5] as [UInt64])
    func foldedToTreeToFoldedIsTheIdentity(seed: UInt64) {
        let input = randomFolded(seed: seed, lines: 997)
        let stacks = FoldedStacks(parsing: input)
        #expect(stacks.acceptedLines == 997)
        #expect(stacks.total == sumOfWeights(input))
        let once = stacks.foldedText()
        #expect(FoldedStacks(parsing: once).foldedText() == once)

        // The same merge by other means: a dictionary of whole stacks.
        var merged: [[UInt8]: UInt64] = [:]
        for line in input.split(separator: UInt8(ascii: "\n")) {
            guard let blank = line.lastIndex(of: UInt8(ascii: " ")) else { continue }
            merged[displayed(line[..<blank]), default: 0] += UInt64(text(Array(line[(blank + 1)...]))) ?? 0
        }
        let lines = Set(merged.map { $0.key + Array(" \($0.value)".utf8) })
        // Compared first: to show how two such sets differ takes minutes.
        let isTheSame = Set(once.split(separator: UInt8(ascii: "\n")).map(Array.init)) == lines
        #expect(isTheSame)
    }

    /// A stack as it is written: all but tabs and the semicolons between frames as it is shown.
    private func displayed(_ stack: some Collection<UInt8>) -> [UInt8] {
        let kept = [UInt8(ascii: ";"), UInt8(ascii: "\t")]
        var text: [UInt8] = [], part: [UInt8] = []
        for byte in stack {
            guard kept.contains(byte) else { part.append(byte); continue }
            text += Array(displayString(part).utf8) + [byte]
            part = []
        }
        return text + Array(displayString(part).utf8)
    }

    @Test func theOrderOfLinesDoesNotMatter() throws {
        let input = randomFolded(seed: 11, lines: 499)
        let lines = input.split(separator: UInt8(ascii: "\n"))
        var generator = SeededGenerator(seed: 3)
        let shuffled = Array(lines.shuffled(using: &generator).joined(separator: [UInt8(ascii: "\n")]))
        #expect(try drawn(FoldedStacks(parsing: input)) == drawn(FoldedStacks(parsing: shuffled)))
    }
}
