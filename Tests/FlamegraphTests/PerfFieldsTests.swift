import Foundation
import TestSupport
import Testing
@testable import Flamegraph

/// Recordings of perf, printed with each set of fields. What a sample is says perf itself, one field at a time: a line of `-F comm`, `-F tid`
/// and so on for each sample.
@Suite(.serialized, .enabled(if: PerfRecording.isPossible, "perf can't record here, or there is no C compiler"))
struct PerfFieldsTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var name: String
        var arguments: [String]
        /// Fields that only this recording has.
        var extra: [String] = []
        /// How many sets of fields. Of a whole host perf takes seconds to print one: it reads the symbols of all that runs.
        var sets = 15
        var perf = PerfRecording.perf

        var testDescription: String { name }
    }

    static let cases = [
        Case(name: "without call chains", arguments: ["-e", "cpu-clock", "-F", "199"], extra: ["tod", "srcline", "insn", "insnlen", "flags"], sets: 40),
        Case(name: "frame pointers", arguments: ["-e", "cpu-clock", "-F", "199", "-g"], extra: ["tod", "srcline", "srccode", "insnlen"], sets: 40),
        Case(name: "DWARF", arguments: ["-e", "cpu-clock", "-F", "99", "--call-graph", "dwarf,4096"]),
        Case(name: "all CPUs, call chains", arguments: ["-a", "-e", "cpu-clock", "-F", "99", "-g"], sets: 5),
        Case(name: "all CPUs", arguments: ["-a", "-e", "cpu-clock", "-F", "99"], sets: 5),
        Case(
            name: "addresses, call chains", arguments: ["-e", "page-faults", "-c", "300", "-d", "--data-page-size", "--phys-data", "-g"],
            extra: ["addr", "phys_addr", "data_page_size", "tod"], sets: 40),
        Case(
            name: "addresses", arguments: ["-e", "page-faults", "-c", "300", "-d", "--data-page-size", "--phys-data"],
            extra: ["addr", "phys_addr", "data_page_size", "tod"], sets: 40),
        Case(
            name: "registers, call chains", arguments: ["-e", "cpu-clock", "-F", "99", "-g", "--user-regs=ip,sp", "--intr-regs=ip,sp"],
            extra: ["uregs", "iregs"]),
        Case(name: "tracepoint, call chains", arguments: ["-e", "sched:sched_switch", "-g"], extra: ["trace"]),
        Case(name: "tracepoint", arguments: ["-e", "sched:sched_switch"], extra: ["trace"]),
        Case(name: "group", arguments: ["-a", "-e", "{cpu-clock,page-faults}:S", "-F", "99", "-g"], sets: 5),
    ]

    /// The same with other versions of perf, where they could be fetched (Tests/perf/fetch.sh).
    static let otherCases = PerfRecording.others.flatMap { perf in
        cases.filter { !$0.arguments.contains("-a") }.map { recorded in
            var other = recorded
            other.perf = perf.path
            other.name += ", \(perf.name)"
            other.sets = 14
            return other
        }
    }

    @Test(arguments: cases + otherCases)
    func everySetOfFieldsIsReadRightOrRefused(_ recorded: Case) throws {
        let recording = try PerfRecording(recorded.arguments, recorded.perf)
        let truth = try recording.samples()
        try #require(truth.count > 20)
        let instructions: [[String]] = [
            [], ["ip"], ["ip", "sym"], ["ip", "dso"], ["ip", "sym", "dso"], ["ip", "sym", "symoff", "dso"],
            // Newer ones than 6.1.
            ["ip", "dso", "dsoff"], ["ip", "sym", "symoff", "dso", "dsoff"],
        ]
        // Files of the host's other processes come and go between two runs of `perf script`: then it names their frames otherwise.
        let ownProcesses: Set = ["threads", "C2_CompilerThre", "DB_writer", "worker_7", "ad", "a_12/34_5.6:_b", "lead", "7", "123_456_7", "[unknown]"]
        func isOwn(_ process: String) -> Bool { !recorded.arguments.contains("-a") || ownProcesses.contains(process) }
        let others = ["time", "cpu", "misc", "event", "period"] + recorded.extra
        var generator = SeededGenerator(seed: 20)
        var read = 0
        for number in 0..<recorded.sets {
            let chosen = others.filter { _ in Bool.random(using: &generator) }
            let instruction = instructions[number % instructions.count]
            let numbers = [["tid"], ["pid"], ["pid", "tid"]].randomElement(using: &generator) ?? ["tid"]
            let fields = ["comm"] + numbers + chosen + instruction
            // Some that this recording doesn't have perf refuses itself.
            guard let text = try recording.printed(fields) else { continue }
            let result = collapse(text)
            // Without time, event and processor what follows a thread's number can't be told from a comm in every case: then nothing is read.
            if result.report.samples == 0 {
                #expect(Set(chosen).isDisjoint(with: ["time", "event", "cpu"]), "\(fields)")
                continue
            }
            read += 1
            var known: [String: UInt64] = [:]
            for sample in truth where isOwn(sample.process) && (!chosen.contains("event") || sample.event == truth[0].event) {
                known[sample.folded(fields), default: 0] += chosen.contains("period") ? max(sample.period, 1) : 1
            }
            let expected = known.map { "\($0.key) \($0.value)" }
            let lines = result.lines.filter { isOwn(String($0[..<($0.firstIndex(of: ";") ?? $0.lastIndex(of: " ") ?? $0.endIndex)])) }
            // The lines that differ, not all of them: of a whole host they are many.
            #expect(Set(lines).subtracting(expected) == [], "\(fields)")
            #expect(Set(expected).subtracting(lines) == [], "\(fields)")
            #expect(result.report.rejectedCount == 0, "\(fields): \(result.report.rejectedLines)")
            #expect(result.report.accountedLines == result.report.lines, "\(fields)")
        }
        #expect(read > 0)
    }

    /// Comms that end in numbers, with nothing behind them to tell where they end.
    @Test(arguments: [["comm", "time", "event", "ip", "sym"], ["comm", "ip", "sym", "dso"], ["ip", "sym", "dso"], ["comm", "event"]])
    func textWithoutNumbersOfThreadsIsRefused(fields: [String]) throws {
        let recording = try PerfRecording(["-e", "cpu-clock", "-F", "199", "-g"])
        let report = collapse(try #require(try recording.printed(fields))).report
        #expect(report.samples == 0)
        #expect(report.rejectedCount > 0)
    }

    @Test func recordsThatAreNoSamplesChangeNothing() throws {
        let recording = try PerfRecording(["-e", "cpu-clock", "-F", "199", "-g", "--switch-events"])
        let plain = try #require(try recording.output(["script"]))
        let all = try #require(
            try recording.output(["script", "--show-mmap-events", "--show-task-events", "--show-switch-events", "--show-bpf-events", "--show-lost-events"]))
        let (result, expected) = (collapse(all), collapse(plain))
        #expect(result.lines == expected.lines)
        #expect(result.report.rejectedCount == 0)
        #expect(result.report.otherRecords > 50)
    }

    /// A time stamp in a frame is a sample that was taken for one.
    @Test(arguments: cases.filter { !$0.arguments.contains("-a") } + otherCases)
    func noFrameHoldsATime(_ recorded: Case) throws {
        let recording = try PerfRecording(recorded.arguments, recorded.perf)
        for arguments in [
            ["script"], ["script", "-G"], ["script", "--ns"], ["script", "--reltime"], ["script", "--deltatime"], ["script", "-F", "+srcline"],
        ] {
            guard let text = try recording.output(arguments) else { continue }
            let result = collapse(text)
            #expect(result.report.rejectedCount == 0, "\(arguments): \(result.report.rejectedLines)")
            #expect(result.report.samples > 0)
            for line in result.lines { #expect(!line.dropLast(12).contains(/;[^;]*\d\.\d{6}/), "\(line)") }
        }
    }
}

