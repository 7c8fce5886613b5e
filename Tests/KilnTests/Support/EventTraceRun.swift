import Foundation
import KilnModel
import TestSupport

/// A finished `kiln trace exec` or `kiln trace syscalls` with --json.
struct EventTraceRun<Row: Decodable> {
    let rows: [Row]
    let summary: EventTraceEnd.Summary
    let said: String
    /// What the traced command printed on kiln's standard output, which it shares, line by line.
    let printed: [String]

    /// To the end that it comes to by itself.
    init(_ subcommand: String, _ arguments: [String], status expected: Int32 = 0, before: (KilnRun) throws -> Void = { _ in }) throws {
        let kiln = try KilnRun([subcommand, "--json"] + arguments, subcommand: "trace")
        guard kiln.attached() else { throw TestFailure("kiln did not attach: \(kiln.errorText)") }
        try before(kiln)
        let status = kiln.wait()
        guard status == expected else { throw TestFailure("kiln ended with \(status): \(kiln.errorText)") }
        let lines = kiln.outputText.split(separator: "\n").map(String.init), decoder = JSONDecoder()
        printed = lines.filter { !$0.hasPrefix("{") }
        let told = lines.filter { $0.hasPrefix("{") }
        rows = try told.dropLast().map { try decoder.decode(Row.self, from: Data($0.utf8)) }
        guard let last = told.last else { throw TestFailure("no summary: \(kiln.errorText)") }
        summary = try decoder.decode(EventTraceEnd.self, from: Data(last.utf8)).summary
        said = kiln.errorText
    }
}

/// A compiled program, which each test runs as it likes.
final class CompiledProgram {
    let directory = temporaryDirectory()
    var path: String { directory + "/program" }

    init(_ source: String, _ options: [String] = ["-O1", "-static"]) throws {
        let file = path + ".c", errors = path + ".errors"
        try source.write(toFile: file, atomically: true, encoding: .utf8)
        guard try Child("cc", options + ["-o", path, file], errors: errors).wait() == 0 else {
            throw TestFailure("cc failed: \((try? String(contentsOfFile: errors, encoding: .utf8)) ?? "")")
        }
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }
}
