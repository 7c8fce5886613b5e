import Foundation
import Glibc
import KilnModel
import TestSupport

/// A finished session of `kiln functions`.
struct FunctionRun {
    let record: SessionRecord
    let rows: [FunctionRow]
    let output: String
    let errors: String
    let status: Int32

    /// What kiln makes of what its arguments name, until it ends by itself.
    init(_ arguments: [String], during load: ((KilnRun) throws -> Void)? = nil) throws {
        let directory = temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let kiln = try KilnRun(["-o", directory + "/session", "-i", "0.5"] + arguments, subcommand: "functions")
        guard kiln.attached() else { throw TestFailure("kiln did not attach: \(kiln.errorText)") }
        try load?(kiln)
        status = load == nil ? kiln.wait() : kiln.stop()
        output = kiln.outputText
        errors = kiln.errorText
        guard access(directory + "/session/session.json", F_OK) == 0 else { throw TestFailure("kiln ended with \(status): \(errors)") }
        let decoder = JSONDecoder()
        record = try decoder.decode(SessionRecord.self, from: Data(contentsOf: URL(fileURLWithPath: directory + "/session/session.json")))
        rows = try String(contentsOfFile: directory + "/session/functions.jsonl", encoding: .utf8).split(separator: "\n")
            .map { try decoder.decode(FunctionRow.self, from: Data($0.utf8)) }
    }

    func row(_ name: String) throws -> SessionRecord.Functions.Row {
        guard let row = record.functions?.probed.first(where: { $0.function == name }) else {
            throw TestFailure("\(name) is not among the probed functions: \(record.functions?.probed.map(\.function) ?? [])")
        }
        return row
    }

    func calls(_ name: String) throws -> UInt64 { try row(name).calls }

    /// The calls of all functions by name.
    var calls: [String: UInt64] {
        Dictionary((record.functions?.probed ?? []).map { ($0.function, $0.calls) }, uniquingKeysWith: +)
    }

    /// The times that the program printed: lines `NAME NANOSECONDS`.
    var ownTimes: [String: Double] {
        Dictionary(
            output.split(separator: "\n").compactMap { line in
                let words = line.split(separator: " ")
                guard words.count == 2, let time = Double(words[1]) else { return nil }
                return (String(words[0]), time)
            }, uniquingKeysWith: +)
    }
}
