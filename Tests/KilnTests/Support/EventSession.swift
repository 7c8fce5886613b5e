import Foundation
import Glibc
import KilnModel
import TestSupport
import Testing

/// A session of `kiln record --event`, read back from its files.
struct EventSession {
    let record: SessionRecord
    /// By the file name in `record`.
    private let stacks: [String: Stacks]

    func event(_ name: String) throws -> SessionRecord.Event {
        try #require(record.samples.events?.first { $0.event == name }, "\(record.samples.events ?? [])")
    }

    /// With a category or without: tracefs, which has it, may not be mounted.
    func event(named name: String) throws -> SessionRecord.Event {
        try #require(record.samples.events?.first { $0.event == name || $0.event.hasSuffix(":" + name) }, "\(record.samples.events ?? [])")
    }

    func stacks(of name: String) throws -> Stacks { try #require(stacks[try event(name).file]) }

    init(_ directory: String) throws {
        record = try Session(directory: directory).record
        var read: [String: Stacks] = [:]
        for event in record.samples.events ?? [] {
            read[event.file] = Stacks(try String(contentsOfFile: "\(directory)/\(event.file)", encoding: .utf8))
            let picture = event.file.replacing("stacks.", with: "").replacing(".folded", with: ".svg")
            if let complaint = try xmllint("\(directory)/\(picture)") { throw TestFailure("\(picture): \(complaint)") }
            let drawn = try String(contentsOfFile: "\(directory)/\(picture)", encoding: .utf8)
            #expect(event.count == 0 || drawn.contains(" \(event.event)"), "the picture names its unit")
        }
        stacks = read
    }

    /// `kiln record` with these arguments while `body` runs.
    static func recording(_ arguments: [String], wrapper: [String] = [], during body: () throws -> Void) throws -> EventSession {
        let directory = temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let kiln = try KilnRun(arguments + ["-o", directory + "/session"], subcommand: "record", wrapper: wrapper)
        guard kiln.attached() else { throw TestFailure("kiln did not attach: \(kiln.errorText)") }
        try body()
        let status = kiln.stop()
        guard status == 0 else { throw TestFailure("kiln ended with \(status): \(kiln.errorText)") }
        return try EventSession(directory + "/session")
    }
}
