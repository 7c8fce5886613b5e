import Foundation
import Glibc
import KilnModel
import SystemPackage
import Testing

@testable import kiln

/// What people read, whole: of numbers that are the same in each run.
struct PrintingTests {
    /// As a pipe gets it, without colours.
    private let output = Output(descriptor: FileDescriptor(rawValue: -1))

    @Test func anIntervalIsPrintedAsInItsGoldenFile() throws {
        let text = IntervalText(interval: Self.snapshot().since(Snapshot(time: .zero)), isTotal: false, tableRows: 20)
        try expectGolden(text.tables(process: 0, waits: 3) + [text.lostText], "interval.txt")
    }

    @Test func aSessionsTotalsArePrintedAsInTheirGoldenFile() throws {
        let text = IntervalText(interval: Self.snapshot(), isTotal: true, tableRows: 20)
        try expectGolden(text.tables(process: 0, waits: 10) + text.histograms(process: 0), "totals.txt")
    }

    @Test func tablesOfSystemCallsArePrintedAsInTheirGoldenFile() throws {
        let calls = Self.systemCalls()
        let interval = SyscallText(calls, interval: Nanoseconds(2_000_000_000), most: 3)
        let records = calls.map { SyscallTimesRecord($0) }
        let total = SyscallText(records, most: 20), ofOne = SyscallText(records, withCallers: false, most: 1)
        let parts: [[Line]] = [interval.table, [Line()], total.table, total.remarks, [Line()], ofOne.table, ofOne.histograms]
        try expectGolden(parts.flatMap(\.self), "syscalls.txt")
    }

    /// Of two processes and of others that share a row.
    private static func systemCalls() -> [NamedCalls] {
        var times = SyscallTimes()
        func add(_ caller: UInt64, _ call: SystemCall, _ name: CallerName, _ latencies: [(UInt64, UInt64)], _ change: (inout TimedCalls) -> Void = { _ in }) {
            var counts = TimedCalls()
            for (latency, number) in latencies { counts.latency.record(Nanoseconds(latency), times: number) }
            change(&counts)
            times.names[Caller(caller, 0)] = name
            times.calls[SyscallTimes.Key(caller: Caller(caller, 0), call: call)] = counts
        }
        let server = CallerName(pid: 4321, comm: "redis-server"), shell = CallerName(pid: 77, comm: "a shell")
        add(1, SystemCall(0), server, [(900, 1_234_567), (15_000, 89_000), (70_000_000_000, 1)]) {
            $0.errnos = [11: 345_678, 104: 2]
            $0.errors = 345_680
        }
        add(1, SystemCall(232), server, [(2_000_000, 401)]) {
            $0.earlier = PartialCalls(count: 1, time: Nanoseconds(30_000_000))
            $0.inFlight = PartialCalls(count: 1, time: Nanoseconds(45_000_000))
            $0.errnos = [4: 1]
            ($0.errors, $0.interrupted) = (1, 1)
        }
        add(2, SystemCall(231), shell, []) { $0.unreturned = PartialCalls(count: 1, time: Nanoseconds(12_000)) }
        add(2, SystemCall(6, in: .compat), shell, [(300, 13)]) {
            $0.errnos = [9: 13]
            $0.errors = 13
        }
        add(2, SystemCall(4000), shell, [(150, 3)]) {
            $0.errnos = [38: 3]
            $0.errors = 3
        }
        add(3, SystemCall(39), CallerName(comm: "worker", isOthers: true), [(120, 700)])
        return times.named()
    }

    @Test func tablesOfFunctionsArePrintedAsInTheirGoldenFile() throws {
        let counted = Self.functions(isTimed: false), timed = Self.functions(isTimed: true)
        let interval = FunctionText(counted.functions, counted.snapshot, isTimed: false, most: 2), total = FunctionText(timed.record, most: 20)
        let first = FunctionText(timed.record, most: 1)
        let parts: [[Line]] = [interval.table, [Line()], total.table, FunctionText.remarks(timed.record), [Line()], first.table, first.histograms]
        try expectGolden(parts.flatMap(\.self), "functions.txt")
    }

    /// Two seconds of functions: with a long name, one that exceptions leave, one without times, one that is not called, one that is let go.
    private static func functions(isTimed: Bool) -> (functions: [RecordedFunction], snapshot: Snapshot, record: SessionRecord.Functions) {
        func count(_ calls: UInt64, neverReturned: UInt64 = 0, selfTime: UInt64 = 0, _ times: [(UInt64, UInt64)] = []) -> FunctionCount {
            var counts = FunctionCount()
            (counts.calls, counts.returned, counts.neverReturned) = (calls, times.map(\.1).reduce(0, +), neverReturned)
            counts.selfTime = Nanoseconds(selfTime)
            for (time, number) in times { counts.time.record(Nanoseconds(time), times: number) }
            return counts
        }
        let long = "std::vector<std::pair<std::string, unsigned long>>::emplace_back<std::string &, unsigned long>(std::string &, unsigned long &&)"
        let rows: [(RecordedFunction, FunctionCount)] = [
            (RecordedFunction(name: "dictFind", file: "/srv/server"), count(1_234_567, selfTime: 2_000_000_000, [(900, 1_200_000), (70_000, 34_567)])),
            (RecordedFunction(name: "throws", file: "/srv/server"), count(17, neverReturned: 4, selfTime: 13_000, [(1_000, 13)])),
            (RecordedFunction(name: long, file: "/srv/server"), count(89_001, selfTime: 30_000, [(450, 89_001)])),
            (RecordedFunction(name: "kernel:vfs_read", file: "[kernel]", hasTimes: false), count(401)),
            (RecordedFunction(name: "neverCalled", file: "/srv/server"), count(0)),
            (RecordedFunction(name: "refused", file: "/srv/server"), count(0)),
            (RecordedFunction(name: "zmalloc", file: "/srv/server"), count(5_000_000, selfTime: 500_000_000, [(100, 5_000_000)])),
        ]
        let functions = rows.map(\.0)
        var counts = FunctionCounts(functions: rows.map(\.1))
        counts.letGo = [6: Nanoseconds(1_250_000_000)]
        var snapshot = Snapshot(time: Nanoseconds(2_000_000_000))
        snapshot[FunctionCounts.self] = counts
        let record = SessionRecord.Functions(
            functions, counts, isTimed: isTimed, refused: [5: "the kernel refuses it"], besides: [], cost: nil)
        return (functions, snapshot, record)
    }

