import Foundation
import TestSupport
import Testing
@testable import Flamegraph

/// Folded text as a test writes it.
func folded(_ text: String) -> FoldedStacks { FoldedStacks(parsing: Array(text.utf8)) }

func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

typealias SeededGenerator = TestSupport.SeededGenerator

/// Folded lines with frames of all lengths and kinds, shared and not, hostile bytes included.
func randomFolded(seed: UInt64, lines: Int) -> [UInt8] {
    var generator = SeededGenerator(seed: seed)
    let names: [[UInt8]] = (0..<60).map { index in
        if index == 0 { return [] }
        let length = Int.random(in: 1...40, using: &generator)
        let suffix = ["", "", "_[k]", "_[i]", "_[j]", "_[w]", "_[l]"].randomElement(using: &generator) ?? ""
        return (0..<length).map { _ in
            var byte = UInt8.random(in: 0...255, using: &generator)
            while [UInt8(ascii: ";"), UInt8(ascii: "\n")].contains(byte) { byte &+= 1 }
            return byte
        } + Array(suffix.utf8)
    }
    var text: [UInt8] = []
    for _ in 0..<lines {
        let depth = Int.random(in: 1...30, using: &generator)
        let stack = (0..<depth).map { names[min(59, Int.random(in: 0...($0 * 2 + 3), using: &generator))] }
        text += Array(stack.joined(separator: [UInt8(ascii: ";")]))
        text += Array(" \(Int.random(in: 1...1000, using: &generator))\n".utf8)
    }
    return text
}

/// The sum of all weights in folded text, read by other means than the parser under test.
func sumOfWeights(_ text: [UInt8]) -> UInt64 {
    text.split(separator: UInt8(ascii: "\n")).reduce(0) { sum, line in
        let number = line.lastIndex(of: UInt8(ascii: " ")).map { line[($0 + 1)...] } ?? line
        return sum + (UInt64(String(decoding: number, as: UTF8.self)) ?? 0)
    }
}

/// Draws, as every test has to: whatever comes in, the picture is valid XML.
func drawn(
    _ stacks: borrowing FoldedStacks, _ options: FlamegraphOptions = FlamegraphOptions(), sourceLocation: SourceLocation = #_sourceLocation
) throws -> [UInt8] {
    let picture = renderSVG(stacks, options)
    let directory = try TemporaryDirectory()
    let complaint = try xmllint(directory.write(picture, as: "picture.svg").path)
    #expect(complaint == nil, sourceLocation: sourceLocation)
    return picture
}
