import Foundation
import TestSupport
import Testing
@testable import KilnReport
@testable import KilnSessions

/// Files that somebody has damaged, or made up: a page, or one error, and never a crash.
struct DamageTests {
    @Test func damagedBytesGiveAPageOrOneError() throws {
        let (directory, files) = try EncodingTests.generated {
            $0.seconds = 3
            $0.commands = 2
            $0.stacks = 8
            $0.hasOffCPU = true
        }
        defer { withExtendedLifetime(directory) {} }
        let names = ["session.json", "commands.jsonl", "samples.jsonl"]
        let texts = try names.map { try Data(contentsOf: files.url.appendingPathComponent($0)) }
        var random = SeededGenerator(seed: 7)
        var pages = 0, errors = 0
        for round in 0..<600 {
            var damaged = texts
            let file = round % names.count
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                let at = Int.random(in: 0..<damaged[file].count, using: &random)
                switch Int.random(in: 0..<5, using: &random) {
                case 0: damaged[file][at] = UInt8.random(in: 0...255, using: &random)
                case 1: damaged[file].remove(at: at)
                case 2: damaged[file].insert(contentsOf: "99999999999999999999".utf8, at: at)
                case 3: damaged[file].replaceSubrange(at..<min(at + 40, damaged[file].count), with: damaged[file].prefix(20))
                default: damaged[file].insert(contentsOf: ["-", "1e308", "[", "{", "\"", "\n", "null"].randomElement(using: &random)?.utf8 ?? "".utf8, at: at)
                }
            }
            let memory = MemoryFiles(
                texts: Dictionary(uniqueKeysWithValues: zip(names, damaged.map { String(decoding: $0, as: UTF8.self) })), pieceLength: 4_096)
            do {
                _ = try page(of: memory)
                pages += 1
            } catch let error as ReportError {
                #expect(error.description.hasPrefix("cannot read session/\(names[file])"), "\(error)")
                errors += 1
            }
        }
        #expect(pages > 20 && errors > 100, "\(pages) pages, \(errors) errors")
    }
}
