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
