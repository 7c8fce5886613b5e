import Testing
@testable import Flamegraph

@Suite struct LayoutTests {
    @Test(arguments: [0, 0.0001, 0.01] as [Double])
    func childrenLieInsideTheirParentsSideBySide(minimumShare: Double) {
        let stacks = FoldedStacks(parsing: randomFolded(seed: 21, lines: 991))
        let layout = Layout(stacks, minimumShare: minimumShare)
        var open: [Layout.Box] = []
        var nextStart: [UInt64] = []
        for box in layout.boxes {
            open.removeLast(open.count - box.depth)
            nextStart.removeLast(nextStart.count - box.depth)
            if let parent = open.last, let free = nextStart.last {
                #expect(box.start == free)
                #expect(box.start + box.total <= parent.start + parent.total)
                nextStart[nextStart.count - 1] = box.start + box.total
            }
            open.append(box)
            nextStart.append(box.start)
        }
    }

    @Test func widthsAddUpAndTheTotalIsConserved() {
        let input = randomFolded(seed: 22, lines: 991)
        let layout = Layout(FoldedStacks(parsing: input), minimumShare: 0)
        #expect(layout.boxes.first?.total == sumOfWeights(input))
        #expect(layout.boxes.reduce(0) { $0 + $1.own } == sumOfWeights(input))
        #expect(layout.hiddenFrames == 0)
        #expect(layout.hiddenWeight == 0)
    }

    @Test func hiddenFramesAreCountedWithTheWeightThatPassesThroughThem() {
        let layout = Layout(folded("a;big 97\na;small 2\na;tiny;leaf 1\n"), minimumShare: 0.03)
        #expect(layout.boxes.count == 3)
        #expect(layout.hiddenFrames == 3)
        #expect(layout.hiddenWeight == 3)
    }

    @Test func weightlessFramesTakeNoRoom() {
        let layout = Layout(folded("a 1\nb 0\n"), minimumShare: 0)
        #expect(layout.boxes.count == 2)
        #expect(layout.hiddenFrames == 1)
    }

    @Test func siblingsAreDrawnInBytewiseOrder() {
        let stacks = folded("é 1\nb 1\na 1\nB 1\n")
        let layout = Layout(stacks, minimumShare: 0)
        let names = layout.boxes.dropFirst().map { text(Array(stacks.names.bytes(stacks.tree[$0.node].name))) }
        #expect(names == ["B", "a", "b", "é"])
    }

    @Test func sharesAreNeverRoundedToNothingOrToAll() {
        #expect(percentText(0, of: 7) == "0 %")
        #expect(percentText(7, of: 7) == "100 %")
        #expect(percentText(1, of: 3) == "33.33 %")
        #expect(percentText(1, of: 1_000_000) == "<0.01 %")
        #expect(percentText(999_999, of: 1_000_000) == ">99.99 %")
        #expect(percentText(.max - 1, of: .max) == ">99.99 %")
    }

    @Test func numbersAreGroupedAndDecimalsKept() {
        #expect(decimalText(1_234_567, decimals: 0, grouped: true) == "1,234,567")
        #expect(decimalText(123, decimals: 0, grouped: true) == "123")
        #expect(decimalText(1_234_500, decimals: 3, grouped: true) == "1,234.5")
        #expect(decimalText(5, decimals: 3) == "0.005")
    }
}
