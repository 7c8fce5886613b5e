import Foundation
import KilnModel
import TestSupport
import Testing

/// `kiln report` on files that somebody else may have written.
struct ReportTests {
    /// As in a damaged file: what adds up beyond 64 bits, and what is no count.
    private static let hostile = ["18446744073709551615", "9223372036854775807", "-1", "1e300", "0"]

    @Test func numbersBeyondAllBoundsAreNoCrash() throws {
        let directory = temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let (session, rows) = try Self.files()
        for name in ["session", "rows"] { try FileManager.default.createDirectory(atPath: "\(directory)/\(name)", withIntermediateDirectories: true) }
        func write(_ session: String, _ rows: String, _ name: String) throws {
            try session.write(toFile: "\(directory)/\(name)/session.json", atomically: true, encoding: .utf8)
            try rows.write(toFile: "\(directory)/\(name)/commands.jsonl", atomically: true, encoding: .utf8)
        }
        // All counts at once: those of two processes of one name among them.
        let narrow = ["\"pid\"", "\"port\"", "\"frequency_hz\"", " 6379"]
        let largest = session.split(separator: "\n").map { line in
            narrow.contains { line.contains($0) } ? String(line) : "\(line)\n".replacing(Self.number) { _ in " " + Self.hostile[0] }
        }.joined(separator: "\n")
        try write(largest, rows, "session")
        let report = try KilnRun(["\(directory)/session"], subcommand: "report")
        #expect(report.wait() == 0, "\(report.errorText)")
        #expect(report.outputText.contains("worker        2  18,446,744,073,709,551,615"))
        // And each by itself: an answer, or a line that says what is wrong.
        for (place, text) in [("session", session), ("rows", rows)] {
            let numbers = text.ranges(of: Self.number)
            try #require(numbers.count > 30)
            for (index, range) in numbers.enumerated() {
                let damaged = text.replacingCharacters(in: range, with: " " + Self.hostile[index % Self.hostile.count])
                try write(place == "session" ? damaged : session, place == "rows" ? damaged : rows, place)
                let arguments = place == "session" ? ["\(directory)/session"] : ["\(directory)/rows", "\(directory)/rows"]
                let report = try KilnRun(arguments, subcommand: "report")
                let status = report.wait()
                #expect(
                    status == 0 || (status == 1 && report.errorText.split(separator: "\n").count == 1),
                    "\(damaged[range.lowerBound...].prefix(60)): \(report.errorText)")
                let page = try KilnRun(arguments + ["--html", "-o", "\(directory)/page.html"], subcommand: "report")
                let made = page.wait()
                #expect(
                    made == 0 || (made == 1 && page.errorText.split(separator: "\n").count == 1),
                    "\(damaged[range.lowerBound...].prefix(60)): \(page.errorText)")
            }
        }
    }

    @Test func thePageIsWrittenWhereItIsAskedFor() throws {
        let directory = temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let (session, rows) = try Self.files()
        for name in ["a", "b"] {
            try FileManager.default.createDirectory(atPath: "\(directory)/\(name)", withIntermediateDirectories: true)
            try session.write(toFile: "\(directory)/\(name)/session.json", atomically: true, encoding: .utf8)
            try rows.write(toFile: "\(directory)/\(name)/commands.jsonl", atomically: true, encoding: .utf8)
        }
        // A link is replaced, not followed.
        try FileManager.default.createSymbolicLink(atPath: "\(directory)/a/report.html", withDestinationPath: "\(directory)/a/session.json")
        let page = try KilnRun(["\(directory)/a", "--html"], subcommand: "report")
        #expect(page.wait() == 0 && page.outputText.isEmpty)
        #expect(page.errorText == "kiln: wrote \(directory)/a/report.html\n")
        let html = try String(contentsOfFile: "\(directory)/a/report.html", encoding: .utf8)
        #expect(html.hasPrefix("<!doctype html>") && html.hasSuffix("</html>\n"))
        #expect(try String(contentsOfFile: "\(directory)/a/session.json", encoding: .utf8) == session)
        let printed = try KilnRun(["\(directory)/a", "--html", "-o", "-"], subcommand: "report")
        #expect(printed.wait() == 0 && printed.outputText == html)
        let both = try KilnRun(["\(directory)/a", "\(directory)/b", "--html"], subcommand: "report")
        #expect(both.wait() == 0 && FileManager.default.fileExists(atPath: "\(directory)/b/comparison.html"))
        let policy = try KilnRun(["--csp"], subcommand: "report")
        #expect(policy.wait() == 0 && html.contains(policy.outputText.trimmingCharacters(in: .newlines)))
        for (arguments, reason) in [
            (["\(directory)/none", "--html"], "cannot read \(directory)/none/session.json: No such file or directory"),
            (["\(directory)/a", "--html", "-o", "/proc/x"], "cannot write /proc/x"),
        ] {
            let failed = try KilnRun(arguments, subcommand: "report")
            #expect(failed.wait() == 1 && failed.errorText.hasPrefix("kiln: \(reason)"), "\(failed.errorText)")
        }
        // A page never replaces what it is made from, nor what is no file.
        for (arguments, kept) in [
            (["\(directory)/a", "--html", "-o", "\(directory)/a/session.json"], session),
            (["\(directory)/a", "\(directory)/b", "--html", "-o", "\(directory)/b/session.json"], session),
            (["\(directory)/a", "--html", "-o", "\(directory)/a/commands.jsonl"], rows),
        ] {
            let refused = try KilnRun(arguments, subcommand: "report"), file = try #require(arguments.last)
            #expect(refused.wait() == 1 && refused.errorText.contains("\(file): is read and can't be written"), "\(refused.errorText)")
            #expect(try String(contentsOfFile: file, encoding: .utf8) == kept)
        }
        let pipe = directory + "/pipe"
        try #require(mkfifo(pipe, 0o600) == 0)
        let reader = try Child("cat", [pipe], output: directory + "/piped"),
            piped = try KilnRun(["\(directory)/a", "--html", "-o", pipe], subcommand: "report")
        #expect(piped.wait() == 0 && reader.wait() == 0)
        #expect(try String(contentsOfFile: directory + "/piped", encoding: .utf8) == html)
        for arguments in [["\(directory)/a", "-o", "x"], []] {
            let wrong = try KilnRun(arguments, subcommand: "report")
            #expect(wrong.wait() == 64, "\(wrong.errorText)")
        }
    }

    /// A number that is a value or an element, with the space before it.
    private static var number: Regex<Substring> { #/ -?[0-9]+(?:\.[0-9]+)?(?=[,\]}\n ])/# }

    /// session.json and commands.jsonl with something in each field.
    static func files() throws -> (session: String, rows: String) {
        var histogram = Histogram()
        for latency: UInt64 in [900, 15_000, 70_000_000_000] { histogram.record(Nanoseconds(latency), times: 101) }
        var counts = CommandCounts(calls: 303, phases: [.service: histogram, .exec: histogram, .wait: histogram])
        counts.errors = 2
        counts.errorWords = ["ERR": 2]
        counts.runQueue = Nanoseconds(7)
        counts.largestRequest = 2000
        let name = CommandName(bytes: Array("GET".utf8))
        var snapshot = Snapshot(time: Nanoseconds(5_000_000_000))
        snapshot.commands[CommandKey(process: 0, name: name)] = counts
        snapshot.waits[WaitKey(process: 0, blocker: name, blocked: name)] = WaitCounts(times: 3, wait: Nanoseconds(3000))
        snapshot.clients[ClientKey(process: 0, address: "unix")] = ClientCounts(commands: 303, receivedBytes: 5, sentBytes: 6)
        snapshot.syscalls[SyscallKey(process: 0, number: 0)] = SyscallCounts(count: 5, errors: 1)
        snapshot.losses = ["receive_gaps": 1]
        var record = SessionRecord(
            version: "0", kernel: "6", started: "2026-01-02T03:04:05Z", interval: 1, ended: "duration",
            target: SessionRecord.Target(pid: 7, exe: nil, comm: "redis-server", ports: [6379], container: nil), snapshot: snapshot,
            cost: SessionRecord.Cost(programs: nil, ownCPU: .zero, ownPeakRSS: 1, targetCPU: Nanoseconds(1_000_000_000), attach: .zero)
        )
        record.addRequests(of: snapshot, process: 0, hook: "socket", side: .server, tlsLibrary: nil, programs: [])
        record.addSyscalls(of: snapshot, process: 0) { "call \($0)" }
        record.addSamples(of: snapshot, process: 0, frequency: 99, expected: 99)
        record.samples.onCPU.recorded = 10
        record.samples.onCPU.ends = ["no_row": 1]
        record.samples.onCPU.names = NamesRecord(named: 3, unnamed: [NamesRecord.Cause(module: "libc.so.6", reason: "no symbol"): 2])
        record.samples.onCPU.processes = [7, 8].map { SessionRecord.Process(pid: $0, comm: "worker", samples: 5) }
        record.samples.byCommand = byCommand(name, snapshot)
        var selection = CallSelection()
        selection.threshold = .percentile(0.99)
        (selection.commands, selection.clients, selection.errorsOnly) = (["get"], ["unix"], true)
        snapshot.judged[CommandKey(process: 0, name: name)] = JudgedCalls(slow: .init(count: 3, service: Nanoseconds(5), sendBlocked: Nanoseconds(2)))
        record.addKeptCalls(selection, of: snapshot, process: 0)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        let rows = try (10..<15).map { second in
            try encoder.encode(
                CommandRow(
                    time: "2026-01-02T03:04:\(second)Z", interval: Nanoseconds(1_000_000_000), pid: 7, command: name, phase: .service, counts: counts
                ))
        }
        return (
            String(decoding: try encoder.encode(record), as: UTF8.self),
            rows.map { String(decoding: $0, as: UTF8.self).split(separator: "\n").joined() + "\n" }.joined()
        )
    }

    private static func byCommand(_ name: CommandName, _ snapshot: Snapshot) -> SessionRecord.ByCommand {
        var waits = WaitTimes()
        for state in WaitState.allCases { waits.add(Nanoseconds(9), in: state) }
        let work = [Work(.command(name), .exec), Work(.command(name), .reply), Work(.command(name), .read), Work(.unknown(reason: "io-threads"))]
        func stack(_ work: Work, _ state: WaitState?) -> NamedStack {
            NamedStack(process: 0, root: "redis-server", work: work, state: state, frames: "main;lookup", weight: 5)
        }
        return SessionRecord.ByCommand(
            process: 0, onCPU: work.map { stack($0, nil) }, offCPU: work.map { stack($0, .sleeping) }, waits: work.map { (0, $0, false, waits) },
            frequency: 99, snapshot: snapshot, keepsAll: true)
    }
}