/// What perf recorded of a program with awkward threads.
private struct PerfRecording {
    private let directory: TemporaryDirectory
    private var file: String { directory.url.appendingPathComponent("perf.data").path }

    static let perf = program("perf") ?? ""
    /// Those of other suites of Debian.
    static let others: [(name: String, path: String)] = ["trixie", "sid"].compactMap { suite in
        let path = checkout.appendingPathComponent(".build-perf/perf-\(suite)").path
        return FileManager.default.isExecutableFile(atPath: path) ? ("perf of \(suite)", path) : nil
    }

    static let isPossible = (try? PerfRecording(["-e", "cpu-clock", "-F", "99"])) != nil

    struct Unavailable: Error {}

    private let perf: String

    init(_ arguments: [String], _ perf: String = perf) throws {
        directory = try TemporaryDirectory()
        self.perf = perf
        guard let compiler = program("cc") else { throw Unavailable() }
        let source = PerfScriptTests.fixtures.deletingLastPathComponent().appendingPathComponent("threads.c").path
        let binary = directory.url.appendingPathComponent("threads").path
        guard try Self.run(compiler, ["-O1", "-g", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls", source, "-o", binary, "-lpthread"]) != nil,
            try Self.run(perf, ["record", "-q", "--sample-cpu", "-k", "CLOCK_MONOTONIC", "-o", file] + arguments + [binary]) != nil
        else { throw Unavailable() }
    }

    struct Sample {
        var comm: String
        var event: String
        var period: UInt64
        /// Innermost first: the function, and what stands in parentheses behind it.
        var frames: [(symbol: String, module: String)]

        /// As `collapse` writes it.
        var process: String { comm.isEmpty ? "[unknown]" : String(comm.map { $0 == " " || $0 == "\t" ? "_" : $0 }) }

        func folded(_ fields: [String]) -> String {
            guard fields.contains("ip") else { return process }
            let names = frames.map { frame in
                if fields.contains("sym"), !["", "[unknown]"].contains(frame.symbol) {
                    // Other processes of the host have names with arguments.
                    return text(Array(PerfSymbol.shown(Array(frame.symbol.utf8)[...], isJIT: false, demangle: nil)))
                }
                if !fields.contains("dso") || ["", "[unknown]", "inlined"].contains(frame.module) { return "[unknown]" }
                return "[\(frame.module.split(separator: "/").last ?? "")]"
            }
            return ([process] + names.reversed()).joined(separator: ";")
        }
    }

    /// Every sample, each of its fields printed by itself.
    func samples() throws -> [Sample] {
        func lines(_ field: String) throws -> [String] {
            text(try printed([field]) ?? []).split(separator: "\n", omittingEmptySubsequences: false).dropLast()
                .map { $0.trimmingCharacters(in: .whitespaces) }
        }
        /// A list for each sample, what stands behind the addresses.
        func stacks(_ field: String) throws -> [[String]] {
            let printed = text(try printed(["ip", field]) ?? [])
            let samples = printed.contains("\t") ? printed.components(separatedBy: "\n\n") : printed.components(separatedBy: "\n")
            return samples.dropLast().map { sample in
                sample.split(separator: "\n").map { line in
                    let words = line.trimmingCharacters(in: .whitespaces).split(separator: " ", maxSplits: 1)
                    return words.count > 1 ? String(words[1]) : ""
                }
            }
        }
        let (comms, events, periods) = (try lines("comm"), try lines("event"), try lines("period"))
        let (symbols, modules) = (try stacks("sym"), try stacks("dso"))
        #expect(Set([comms, events, periods].map(\.count) + [symbols.count, modules.count]).count == 1)
        return comms.indices.map { index in
            Sample(
                comm: comms[index], event: String(events[index].dropLast()), period: UInt64(periods[index]) ?? 0,
                frames: zip(symbols[index], modules[index]).map {
                    ($0.replacing(" (inlined)", with: ""), String($1.dropFirst().dropLast()))
                })
        }
    }

    func printed(_ fields: [String]) throws -> [UInt8]? { try output(["script", "-F", fields.joined(separator: ",")]) }

    /// What perf prints, or nil where it refuses.
    func output(_ arguments: [String]) throws -> [UInt8]? {
        try Self.run(perf, arguments + ["-i", file])
    }

    private static func run(_ program: String, _ arguments: [String]) throws -> [UInt8]? {
        let process = Process()
        let output = Pipe()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = arguments
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        try runWithoutBlockedSignals(process)
        let bytes = Array(try output.fileHandleForReading.readToEnd() ?? Data())
        process.waitUntilExit()
        return process.terminationStatus == 0 ? bytes : nil
    }
}
