import Foundation
import SystemPackage
import TestSupport
import Testing

@testable import KilnHosts

struct DirectoryTests {
    private func received(_ directory: TemporaryDirectory, mostBytes: Int = 1 << 30) throws -> ReceivedDirectory {
        ReceivedDirectory(
            root: try FileDescriptor.open(FilePath(directory.url.path), .readOnly, options: [.directory, .closeOnExec]), mostBytes: mostBytes)
    }

    private func content(_ directory: TemporaryDirectory, _ name: String) -> String? {
        FileManager.default.contents(atPath: directory.url.appendingPathComponent(name).path).map { String(decoding: $0, as: UTF8.self) }
    }

    private func take(_ frame: Frame, into received: ReceivedDirectory) throws {
        switch frame {
        case .append(let file, let bytes): try received.append(bytes, to: file)
        case .replace(let file, let bytes, let isLast): try received.replace(file, bytes, isLast: isLast)
        default: throw TestFailure("no file: \(frame)")
        }
    }

    @Test func growingAndReplacedFilesArrive() throws {
        let there = try TemporaryDirectory(), here = try TemporaryDirectory()
        let growing = GrowingDirectory(there.url.path), received = try received(here)
        let rows = there.url.appendingPathComponent("commands.jsonl"), record = there.url.appendingPathComponent("session.json")
        func news() throws -> Int {
            var count = 0
            try growing.sendNews {
                count += 1
                try take($0, into: received)
            }
            return count
        }
        try Data().write(to: rows)
        #expect(try news() == 1 && content(here, "commands.jsonl") == "" && news() == 0)
        let handle = try FileHandle(forWritingTo: rows)
        for number in 0..<5 {
            try handle.write(contentsOf: Data("row \(number)\n".utf8))
            // Replaced as a session does it: written aside, and renamed.
            try Data(String(repeating: "x", count: number + 1).utf8).write(to: record, options: .atomic)
            #expect(try news() == 2)
        }
        #expect(content(here, "commands.jsonl") == (0..<5).map { "row \($0)\n" }.joined() && content(here, "session.json") == "xxxxx")
        try FileManager.default.createDirectory(at: there.url.appendingPathComponent("redis-1"), withIntermediateDirectories: false)
        try Data("a".utf8).write(to: there.url.appendingPathComponent("redis-1/session.json"))
        try Data(repeating: 65, count: 3_000_000).write(to: there.url.appendingPathComponent("large.folded"))
        try Data().write(to: there.url.appendingPathComponent(".partial"))
        _ = try news()
        #expect(content(here, "redis-1/session.json") == "a" && content(here, "large.folded")?.count == 3_000_000 && content(here, ".partial") == nil)
        #expect(received.received.map(\.name) == ["commands.jsonl", "large.folded", "redis-1/session.json", "session.json"])
    }

    /// The kernel gives the number of a removed file to the next one; that must not pass for a file that has grown.
    @Test func manyReplacementsArriveWhole() throws {
        let there = try TemporaryDirectory(), here = try TemporaryDirectory()
        let growing = GrowingDirectory(there.url.path), received = try received(here)
        for number in 0..<100 {
            let text = "\(number) " + String(repeating: "\(number % 10)", count: 10 + number)
            for _ in 0...(number % 3) { try Data(text.utf8).write(to: there.url.appendingPathComponent("session.json"), options: .atomic) }
            try growing.sendNews { try take($0, into: received) }
            #expect(content(here, "session.json") == text)
        }
    }

    @Test(arguments: ["", "/etc/x", "../x", "a/../x", "a/b/c", ".hidden", "a/.b", "a\nb", "a\u{1b}", "a/", "/", String(repeating: "n", count: 201)])
    func otherNamesAreRefused(_ name: String) throws {
        let here = try TemporaryDirectory(), received = try received(here)
        #expect(throws: ReceivedDirectory.Refusal.self) { try received.append([1], to: name) }
        #expect(throws: ReceivedDirectory.Refusal.self) { try received.replace(name, [1], isLast: true) }
        #expect(try FileManager.default.contentsOfDirectory(atPath: here.url.path) == [])
    }

    /// A replaced file counts once. An incomplete file counts, too.
    @Test func theLimitIsThatOfWhatIsThere() throws {
        let here = try TemporaryDirectory(), received = try received(here, mostBytes: 100), piece = [UInt8](repeating: 1, count: 20)
        for _ in 0..<20 {
            try received.replace("session.json", piece, isLast: false)
            try received.replace("session.json", piece, isLast: true)
        }
        try received.append(piece, to: "commands.jsonl")
        try received.replace("session.json", piece, isLast: false)
        try received.replace("session.json", piece, isLast: false)
        #expect(throws: ReceivedDirectory.Refusal.self) { try received.append([1], to: "commands.jsonl") }
        received.discardPartial()
        try received.append(piece, to: "commands.jsonl")
        #expect(received.received.map(\.size) == [40, 40])
    }

    @Test func whatIsThereIsNotWrittenTo() throws {
        let here = try TemporaryDirectory(), received = try received(here), outside = try TemporaryDirectory()
        let victim = try outside.write(Array("mine".utf8), as: "victim")
        try FileManager.default.createSymbolicLink(at: here.url.appendingPathComponent("commands.jsonl"), withDestinationURL: victim)
        try FileManager.default.createSymbolicLink(at: here.url.appendingPathComponent("sub"), withDestinationURL: outside.url)
        #expect(throws: (any Error).self) { try received.append([1], to: "commands.jsonl") }
        #expect(throws: (any Error).self) { try received.append([1], to: "sub/new") }
        #expect(try String(contentsOf: victim, encoding: .utf8) == "mine" && FileManager.default.contentsOfDirectory(atPath: outside.url.path) == ["victim"])
    }

    @Test func halfFilesAreRemoved() throws {
        let here = try TemporaryDirectory(), received = try received(here)
        try received.append([65], to: "commands.jsonl")
        try received.replace("session.json", [65], isLast: false)
        received.discardPartial()
        #expect(try FileManager.default.contentsOfDirectory(atPath: here.url.path) == ["commands.jsonl"])
    }
}
