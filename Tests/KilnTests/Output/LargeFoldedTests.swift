import Foundation
import TestSupport
import Testing

/// Files that are large enough for two threads give what small pieces give, which one thread reads.
struct LargeFoldedTests {
    /// Some 5 MB: stacks that share much, lines that can't be read, comments at both ends, and no line feed at the end.
    private func writeStacks(to file: String, _ last: String) throws {
        var lines: [String] = ["# unit: ns"]
        for index in 0..<60_000 {
            lines.append("main;loop_\(index % 7);handler_\(index % 301);work_\(index % 5_003)_[k];a_leaf_with_quite_a_long_name_\(index) \(1 + index % 13)")
            if index % 20_000 == 19_999 { lines.append("no number \(index)x") }
        }
        lines += ["# event: cpu-clock", last]
        try Data(lines.joined(separator: "\n").utf8).write(to: URL(fileURLWithPath: file))
    }

    /// - Parameter last: a usual line; and those with which the second half, or both together, need more than 64 bits, so that it is refused.
    @Test(arguments: ["main;last 7", "main;last 18446744073709551615", "main;last 18446744073709251615", "main;last 0.5"])
    func aLargeFileGivesWhatAPipeGives(last: String) throws {
        let directory = temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let file = directory + "/large.folded"
        try writeStacks(to: file, last)
        #expect(try #require(FileManager.default.attributesOfItem(atPath: file)[.size] as? Int) > 4 << 20)
        let read = try KilnRun([file], subcommand: "flamegraph")
        let piped = try KilnRun(["-"], subcommand: "flamegraph", wrapper: ["/bin/sh", "-c", "cat '\(file)' | \"$@\"", "sh"])
        #expect(read.wait() == 0)
        #expect(piped.wait() == 0)
        #expect(read.outputBytes == piped.outputBytes)
        #expect(read.errorText == piped.errorText.replacingOccurrences(of: "kiln: -:", with: "kiln: \(file):"))
        #expect(read.errorText.contains("line 20002: "))
        #expect(read.errorText.contains("line 60006: total beyond 64 bits") == last.hasSuffix("615"))
    }
}
