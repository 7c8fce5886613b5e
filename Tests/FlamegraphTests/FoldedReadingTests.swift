import Testing
@testable import Flamegraph

private func read(_ inputs: String..., columns: FoldedReading.Columns = .decidedByInput, piece: Int = .max) -> FoldedStacks {
    var reading = FoldedReading()
    reading.columns = columns
    var stacks = FoldedStacks(reading)
    for input in inputs {
        let bytes = Array(input.utf8)
        var start = 0
        while start < bytes.count {
            let end = min(start + min(piece, bytes.count), bytes.count)
            Array(bytes[start..<end]).withUnsafeBytes { stacks.read($0) }
            start = end
        }
        stacks.endInput()
    }
    return stacks
}

@Suite struct FoldedReadingTests {
    @Test func twoNumbersAreTwoProfilesOnlyWhenEveryLineHasThem() {
        let mixed = read("main;thread 12 500\nmain 1\n")
        let isDifference = mixed.isDifference
        #expect(!isDifference)
        #expect(text(mixed.foldedText()) == "main 1\nmain;thread 12 500\n")
        let two = read("main;thread 12 500\n\nmain 1 2\nno number\n")
        let areTwo = two.isDifference
        #expect(areTwo)
        #expect(text(two.foldedText()) == "main 1 2\nmain;thread 12 500\n")
        #expect(two.rejectedLines.map(\.number) == [4])
    }

    @Test(arguments: [1, 3, 17])
    func theDecisionDoesNotDependOnHowTheInputIsCut(piece: Int) {
        let late = (0..<50).map { "main;thread \($0) 5\n" }.joined() + "main 1"
        #expect(text(read(late, piece: piece).foldedText()) == text(read(late, columns: .one).foldedText()))
        let two = (0..<50).map { "f\($0 % 7) \($0) 5\n" }.joined() + "f 1 2"
        #expect(text(read(two, piece: piece).foldedText()) == text(read(two, columns: .two).foldedText()))
    }

    @Test func eachInputIsDecidedByItself() {
        func mixes(_ first: String, _ second: String, _ third: String = "") -> Bool { read(first, second, third).mixesColumns }
        #expect(mixes("a 1 2\n", "a 3\n"))
        #expect(!mixes("a 1 2\n", "", "a 3 4\n"))
        #expect(mixes("a 1\n", "a 3 4\n"))
        #expect(!mixes("a 1\n", "a 3\n"))
    }

    @Test func oneNumberWhereTwoWereAskedForIsRejected() {
        let stacks = read("a 1\nb 1 2\n", columns: .two)
        #expect(stacks.rejectedLines.map(\.reason) == [.noSecondNumber])
        #expect(text(stacks.foldedText()) == "b 1 2\n")
    }

    @Test func decimalsOfTwoProfilesAreExact() {
        #expect(text(read("a 1 2\nb 0.25 3\na 0.1 0\n").foldedText()) == "a 1.1 2\nb 0.25 3\n")
    }

    @Test func aTotalBeyond64BitsIsRejected() {
        let stacks = read("a 18446744073709551615 1\na 1 2\n", columns: .two)
        #expect(stacks.rejectedLines.map(\.reason) == [.totalTooLarge])
        #expect(text(stacks.foldedText()) == "a 1 2\n")
    }

    @Test func reversedStacksMergeFromTheirLeaves() {
        var reading = FoldedReading()
        reading.isReversed = true
        let stacks = FoldedStacks(parsing: Array("main;a;work 1\nmain;b;work_[k] 2\nmain;b;work 4\n".utf8), reading)
        #expect(text(stacks.foldedText()) == "work;a;main 1\nwork;b;main 4\nwork_[k];b;main 2\n")
        #expect(stacks.weightByLeafKind[Int(FrameKind.kernel.rawValue)] == 2)
        let again = FoldedStacks(parsing: stacks.foldedText(), reading)
        #expect(text(again.foldedText()) == "main;a;work 1\nmain;b;work 4\nmain;b;work_[k] 2\n")
    }

    @Test func aFlameChartKeepsTheOrderOfLines() {
        var reading = FoldedReading()
        reading.keepsOrder = true
        let stacks = FoldedStacks(parsing: Array("m;b 1\nm;b;c 1\nm;a 2\nm;b 4\n".utf8), reading)
        let layout = Layout(stacks, minimumShare: 0)
        let boxes = layout.boxes.map { box in
            box.depth == 0 ? "all" : text(Array(stacks.names.bytes(stacks.tree[box.node].name))) + " \(box.start)+\(box.total)"
        }
        #expect(boxes == ["all", "m 0+8", "b 0+2", "c 0+1", "a 2+2", "b 4+4"])
    }

    @Test func factorsAreExact() throws {
        var stacks = folded("a 3\nb 0.5\n")
        let factor = try #require(ExactNumber("0.001"))
        let fits = stacks.multiply(by: factor)
        #expect(fits)
        #expect(text(stacks.foldedText()) == "a 0.003\nb 0.0005\n")
        var large = folded("a 18446744073709551615\n")
        let two = try #require(ExactNumber("2"))
        let isTooLarge = !large.multiply(by: two)
        #expect(isTooLarge)
        #expect(large.total == .max)
        #expect(ExactNumber("-1") == nil && ExactNumber("1 2") == nil && ExactNumber("x") == nil && ExactNumber("") == nil)
    }

    @Test func aWholeMayBeWiderThanItsStacks() throws {
        var stacks = folded("a 3\n")
        let (wide, narrow) = (try #require(ExactNumber("10.5")), try #require(ExactNumber("2")))
        let widened = [stacks.widen(to: narrow), stacks.widen(to: wide)]
        #expect(widened == [false, true])
        #expect(stacks.total == 105)
        #expect(Layout(stacks, minimumShare: 0).boxes.map(\.own) == [75, 30])
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func twoProfilesAreAsLongAsTheirParts(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        let lines = String(decoding: randomFolded(seed: seed, lines: 211), as: UTF8.self).split(separator: "\n").map {
            "\($0.split(separator: " ").first ?? "f") \(Int.random(in: 0...50, using: &generator)) \(Int.random(in: 0...50, using: &generator))\n"
        }
        let stacks = read(lines.joined())
        let layout = Layout(stacks, minimumShare: 0)
        for box in layout.boxes { #expect(box.before <= box.total && box.ownBefore <= box.own) }
        #expect(layout.boxes.reduce(0) { $0 + $1.ownBefore } == stacks.weightBefore(FrameTree.root))
        #expect(text(read(text(stacks.foldedText())).foldedText()) == text(stacks.foldedText()))
    }

    @Test func textOfOtherEncodingsIsReadAsCharacters() {
        var reading = FoldedReading()
        reading.encoding = .latin1
        let stacks = FoldedStacks(parsing: [0x63, 0x61, 0x66, 0xe9] + Array(";x 1\n".utf8), reading)
        #expect(text(stacks.foldedText()) == "caf\u{e9};x 1\n")
        #expect(FoldedReading.Encoding("ISO-8859-1") == .latin1)
        #expect(FoldedReading.Encoding("UTF8") == .utf8)
        #expect(FoldedReading.Encoding("koi8-r") == nil)
    }
}
