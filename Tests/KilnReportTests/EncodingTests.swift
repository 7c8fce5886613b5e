import Foundation
import KilnModel
import TestSupport
import Testing
@testable import KilnReport
@testable import KilnSessions

/// What a page has, read by a second implementation.
struct EncodingTests {
    static func generated(_ change: (inout GeneratedSession) -> Void = { _ in }) throws -> (directory: TemporaryDirectory, files: DiskFiles) {
        let directory = try TemporaryDirectory()
        var session = GeneratedSession()
        change(&session)
        try session.write(to: directory.url)
        return (directory, DiskFiles(url: directory.url))
    }

    @Test func cellsSurviveTheWayIntoThePage() throws {
        let (directory, files) = try Self.generated { $0.seconds = 30 }
        defer { withExtendedLifetime(directory) {} }
        let page = PageReader(try page(of: files))
        let data = try page.json("page"), session = try #require((data["sessions"] as? [[String: Any]])?.first)
        let commands = try #require(session["commands"] as? [[String: Any]])
        let ticks = try #require((session["ticks"] as? [String: Any])?["times"] as? [Int]).count / 2
        #expect(ticks == 30 && commands.count == 6)
        // From the file, line by line.
        var expected: [String: [[Int]]] = [:]
        for line in try String(contentsOf: files.url.appendingPathComponent("commands.jsonl"), encoding: .utf8).split(separator: "\n") {
            let row = try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
            let time = try #require(row["time"] as? String), second = try #require(Int(time.dropFirst(17).prefix(2))) - 1
            for slot in try #require(row["slots"] as? [[Int]]) {
                expected["\(row["command"] ?? "") \(row["phase"] ?? "")", default: []].append([second, GeneratedSession.slot(UInt64(slot[0])), slot[2]])
            }
        }
        var found: [String: [[Int]]] = [:]
        for (number, command) in commands.enumerated() {
            for (place, phase) in try #require(command["phases"] as? [[String: Any]]).enumerated() {
                let lowest = try #require(phase["lowest"] as? Int), highest = try #require(phase["highest"] as? Int)
                let counts = try #require(page.numbers("cells-0-\(number)-\(place)"))
                #expect(counts.count == (highest - lowest + 1) * ticks)
                let name = "\(command["name"] ?? "") \(phase["name"] ?? "")"
                for (at, count) in counts.enumerated() where count > 0 { found[name, default: []].append([at % ticks, lowest + at / ticks, Int(count)]) }
                #expect(Int(counts.max() ?? 0) == phase["largest"] as? Int)
            }
        }
        #expect(Set(found.keys) == Set(expected.keys))
        for (name, cells) in expected { #expect(Set(found[name] ?? []) == Set(cells), "\(name)") }
    }

    @Test func stacksSurviveTheWayIntoThePage() throws {
        let (directory, files) = try Self.generated {
            $0.seconds = 20
            $0.hasOffCPU = true
            $0.hasThreads = true
        }
        defer { withExtendedLifetime(directory) {} }
        let page = PageReader(try page(of: files))
        let session = try #require((try page.json("page")["sessions"] as? [[String: Any]])?.first)
        let words = try #require(session["words"] as? [String]), groups = try #require(session["groups"] as? [Int])
        let names = try #require(try page.json("names")["names"] as? [String]), kindOf = Array(try #require(try page.json("names")["kindOf"] as? String))
        let numbers = try #require(page.numbers("stacks")).map(Int.init), count = numbers[0]
        var texts: [String] = []
        for stack in 0..<count {
            let back = numbers[1 + stack], name = numbers[1 + count + stack]
            let text = names[name] + (("u" as Character == kindOf[name] || kindOf[name] == "p") ? "" : "_[\(kindOf[name])]")
            texts.append(back == 0 ? text : texts[stack - back] + ";" + text)
        }
        #expect(numbers.count == 1 + 2 * count && Set(texts).count == count)
        // What the page says, and what the file says: group, time, stack, weight.
        var found: [String: UInt64] = [:], expected: [String: UInt64] = [:]
        let block = try #require(page.block("samples-0"))
        var parts: [[UInt64]] = [], at = 0
        for _ in 0..<3 {
            var length = 0, shift = 0
            repeat {
                length |= Int(block[at] & 127) << shift
                shift += 7
                at += 1
            } while block[at - 1] > 127
            parts.append(PageReader.numbers(block[at..<(at + length)]))
            at += length
        }
        #expect(at == block.count)
        var place = 0, entry = 0
        for group in 0..<(groups.count / 8) {
            let fields = groups[(8 * group)..<(8 * group + 8)].map { $0 }
            let name = "\(fields[0]) " + fields[1...6].map { words[$0] }.joined(separator: "|") + " \(fields[7])"
            var stack = 0
            let stacks = parts[0][place]
            place += 1
            for _ in 0..<stacks {
                stack += Int(parts[0][place])
                var tick = 0
                for _ in 0..<parts[0][place + 1] {
                    tick += Int(parts[1][entry])
                    found["\(name) \(tick) \(texts[stack])", default: 0] += parts[2][entry]
                    entry += 1
                }
                place += 2
            }
        }
        #expect(entry == parts[1].count && entry == parts[2].count && place == parts[0].count)
        for sample in try SampleFile(files.url).samples {
            let group = sample.group
            let band = group.low.map { GeneratedSession.slot($0) / 8 + 1 } ?? 0
            let fields = ["redis-server", group.thread, group.command, group.phase, "", group.state].map { $0 ?? "" }.joined(separator: "|")
            let root = (["redis-server"] + [group.thread].compactMap(\.self) + sample.frames).joined(separator: ";")
            expected["\(group.kind == "on-cpu" ? 0 : 1) \(fields) \(band) \(sample.interval) \(root)", default: 0] += sample.weight
        }
        #expect(found.count == expected.count)
        #expect(found == expected)
    }

    /// Nothing of a session can be markup, or end the element that it is in.
    @Test func namesCannotLeaveTheirPlace() throws {
        let hostile = "</script><img src=x onerror=alert(1)>&\\u2028"
        let record = emptyRecord.replacing("\"redis-server\"", with: "\"\(hostile)\"")
        let html = PageReader(try page(of: MemoryFiles(texts: ["session.json": record, "commands.jsonl": row(1, hostile)]))).html
        #expect(!html.contains("<img"))
        #expect(html.components(separatedBy: "<script").count == html.components(separatedBy: "</script>").count)
        #expect(html.contains("<title>&lt;/script&gt;&lt;img"))
    }

    @Test func theSameSessionGivesTheSamePage() throws {
        let (directory, files) = try Self.generated { $0.seconds = 5 }
        defer { withExtendedLifetime(directory) {} }
        #expect(try page(of: files) == page(of: files))
    }

    @Test func thePolicyListsTheHashesOfThePage() throws {
        let html = PageReader(try page(of: MemoryFiles(texts: ["session.json": emptyRecord]))).html
        #expect(html.contains("content=\"\(ReportPage.contentSecurityPolicy)\""))
        #expect(ReportPage.contentSecurityPolicy.hasPrefix("default-src 'none'; script-src 'sha256-"))
        for text in [ReportPage.script, ReportPage.style] { #expect(!String(decoding: text, as: UTF8.self).contains("</")) }
    }

    /// The page explains terms in the words of the glossary.
    @Test func theGlossaryIsThatOfTheDocuments() throws {
        let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../../docs/glossary.md")
        let lines = try String(contentsOf: file, encoding: .utf8).split(separator: "\n")
        for (term, meaning) in Glossary.terms { #expect(lines.contains { $0.hasPrefix("| \(term) | \(meaning) |") }, "\(term)") }
    }
}

/// A second implementation that reads samples.jsonl.
struct SampleFile {
    struct Group {
        var kind = "", thread: String?, command: String?, phase: String?, state: String?
        var low: UInt64?
    }
    struct Sample {
        var group: Group
        /// The interval's number, its middle in milliseconds since 1970.
        var interval: Int, middle: Double
        var frames: [String]
        var weight: UInt64
    }
    private(set) var samples: [Sample] = []

    init(_ directory: URL) throws {
        var frames: [String] = [], stacks: [[String]] = [], groups: [Group] = [], intervals = 0
        for line in try String(contentsOf: directory.appendingPathComponent("samples.jsonl"), encoding: .utf8).split(separator: "\n") {
            let fields = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any] ?? [:]
            if let frame = fields["frame"] as? String {
                frames.append(frame)
            } else if let caller = fields["caller"] as? Int, let frame = fields["in"] as? Int {
                stacks.append((caller < 0 ? [] : stacks[caller]) + [frames[frame]])
            } else if let group = fields["group"] as? [String: Any] {
                groups.append(
                    Group(
                        kind: group["kind"] as? String ?? "", thread: group["thread"] as? String, command: group["command"] as? String,
                        phase: group["phase"] as? String,
                        state: group["state"] as? String, low: (group["band_ns"] as? [Any])?.first.flatMap { ($0 as? NSNumber)?.uint64Value }))
            } else if let time = fields["time"] as? String {
                let end = ISO8601DateFormatter.milliseconds(time), length = (fields["interval_s"] as? NSNumber)?.doubleValue ?? 0
                for numbers in fields["samples"] as? [[Int]] ?? [] {
                    for place in stride(from: 1, to: numbers.count, by: 2) {
                        samples.append(
                            Sample(
                                group: groups[numbers[0]], interval: intervals, middle: end - length * 500, frames: stacks[numbers[place]],
                                weight: UInt64(numbers[place + 1])))
                    }
                }
                intervals += 1
            }
        }
    }
}

extension ISO8601DateFormatter {
    static func milliseconds(_ text: String) -> Double {
        let formatter = ISO8601DateFormatter()
        formatter.formatOptions = [.withInternetDateTime, .withFractionalSeconds]
        return (formatter.date(from: text)?.timeIntervalSince1970 ?? .nan) * 1000
    }
}
