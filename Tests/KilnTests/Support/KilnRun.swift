import Foundation
import Glibc
import KilnModel
import TestSupport

/// A run of the real binary, as a user would start it.
final class KilnRun {
    private let child: Child
    private let directory = temporaryDirectory()

    /// The binary that was built beside the tests.
    static var binary: String {
        let own = URL(fileURLWithPath: CommandLine.arguments[0]).resolvingSymlinksInPath()
        var folder = own.deletingLastPathComponent()
        while folder.path != "/" {
            let candidate = folder.appendingPathComponent("kiln").path
            if access(candidate, X_OK) == 0, !isDirectory(candidate) { return candidate }
            folder.deleteLastPathComponent()
        }
        return "kiln"
    }

    /// `kiln redis` with these arguments, or another subcommand; behind `wrapper`, a command that runs it.
    init(_ arguments: [String], subcommand: String = "redis", wrapper: [String] = []) throws {
        let command = wrapper + [Self.binary, subcommand] + arguments
        child = try Child(command[0], Array(command.dropFirst()), output: directory + "/out", errors: directory + "/err")
    }

    deinit {
        stop()
        try? FileManager.default.removeItem(atPath: directory)
    }

    var pid: Int32 { child.pid }
    var isRunning: Bool { child.isRunning }
    var outputText: String { (try? String(contentsOfFile: directory + "/out", encoding: .utf8)) ?? "" }
    var outputBytes: Data { FileManager.default.contents(atPath: directory + "/out") ?? Data() }
    var errorBytes: Data { FileManager.default.contents(atPath: directory + "/err") ?? Data() }
    var errorText: String { (try? String(contentsOfFile: directory + "/err", encoding: .utf8)) ?? "" }

    /// Wait until the programs are attached; false: it ended before.
    func attached() -> Bool {
        _ = eventually { errorText.contains(": attached to") || !isRunning }
        return errorText.contains(": attached to")
    }

    /// Ask for the end as Ctrl-C does, and wait; the exit status.
    @discardableResult
    func stop(signal: Int32 = SIGINT) -> Int32 {
        if isRunning { kill(pid, signal) }
        return wait()
    }

    /// The exit status; a run that doesn't end is killed.
    func wait() -> Int32 {
        if !eventually(within: 150, { !isRunning }) { kill(pid, SIGKILL) }
        return child.wait()
    }
}

private func isDirectory(_ path: String) -> Bool {
    var isDirectory: ObjCBool = false
    return FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory) && isDirectory.boolValue
}

/// A finished session, read back from its files.
struct Session {
    let record: SessionRecord
    let folded: String
    let commandRows: [CommandRow]
    let output: String

    init(directory: String, output: String = "") throws {
        let decoder = JSONDecoder()
        record = try decoder.decode(SessionRecord.self, from: Data(contentsOf: URL(fileURLWithPath: directory + "/session.json")))
        folded = (try? String(contentsOfFile: directory + "/stacks.folded", encoding: .utf8)) ?? ""
        // `kiln record` knows no commands.
        let commands = record.hook == "none" ? "" : try String(contentsOfFile: directory + "/commands.jsonl", encoding: .utf8)
        commandRows = try commands.split(separator: "\n").map { try decoder.decode(CommandRow.self, from: Data($0.utf8)) }
        self.output = output
        let picture = directory + "/flamegraph.svg"
        if access(picture, F_OK) == 0, let complaint = try xmllint(picture) { throw TestFailure("\(picture): \(complaint)") }
    }

    /// Requests of a command as the rows of the intervals add up: each phase has a row, with the same calls.
    func callsInRows(_ command: String) -> UInt64 {
        commandRows.filter { $0.command == command && ["service", "wait"].contains($0.phase) }.map(\.calls).reduce(0, +)
    }

    /// Requests by command.
    var counts: [String: UInt64] { record.commands.mapValues(\.count) }

    /// Run kiln on a process while `load` runs, and read what it wrote; it has to end with `status`.
    static func recording(
        pid: Int32, _ arguments: [String] = [], status expected: Int32 = 0, during load: () throws -> Void
    ) throws -> Session {
        let directory = temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let kiln = try KilnRun(["-p", "\(pid)", "-o", directory + "/session", "-i", "0.5"] + lightOptions + arguments)
        guard kiln.attached() else { throw TestFailure("kiln did not attach: \(kiln.errorText)") }
        do { try load() } catch {
            kiln.stop()
            throw error
        }
        let status = kiln.stop()
        guard status == expected else { throw TestFailure("kiln ended with \(status): \(kiln.errorText)") }
        return try Session(directory: directory + "/session", output: kiln.outputText)
    }
}