    @Test func aTableHasTheMostCalledAndTheSlowestAndSaysWhatItLeavesOut() {
        var snapshot = Snapshot(time: Nanoseconds(1_000_000_000))
        for index in 1...57 {
            var service = Histogram()
            // The one that is called least takes as long as all others.
            service.record(Nanoseconds(index == 1 ? 1_000_000_000 : 1_000), times: 1)
            let name = CommandName(bytes: Array("COMMAND\(index)".utf8))
            snapshot.commands[CommandKey(process: 0, name: name)] = CommandCounts(calls: UInt64(index), phases: [.service: service])
        }
        for index in 0..<13 { snapshot.clients[ClientKey(process: 0, address: "10.0.0.\(index)")] = ClientCounts(commands: 1, receivedBytes: 1, sentBytes: 1) }
        let text = IntervalText(interval: snapshot, isTotal: false, tableRows: 20)
        let table = text.commandTable(process: 0).map { output.text(of: [$0]).dropLast().description }
        #expect(table.count == 22)
        #expect(table[1].hasPrefix("COMMAND57 ") && table.contains { $0.hasPrefix("COMMAND1 ") })
        let all = (1...57).reduce(0, +), shown = table.compactMap { $0.split(separator: " ").first?.dropFirst("COMMAND".count) }.compactMap { Int($0) }
        #expect(shown.count == 20)
        #expect(table.last == "… and 37 more commands with \(grouped(UInt64(all - shown.reduce(0, +)))) calls (in commands.jsonl)")
        #expect(text.clientTable(process: 0).last.map { output.text(of: [$0]) } == "… and 3 more addresses (in session.json)\n")
        #expect(text.shownCommands(of: 0).map { $0.counts.calls } == text.shownCommands(of: 0).map { $0.counts.calls }.sorted(by: >))
    }

    /// Two seconds of three commands: one alone, one in pipelines, one that blocks.
    private static func snapshot() -> Snapshot {
        func name(_ text: String) -> CommandName { CommandName(bytes: Array(text.utf8)) }
        func latencies(_ pairs: [(UInt64, UInt64)]) -> Histogram {
            var histogram = Histogram()
            for (latency, times) in pairs { histogram.record(Nanoseconds(latency), times: times) }
            return histogram
        }
        var snapshot = Snapshot(time: Nanoseconds(2_000_000_000))
        var get = CommandCounts(
            calls: 2_469_134,
            phases: [
                .service: latencies([(9_000, 2_000_000), (60_000, 400_000), (2_500_000, 69_134)]),
                .queue: latencies([(4_000, 2_400_000), (70_000_000_000, 1)]),
                .exec: latencies([(2_000, 2_469_134)]),
                .reply: latencies([(7_000, 2_469_134)]),
            ])
        get.errors = 3
        get.errorWords = ["WRONGTYPE": 3]
        get.runQueue = Nanoseconds(2_000 * 2_469_134 / 8)
        snapshot.commands[CommandKey(process: 0, name: name("GET"))] = get
        snapshot.commands[CommandKey(process: 0, name: name("SET"))] = CommandCounts(calls: 13, phases: [.service: latencies([(900, 13)])])
        snapshot.commands[CommandKey(process: 0, name: name("BLPOP"))] = CommandCounts(calls: 3, phases: [.wait: latencies([(60_000_000, 2)])])
        // Of another process, which has its own tables.
        snapshot.commands[CommandKey(process: 1, name: name("DEL"))] = CommandCounts(calls: 5)
        snapshot.waits[WaitKey(process: 0, blocker: name("GET"), blocked: .several)] = WaitCounts(times: 89, wait: Nanoseconds(2_290_000))
        snapshot.losses = ["unsynchronised_bytes": 900]
        return snapshot
    }

    private func expectGolden(_ lines: [Line], _ file: String) throws {
        let golden = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Golden/\(file)")
        let text = output.text(of: lines)
        if getenv("KILN_RENEW_GOLDEN") != nil {
            try FileManager.default.createDirectory(at: golden.deletingLastPathComponent(), withIntermediateDirectories: true)
            try text.write(to: golden, atomically: true, encoding: .utf8)
        }
        #expect(try String(contentsOf: golden, encoding: .utf8) == text, "if the change is meant: KILN_RENEW_GOLDEN=1 swift test --filter PrintingTests")
    }
}
