import Foundation
import Glibc
import KilnBPF
import KilnKernel
import KilnModel
import KilnTargets
import SystemPackage
import TestSupport
import Testing

@testable import kiln

/// Stacks with labels, as the kernel side gives them: each function's address, innermost first, in this process.
private final class LabelledStacks: Probe {
    var table = StackTable()
    var judged: [CommandKey: JudgedCalls] = [:]
    var selection = CallSelection()
    let names: [Int: CommandName]?
    private var hashes: UInt64 = 0

    init(names: [Int: CommandName]?) { self.names = names }

    func frames(_ functions: [String]) throws -> StackFrames {
        StackFrames(
            kernel: [], user: try functions.map { UInt64(UInt(bitPattern: try #require(dlsym(nil, $0)))) }, interrupted: Array(functions.indices),
            termination: .complete)
    }

    /// Samples of one stack with several labels.
    func sample(_ functions: [String], process: Int = 0, _ weights: [Int: UInt64]) throws {
        hashes += 1
        for (label, weight) in weights {
            let key = StackTable.Key(hash: hashes, process: process, label: label)
            table.learn(key, try frames(functions))
            table.weights[key] = weight
        }
    }

    func wait(_ functions: [String], _ label: Int, _ times: [WaitState: UInt64]) throws {
        hashes += 1
        let key = StackTable.Key(hash: hashes, process: 0, kind: .offCPU, label: label)
        table.learn(key, try frames(functions))
        var waits = WaitTimes()
        for (state, ns) in times { waits.add(Nanoseconds(ns), in: state) }
        waits.ended = 1
        table.waits[key] = waits
    }

    func load() {}
    func attach() -> Nanoseconds { MonotonicClock.now() }
    var stackKinds: [StackKind] { [.onCPU, .offCPU] }
    func stacks() -> StackTable? { table }
    func commandNames() -> [Int: CommandName]? { names }

    func read(into snapshot: inout Snapshot) {
        for name in names ?? [:] { snapshot.commands[CommandKey(process: 0, name: name.value)] = CommandCounts(calls: 1_000) }
        snapshot.judged = judged
        var counts = SampleCounts()
        counts.recorded = table.weights(of: .onCPU)[0] ?? 0
        snapshot.samples = [counts]
    }

    func describe(_ record: inout SessionRecord, at moment: SessionMoment) {
        record.addRequests(of: moment.snapshot, process: moment.process, hook: "none", side: .server, tlsLibrary: nil, programs: [])
        record.hook = "socket"
        record.addSamples(of: moment.snapshot, process: moment.process, frequency: 100, expected: nil)
        record.addKeptCalls(selection, of: moment.snapshot, process: moment.process)
    }
}

private func label(_ activity: kiln_activity, _ row: Int = 0, _ verdict: kiln_verdict = KILN_VERDICT_NONE, idle: Bool = false) -> Int {
    Int(activity.rawValue) << Int(KILN_LABEL_ACTIVITY_SHIFT) | row << Int(KILN_LABEL_ROW_SHIFT)
        | Int(verdict.rawValue) << Int(KILN_LABEL_VERDICT_SHIFT) | (idle ? 1 : 0)
}

/// Sessions whose stacks tell what their threads worked on, from labels to files and tables, without the kernel.
@Suite(.serialized) struct ByCommandSessionTests {
    private static let get = CommandName(bytes: Array("GET".utf8))
    private static let hostile = CommandName(bytes: Array("A;B\u{1b}[1m\nC 12".utf8))

    /// The files of a session, and what it printed of itself.
    private struct Files {
        let record: SessionRecord
        let texts: [String: String]
        let printed: String

        func lines(_ file: String) -> [String] { texts[file]?.split(separator: "\n").map(String.init) ?? [] }
        func sum(_ file: String) -> UInt64 { Stacks(texts[file] ?? "").lines.reduce(0) { $0 + $1.samples } }
    }

    private func session(_ probe: LabelledStacks, idle: Bool = false) throws -> Files {
        // A session blocks the signals that end it.
        var mask = sigset_t()
        pthread_sigmask(SIG_SETMASK, nil, &mask)
        defer { pthread_sigmask(SIG_SETMASK, &mask, nil) }
        let path = temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: path) }
        let directory = DirectorySink(directories: [
            try SessionDirectory(SessionPlace(path, target: "", started: WallTime()), rows: [])
        ])
        let target = try #require(try TargetDiscovery().targets(pids: [getpid()], ports: []).first)
        var plan = kiln.Session.Plan(
            targets: [try SessionTarget(target)], probes: [probe], sinks: [directory], length: try LengthOptions.parse(["--duration", "0.1"]),
            folding: StackFolding(targets: [getpid()], try SamplingOptions.parse([]))
        )
        plan.showsIdle = idle
        try kiln.Session(plan, events: try SessionEvents()).run()
        var texts: [String: String] = [:]
        for file in try FileManager.default.contentsOfDirectory(atPath: path) { texts[file] = try String(contentsOfFile: "\(path)/\(file)", encoding: .utf8) }
        let record = try JSONDecoder().decode(SessionRecord.self, from: Data(try #require(texts["session.json"]).utf8))
        let output = Output(descriptor: FileDescriptor(rawValue: -1))
        return Files(record: record, texts: texts, printed: output.text(of: SessionText(record).lines))
    }

    private func labelled() throws -> LabelledStacks {
        let probe = LabelledStacks(names: [0: .other, 16: Self.get, 17: Self.get, 18: Self.hostile])
        let exec = label(KILN_ACTIVITY_EXEC, 16)
        // Variants of a command are one command.
        try probe.sample(["atoi", "qsort"], [exec: 20, label(KILN_ACTIVITY_EXEC, 17): 5, label(KILN_ACTIVITY_LOOP): 2, label(KILN_ACTIVITY_READ, 16): 0])
        try probe.sample(["abort", "qsort"], [label(KILN_ACTIVITY_REPLY, 16): 7, label(KILN_ACTIVITY_EXEC, 18): 11, label(KILN_ACTIVITY_BACKGROUND): 3])
        try probe.sample(
            ["qsort"], [label(KILN_ACTIVITY_UNKNOWN, Int(KILN_UNKNOWN_IO_THREADS.rawValue)): 40, label(KILN_ACTIVITY_READ, Int(KILN_LABEL_SEVERAL)): 13])
        probe.table.learn(SampledProcess(number: 1, pid: 1, comm: "saver", origin: 0, family: 0, startStack: 0))
        try probe.sample(["atoi"], process: 1, [label(KILN_ACTIVITY_BACKGROUND): 1000])
        try probe.wait(["atoi", "qsort"], exec, [.uninterruptible: 700, .runnable: 50])
        try probe.wait(["qsort"], label(KILN_ACTIVITY_LOOP, idle: true), [.sleeping: 90_000, .runnable: 40])
        return probe
    }

    @Test func stacksByCommandAreAllStacks() throws {
        let files = try session(try labelled()), comm = files.record.target.comm
        let expected = [
            "\(comm);A:B\\x1b[1m\\x0aC\\x2012;exec;qsort;abort 11", "\(comm);GET;exec;qsort;atoi 25", "\(comm);GET;reply;qsort;abort 7",
            "\(comm);[background];qsort;abort 3", "\(comm);[event loop];qsort;atoi 2", "\(comm);[pipeline];read;qsort 13",
            "\(comm);[unknown: io-threads];qsort 40", "saver (child);[background];atoi 1000",
        ]
        #expect(Set(files.lines("stacks.by-command.folded")) == Set(expected))
        #expect(Set(files.lines("stacks.folded")) == ["\(comm);qsort;atoi 27", "\(comm);qsort;abort 21", "\(comm);qsort 53", "saver (child);atoi 1000"])
        #expect(files.sum("stacks.by-command.folded") == files.sum("stacks.folded"))
        #expect(
            files.lines("stacks.off-cpu.by-command.folded") == [
                "\(comm);GET;exec;(runnable);qsort;atoi 50", "\(comm);GET;exec;(uninterruptible);qsort;atoi 700", "\(comm);[event loop];(runnable);qsort 40",
            ])
        #expect(files.sum("stacks.off-cpu.by-command.folded") == files.sum("stacks.off-cpu.folded"))
        let waits = try session(try labelled(), idle: true)
        #expect(waits.sum("stacks.off-cpu.by-command.folded") == 90_790 && waits.sum("stacks.off-cpu.folded") == 90_790)
        #expect(files.texts["slow-against-fast.svg"] == nil)
    }

    @Test func theRecordAndItsPrintoutHaveEachCommand() throws {
        let files = try session(try labelled()), byCommand = try #require(files.record.samples.byCommand)
        let own = byCommand.commands + byCommand.rest.filter { $0.name != "child processes" }
        #expect(own.map(\.samples).reduce(0, +) == files.record.samples.onCPU.recorded)
        let get = try #require(byCommand.commands.first)
        #expect(get.name == "GET" && get.samples == 32 && get.execSamples == 25 && get.readSamples == nil && get.calls == 1_000)
        #expect(get.functions.map { "\($0.function) \($0.samples)" } == ["atoi 25", "abort 7"] && get.offCPU?.ns == 750)
        // Of 101 samples, those of the child left out.
        let lines = files.printed.split(separator: "\n").map { $0.split(separator: " ").joined(separator: " ") }
        let table = lines.drop { !$0.hasPrefix("CPU BY COMMAND") }
        #expect(
            Array(table) == [
                "CPU BY COMMAND of CPU 95 % interval samples calls exec read reply", "GET 32 % 23 to 41 32 1,000 25 % - 6.9 %",
                "self: atoi 78 %, abort 22 %", "A;B\\x1b[1m\\x0aC\\x2012 11 % 6.2 to 18 11 1,000 11 % - -", "self: abort 100 %",
                "pipeline 13 % 7.7 to 21 13 - - 13 % -", "self: qsort 100 %", "event loop 2.0 % 0.5 to 6.9 2 - - - -", "self: atoi 100 %",
                "background 3.0 % 1.0 to 8.4 3 - - - -", "self: abort 100 %", "unknown: io-threads 40 % 31 to 49 40 - - - -", "self: qsort 100 %",
                "child processes - - 1,000 - - - -", "self: atoi 100 %", "OFF-CPU BY COMMAND time waits uninterruptible runnable longest in",
                "GET 750 ns 1 700 ns 50 ns atoi 100 %", "event loop 40 ns 1 - 40 ns qsort 100 %",
                "io-threads: requests pass from one thread to another, and can't be followed there",
            ], "\(files.printed)")
    }

    @Test func eachTableIsInTheOrderOfItsTime() throws {
        let probe = try labelled()
        try probe.wait(["qsort"], label(KILN_ACTIVITY_EXEC, 18), [.sleeping: 800])
        let lines = try session(probe).printed.split(separator: "\n"), waits = lines.drop { !$0.hasPrefix("OFF-CPU BY COMMAND") }
        func commands(_ lines: some Sequence<Substring>) -> [Substring] { lines.filter { $0.hasPrefix("GET") || $0.hasPrefix("A;B") }.map { $0.prefix(3) } }
        #expect(commands(lines.drop { !$0.hasPrefix("CPU BY COMMAND") }) == ["GET", "A;B", "A;B", "GET"] && commands(waits) == ["A;B", "GET"])
    }

    @Test func withoutLabelsThereIsNothingByCommand() throws {
        let probe = LabelledStacks(names: nil)
        try probe.sample(["atoi"], [label(KILN_ACTIVITY_EXEC, 16): 5])
        let files = try session(probe)
        #expect(files.texts["stacks.by-command.folded"] == nil && files.record.samples.byCommand == nil && files.sum("stacks.folded") == 5)
        #expect(!files.printed.contains("BY COMMAND"))
    }

    @Test func aSessionWithLabelsHasItsFileThoughNothingWasSampled() throws {
        let files = try session(LabelledStacks(names: [16: Self.get]))
        #expect(files.texts["stacks.by-command.folded"]?.isEmpty == true && !files.printed.contains("BY COMMAND"))
    }

    @Test func slowCallsAreComparedWithFastOnes() throws {
        let probe = LabelledStacks(names: [16: Self.get])
        probe.selection.threshold = .fixed(Nanoseconds(10_000_000))
        probe.selection.keepsFast = true
        probe.judged[CommandKey(process: 0, name: Self.get)] = JudgedCalls(
            slow: .init(count: 10, service: Nanoseconds(900_000_000), sendBlocked: Nanoseconds(30_000_000)),
            fast: .init(count: 990, service: Nanoseconds(9_000_000)))
        try probe.sample(["atoi", "qsort"], [label(KILN_ACTIVITY_EXEC, 16, KILN_VERDICT_SLOW): 80, label(KILN_ACTIVITY_EXEC, 16, KILN_VERDICT_FAST): 99])
        try probe.wait(["abort"], label(KILN_ACTIVITY_EXEC, 16, KILN_VERDICT_SLOW), [.uninterruptible: 100_000_000])
        let files = try session(probe), comm = files.record.target.comm
        #expect(files.lines("stacks.by-command.folded") == ["\(comm);GET (fast);exec;qsort;atoi 99", "\(comm);GET (slow);exec;qsort;atoi 80"])
        #expect(
            files.lines("stacks.off-cpu.by-command.folded") == [
                "\(comm);GET (slow);exec;(uninterruptible);abort 100000000",
                "\(comm);GET (slow);reply;[between the sends of a reply] 30000000",
            ])
        // Only the text by command has the time that is no wait of the server.
        #expect(files.sum("stacks.off-cpu.folded") == 100_000_000)
        let picture = try #require(files.texts["slow-against-fast.svg"])
        for part in ["slower than 10.0 ms", "nanoseconds", "uninterruptible", "between the sends"] { #expect(picture.contains(part), "\(part)") }
        #expect(
            files.printed.contains(
                """
                calls slower than 10.0 ms, whose stacks are `slow`; those of the others are `fast`:
                  GET: 10 of 1,000 calls, 900 ms of service: about 770 ms on CPU, 100 ms off it, 30.0 ms between the sends of a reply; 0 ns (0.0 %) other work of \
                the same turns

                """), "\(files.printed)")
        #expect(files.record.samples.keptCalls?.judged["GET"]?.slow?.count == 10 && files.record.samples.byCommand?.commands.map(\.calls) == [10, 990])
    }

