import Foundation
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

/// Broken text of other tools. `KILN_MUTATIONS=500000` tries that many of them; without it there are a few.
@Suite struct CollapseFuzzTests {
    private static let folder = PerfScriptTests.fixtures.deletingLastPathComponent()

    /// Real text of each format, and its name.
    private static let texts: [(text: [UInt8], format: CollapseFormat)] = {
        var texts: [(text: [UInt8], format: CollapseFormat)] = []
        for (place, format) in [("perf-script", CollapseFormat.perf), ("collapse", .perf), ("formats", nil)] as [(String, CollapseFormat?)] {
            let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.appendingPathComponent(place).path)) ?? []
            for name in names.sorted() {
                guard let data = try? Data(contentsOf: folder.appendingPathComponent(place).appendingPathComponent(name)) else { continue }
                // Long ones are cut: what happens is decided by lines.
                let text = Array(data.prefix(name.hasSuffix(".cpuprofile") ? .max : 12_000))
                if name.hasSuffix(".folded") {
                    texts.append((text, .folded))
                } else if let known = format ?? CollapseFormat.guess(text) {
                    texts.append((text, known))
                }
            }
        }
        return texts
    }()

    private static let numbers = ["", "0", "18446744073709551615", "18446744073709551616", "-1", "1e400", "0x", "4294967296", "99999999999999999999999"]
    private static let special = Array("\n\n\t ()[]{}<>:;/->0x-#+*'\"\\=,.\r ".utf8) + [0, 0x1b, 0x7f, 0x80, 0xc3, 0xe2, 0xff]

    /// As editors, mails, broken disks and programs that write in between change a text.
    private func mutated(_ input: [UInt8], _ generator: inout SeededGenerator) -> [UInt8] {
        var text = input
        for _ in 0..<Int.random(in: 1...12, using: &generator) {
            guard !text.isEmpty else { break }
            let place = Int.random(in: 0..<text.count, using: &generator)
            switch Int.random(in: 0...9, using: &generator) {
            case 0: text[place] = UInt8.random(in: 0...255, using: &generator)
            case 1: text[place] = Self.special.randomElement(using: &generator) ?? 0
            case 2: text.remove(at: place)
            case 3: text.insert(Self.special.randomElement(using: &generator) ?? 0, at: place)
            case 4: text.insert(contentsOf: text[place..<min(place + Int.random(in: 1...200, using: &generator), text.count)], at: place)
            case 5: text.removeSubrange(place..<min(place + Int.random(in: 1...300, using: &generator), text.count))
            case 6: text.removeLast(text.count - place)
            case 7:
                // Another number.
                guard let digit = text[place...].firstIndex(where: { $0.isDecimalDigit }) else { continue }
                let end = text[digit...].firstIndex { !$0.isDecimalDigit } ?? text.count
                text.replaceSubrange(digit..<end, with: (Self.numbers.randomElement(using: &generator) ?? "").utf8)
            case 8:
                // A line moved.
                let end = text[place...].firstIndex(of: UInt8(ascii: "\n")) ?? text.count
                let line = Array(text[place..<end])
                text.insert(contentsOf: line + [UInt8(ascii: "\n")], at: Int.random(in: 0...text.count, using: &generator))
            default:
                let other = Self.texts.randomElement(using: &generator)?.text ?? []
                let start = Int.random(in: 0...other.count, using: &generator)
                text.insert(contentsOf: other[start..<min(start + 400, other.count)], at: place)
            }
        }
        return text
    }

    @Test func everyLineOfBrokenTextIsCountedOrNamed() throws {
        try #require(Self.texts.count > 20)
        let count = ProcessInfo.processInfo.environment["KILN_MUTATIONS"].flatMap { Int($0) } ?? 2000
        for seed in 0..<count {
            var generator = SeededGenerator(seed: UInt64(seed))
            let (original, format) = Self.texts[seed % Self.texts.count]
            let input = mutated(original, &generator)
            _ = CollapseFormat.guess(input)
            var options = collapseDefaults
            options.mergesRecursion = seed % 3 == 0
            options.mergesThreads = seed % 5 == 0
            options.showsThread = seed % 7 == 0
            options.showsAddresses = seed % 11 == 0
            options.countsSamples = seed % 13 == 0
            let (lines, collapser) = try #require(read(input, as: format, options))
            let report = collapser.report
            let what = "seed \(seed), \(format.name)"
            #expect(report.accountedLines == report.lines, "\(what)")
            let written = input.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
            #expect(report.lines == written.count - (written.last?.isEmpty == true ? 1 : 0), "\(what)")
            if seed % 4 == 0 { #expect(read(input, as: format, options, piece: 13)?.lines == lines, "\(what)") }
            // What comes out is folded text, safe to show.
            let folded = Array(lines.joined(separator: "\n").utf8)
            let stacks = FoldedStacks(parsing: folded)
            let (accepted, rejected) = (stacks.acceptedLines, stacks.rejectedCount)
            #expect(accepted == lines.count && rejected == 0, "\(what)")
            #expect(folded.allSatisfy { $0 >= 0x20 && $0 != 0x7f || $0 == 0x0a || $0 == 0x09 }, "\(what)")
            // A sample weighs something, or its weight is said to be too large.
            if format.name != "folded", format.name != "callgrind", format.name != "cpuprofile", collapser.measure.unit == "samples" {
                #expect(sumOfWeights(folded) == UInt64(report.samples), "\(what)")
            }
        }
    }
}
