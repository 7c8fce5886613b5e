import Testing
@testable import Flamegraph

/// Broken folded text: whatever comes in, every line is counted or named, and the picture stays valid XML.
@Suite struct FuzzTests {
    private static let special = Array("\n\n  ;;\t\r.0919_[kijw]`x+-".utf8) + [0, 0x7f, 0x80, 0xc3, 0xff]

    private func broken(_ generator: inout SeededGenerator, seed: UInt64) -> [UInt8] {
        var input = randomFolded(seed: seed, lines: Int.random(in: 0...60, using: &generator))
        for _ in 0..<Int.random(in: 0...80, using: &generator) {
            let place = Int.random(in: 0...input.count, using: &generator)
            switch Int.random(in: 0...3, using: &generator) {
            case 0: input.insert(Self.special.randomElement(using: &generator) ?? 0, at: place)
            case 1: input.insert(contentsOf: Array(" \(UInt64.random(in: 0...UInt64.max, using: &generator))".utf8), at: place)
            case 2 where place < input.count: input[place] = UInt8.random(in: 0...255, using: &generator)
            default: input.removeSubrange(place..<min(place + Int.random(in: 0...9, using: &generator), input.count))
            }
        }
        return input
    }

    @Test(arguments: 1...60 as ClosedRange<UInt64>)
    func everyLineIsCountedOrNamed(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let input = broken(&generator, seed: seed)
        for columns in [FoldedReading.Columns.one, .two, .decidedByInput] {
            var reading = FoldedReading()
            reading.columns = columns
            reading.isReversed = seed % 5 == 0
            reading.keepsOrder = seed % 7 == 0
            let stacks = FoldedStacks(parsing: input, reading)
            let lines = input.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
            let count = lines.count - (lines.last?.isEmpty == true ? 1 : 0)
            #expect(stacks.acceptedLines + stacks.rejectedCount + stacks.blankLines + stacks.commentLines == count)

            let layout = Layout(stacks, minimumShare: 0)
            #expect(layout.boxes.reduce(0) { $0 + $1.own } == stacks.total)
            _ = try drawn(stacks)

            guard !reading.keepsOrder else { continue }
            var again = reading
            again.isReversed = false
            again.columns = stacks.isDifference ? .two : .one
            let folded = stacks.foldedText()
            #expect(FoldedStacks(parsing: folded, again).foldedText() == folded)
        }
    }
}
