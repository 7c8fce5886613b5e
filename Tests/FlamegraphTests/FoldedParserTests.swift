import Testing
@testable import Flamegraph

@Suite struct FoldedParserTests {
    @Test func stackBlankNumberIsCounted() {
        let stacks = folded("main;run;work 7\nmain;run 5\n")
        #expect(stacks.total == 12)
        #expect(stacks.acceptedLines == 2)
        #expect(stacks.frameCount == 3)
        #expect(text(stacks.foldedText()) == "main;run 5\nmain;run;work 7\n")
    }

    @Test func lastLineNeedsNoLineFeed() {
        #expect(folded("a 1\nb 2").total == 3)
    }

    @Test func carriageReturnsAndBlanksAfterTheNumberAreTolerated() {
        let stacks = folded("a;b 1\r\na;b 2  \r\n\r\n  \n")
        #expect(text(stacks.foldedText()) == "a;b 3\n")
        #expect(stacks.blankLines == 2)
        #expect(stacks.rejectedCount == 0)
    }

    @Test func namesMayContainBlanksAndNumbers() {
        let stacks = folded("operator new(unsigned long);main thread 12 500\nx\ty\t3\n")
        #expect(text(stacks.foldedText()) == "operator new(unsigned long);main thread 12 500\nx\ty 3\n")
    }

    @Test func emptyFramesAreKept() {
        let lines = " 4\n; 1\n;a 1\na; 2\na;;b 3\n"
        #expect(text(folded(lines).foldedText()) == lines)
    }

    @Test func linesThatDoNotParseAreCountedAndNamedWithTheirNumber() {
        let stacks = folded("good 1\nno number\nmain12\n\n5\nmain -5\na 1.2.3\nb .5\nc 99999999999999999999\n")
        #expect(stacks.total == 1)
        #expect(stacks.rejectedCount == 7)
        #expect(stacks.rejectedLines.map(\.number) == [2, 3, 5, 6, 7, 8, 9])
        #expect(
            stacks.rejectedLines.map(\.reason) == [
                .noNumber, .noBlankBeforeNumber, .noBlankBeforeNumber, .noBlankBeforeNumber, .malformedNumber,
                .malformedNumber, .numberTooLarge,
            ])
        #expect(stacks.rejectedLines.first?.description == "line 2: does not end in a number: no number")
    }

    @Test func onlyTheFirstRejectedLinesAreKeptButAllAreCounted() {
        let stacks = folded(String(repeating: "nothing\n", count: 1009))
        #expect(stacks.rejectedCount == 1009)
        #expect(stacks.rejectedLines.count == FoldedStacks.rejectedLimit)
    }

    @Test func lineNumbersBeginAnewWithEachInput() {
        var stacks = FoldedStacks()
        for input in ["a 1\nbad\n", "bad\nb 2"] {
            Array(input.utf8).withUnsafeBytes { stacks.read($0) }
            stacks.endInput()
        }
        #expect(stacks.total == 3)
        #expect(stacks.rejectedLines.map(\.input) == [0, 1])
        #expect(stacks.rejectedLines.map(\.number) == [2, 1])
    }

    @Test func weightsBeyondTwoToThe53AreExact() {
        let stacks = folded("a 9007199254740993\nb 18437736874454810622\n")
        #expect(stacks.total == .max)
        #expect(text(stacks.foldedText()) == "a 9007199254740993\nb 18437736874454810622\n")
    }

    @Test func aLineThatWouldOverflowTheTotalIsRejectedAndChangesNothing() {
        let stacks = folded("a 18446744073709551615\na;b 1\n")
        #expect(stacks.total == .max)
        #expect(stacks.frameCount == 1)
        #expect(stacks.rejectedLines.map(\.reason) == [.totalTooLarge])
    }

    @Test func decimalWeightsAreExact() {
        let stacks = folded("a 1\na;b 0.1\na;b 0.2\nc 2.50\nd 3.\ne 0.0000000005\n")
        #expect(stacks.decimals == 9)
        #expect(text(stacks.foldedText()) == "a 1\na;b 0.3\nc 2.5\nd 3\ne 0.000000001\n")
    }

    @Test func theOrderOfDecimalAndIntegerLinesDoesNotMatter() {
        let forward = folded("a 1\nb 0.25\n").foldedText()
        let backward = folded("b 0.25\na 1\n").foldedText()
        #expect(forward == backward)
    }

    @Test func suffixesSayTheKindAndAreNotShown() {
        let cases: [(String, FrameKind, String)] = [
            ("main", .user, "main"), ("do_syscall_64_[k]", .kernel, "do_syscall_64"), ("inl_[i]", .inlined, "inl"),
            ("Foo::bar_[j]", .jit, "Foo::bar"), ("w_[w]", .waker, "w"), ("malloc_[l]", .library, "malloc"),
            ("libc.so.6`malloc", .library, "libc.so.6`malloc"), ("x_[z]", .user, "x_[z]"), ("_[k]", .kernel, ""),
            ("[unknown]", .unresolved, "[unknown]"), ("[unknown]_[k]", .unresolved, "[unknown]"),
            ("libc.so.6+0x2a1b", .unresolved, "libc.so.6+0x2a1b"), ("0x7f00dead", .unresolved, "0x7f00dead"),
            ("do_read+0x5b_[k]", .kernel, "do_read+0x5b"), ("box0x12", .user, "box0x12"), ("", .user, ""),
        ]
        for (frame, kind, shown) in cases {
            Array(frame.utf8).withUnsafeBytes { bytes in
                let classified = FrameKind.classify(bytes)
                #expect(classified.kind == kind, "\(frame)")
                #expect(classified.nameLength == shown.utf8.count, "\(frame)")
            }
        }
    }

    @Test func cuttingTheInputAnywhereChangesNothing() {
        let input = randomFolded(seed: 5, lines: 40)
        let whole = FoldedStacks(parsing: input).foldedText()
        for size in [1, 2, 3, 7, 13, 64, 1000] {
            var stacks = FoldedStacks()
            for start in stride(from: 0, to: input.count, by: size) {
                // A copy of its own, so that a load past the piece would leave its memory.
                let piece = Array(input[start..<min(start + size, input.count)])
                piece.withUnsafeBytes { stacks.read($0) }
            }
            stacks.endInput()
            #expect(stacks.foldedText() == whole)
        }
    }

    @Test func noBytesBreakTheParser() {
        var generator = SeededGenerator(seed: 97)
        let alphabet = Array("aab;;; \t\r\n\n0123456789..-_[k]\u{e9}".utf8) + [0, 0xff, 0xfe]
        for _ in 0..<1009 {
            let input = (0..<Int.random(in: 0...200, using: &generator)).map { _ in
                alphabet.randomElement(using: &generator) ?? 0
            }
            let stacks = FoldedStacks(parsing: input)
            let lines = input.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
            let counted = stacks.acceptedLines + stacks.rejectedCount + stacks.blankLines
            #expect(counted == lines.count - (lines.last?.isEmpty == true ? 1 : 0))
            let once = stacks.foldedText()
            #expect(FoldedStacks(parsing: once).foldedText() == once)
            _ = renderSVG(stacks)
        }
    }

    @Test func emptyInputIsAnErrorForTheCallerToReport() {
        #expect(folded("").emptyInput?.description == "no stacks: the input is empty")
        #expect(folded("a 0\n").emptyInput?.description == "no samples: every weight is 0")
        #expect(
            folded("a\n").emptyInput?.description
                == "no stacks: none of 1 lines counts; line 1: does not end in a number: a")
        #expect(folded("a 1").emptyInput == nil)
    }
}