    /// The picture needs `--compare-slow`.
    @Test func slowCallsAloneAreNotCompared() throws {
        let probe = LabelledStacks(names: [16: Self.get])
        probe.selection.threshold = .percentile(0.99)
        probe.judged[CommandKey(process: 0, name: Self.get)] = JudgedCalls(slow: .init(count: 10), fast: .init(count: 990))
        try probe.sample(["atoi"], [label(KILN_ACTIVITY_EXEC, 16, KILN_VERDICT_SLOW): 8])
        let files = try session(probe)
        #expect(files.texts["slow-against-fast.svg"] == nil && files.texts["stacks.by-command.folded"] != nil)
        #expect(files.printed.contains("calls slower than p99, whose stacks are kept:\n  GET: 10 of 1,000 calls"))
    }

    @Test func withoutAThresholdNoCallIsSlow() throws {
        let probe = LabelledStacks(names: [16: Self.get])
        probe.selection.errorsOnly = true
        probe.judged[CommandKey(process: 0, name: Self.get)] = JudgedCalls(unjudged: .init(count: 7, service: Nanoseconds(900), sendBlocked: Nanoseconds(30)))
        try probe.sample(["atoi"], [label(KILN_ACTIVITY_EXEC, 16): 8])
        try probe.wait(["abort"], label(KILN_ACTIVITY_EXEC, 16), [.runnable: 5])
        let files = try session(probe), comm = files.record.target.comm
        #expect(
            files.lines("stacks.off-cpu.by-command.folded") == [
                "\(comm);GET;exec;(runnable);abort 5", "\(comm);GET;reply;[between the sends of a reply] 30",
            ])
        #expect(files.printed.contains("stacks only of calls that were answered with an error"))
        #expect(files.printed.contains("stacks of 7 calls of GET (of 1,000): 900 ns of service, 30 ns of it between the sends of a reply"))
        #expect(files.texts["slow-against-fast.svg"] == nil)
        // The calls that were asked for, not all.
        #expect(files.record.samples.byCommand?.commands.map(\.calls) == [7])
    }

    /// Of a command that is mostly slow the slow calls are made fewer, of one that is mostly fast the fast ones.
    @Test func asManySlowCallsAsFastOnesAreCompared() throws {
        func stack(_ name: CommandName, _ verdict: Work.Verdict?, _ weight: UInt64, _ state: WaitState? = nil) -> NamedStack {
            NamedStack(process: 0, root: "server", work: Work(.command(name), .exec, verdict), state: state, frames: "main", weight: weight)
        }
        let alone = CommandName(bytes: Array("ALONE".utf8)), keys = CommandName(bytes: Array("KEYS".utf8))
        let samples = [
            stack(Self.get, .slow, 8), stack(Self.get, .fast, 990), stack(keys, .slow, 70), stack(keys, .fast, 1), stack(alone, .slow, 9),
            stack(Self.get, nil, 5),
        ]
        let judged = [
            Self.get: JudgedCalls(slow: .init(count: 10), fast: .init(count: 990)), keys: JudgedCalls(slow: .init(count: 35), fast: .init(count: 5)),
            alone: JudgedCalls(slow: .init(count: 1)),
        ]
        let comparison = try #require(SlowAgainstFast(samples: samples, frequency: 100, times: [stack(Self.get, .fast, 9_900, .runnable)], judged: judged))
        func lines(_ text: [UInt8]) -> [String] { String(decoding: text, as: UTF8.self).split(separator: "\n").map(String.init).filter { !$0.hasPrefix("#") } }
        #expect(lines(comparison.slow) == ["server;GET;exec;main 80000000", "server;KEYS;exec;main 100000000"])
        #expect(lines(comparison.fast) == ["server;GET;exec;(runnable);main 100", "server;GET;exec;main 100000000", "server;KEYS;exec;main 10000000"])
        #expect(SlowAgainstFast(samples: samples, frequency: 100, times: [], judged: [alone: JudgedCalls(slow: .init(count: 1))]) == nil)
    }

    /// A session that is killed leaves the stacks of its last checkpoint.
    @Test func checkpointsHaveTheStacksByCommand() throws {
        let path = temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: path) }
        let directory = DirectorySink(directories: [
            try SessionDirectory(SessionPlace(path, target: "", started: WallTime()), rows: [])
        ])
        var table = try labelled().table
        table.commandNames = [16: Self.get]
        let target = try SessionTarget(try #require(try TargetDiscovery().targets(pids: [getpid()], ports: []).first))
        let stacks = TargetStacks(
            of: target, index: 0, [.onCPU, .offCPU], in: table, total: Snapshot(time: .zero), folding: StackFolding(targets: [], try SamplingOptions.parse([])),
            withIdle: false
        )
        var texts = [FoldedTexts(kind: .onCPU, files: .onCPU), FoldedTexts(kind: .offCPU, files: .offCPU)]
        for position in texts.indices { stacks.add(to: &texts[position]) }
        try directory.checkpoint(SessionCheckpoint(stacks: texts))
        let files = try FileManager.default.contentsOfDirectory(atPath: path).sorted()
        #expect(files == ["stacks.by-command.folded", "stacks.folded", "stacks.off-cpu.by-command.folded", "stacks.off-cpu.folded"])
        #expect(
            directory.wroteLines.first?.text.hasSuffix("stacks.folded, stacks.by-command.folded, stacks.off-cpu.folded, stacks.off-cpu.by-command.folded")
                == true)
        directory.discard()
        #expect(try FileManager.default.contentsOfDirectory(atPath: path).isEmpty)
    }

    /// Any labels on any stacks, those of other versions among them.
    @Test(arguments: 0..<8) func whateverTheLabelsAreTheSumsAreTheSame(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let probe = LabelledStacks(names: [16: Self.get, 17: Self.hostile])
        for _ in 0..<40 {
            let functions = (0..<Int.random(in: 1...4, using: &random)).map { _ in ["atoi", "qsort", "abort"].randomElement(using: &random) ?? "" }
            func label() -> Int { Bool.random(using: &random) ? .random(in: 0...0xffff, using: &random) : .random(in: 0...0x1ff, using: &random) }
            let weights = (0..<5).map { _ in (label(), UInt64.random(in: 0...9, using: &random)) }
            try probe.sample(functions, Dictionary(weights, uniquingKeysWith: +))
            let times = WaitState.allCases.map { ($0, UInt64.random(in: 0...1_000_000, using: &random)) }
            try probe.wait(functions, label(), Dictionary(uniqueKeysWithValues: times))
        }
        let files = try session(probe, idle: seed % 2 == 0), byCommand = try #require(files.record.samples.byCommand)
        #expect(files.sum("stacks.by-command.folded") == files.sum("stacks.folded") && files.sum("stacks.folded") > 0)
        #expect(files.sum("stacks.off-cpu.by-command.folded") == files.sum("stacks.off-cpu.folded"))
        let rows = byCommand.commands + byCommand.rest
        #expect(rows.map(\.samples).reduce(0, +) == files.record.samples.onCPU.recorded)
        let all = try #require(files.record.samples.offCPU), waits = rows.compactMap(\.offCPU)
        #expect(waits.map(\.sleepingNs).reduce(0, +) == all.sleepingNs && waits.map(\.uninterruptibleNs).reduce(0, +) == all.uninterruptibleNs)
        #expect(waits.map(\.runnableNs).reduce(0, +) == all.runnableNs && waits.map(\.idleNs).reduce(0, +) == all.idleNs)
    }
}
