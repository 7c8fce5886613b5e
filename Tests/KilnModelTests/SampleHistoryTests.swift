import Testing

@testable import KilnModel

struct SampleHistoryTests {
    private static let one = StackTable.Key(hash: 1, process: 0), other = StackTable.Key(hash: 2, process: 0)
    private static let waiting = StackTable.Key(hash: 3, process: 0, kind: .offCPU)

    /// What each interval has, by hash and state.
    private func growth(_ history: SampleHistory) -> [[String: UInt64]] {
        history.intervals.map { interval in
            history.growth[interval.range].reduce(into: [:]) { sums, growth in
                let series = history.series[growth.series]
                sums["\(series.key.hash)" + (series.state.map { " \($0)" } ?? ""), default: 0] += growth.weight
            }
        }
    }

    private func times(_ sleeping: UInt64, _ runnable: UInt64) -> WaitTimes {
        var times = WaitTimes()
        times.add(Nanoseconds(sleeping), in: .sleeping)
        times.add(Nanoseconds(runnable), in: .runnable)
        return times
    }

    @Test func anIntervalHasWhatGrewInIt() {
        var history = SampleHistory()
        history.note([Self.one: 3], [Self.waiting: times(10, 1)])
        history.close(at: "a", length: Nanoseconds(5))
        history.note([Self.one: 3, Self.other: 2], [Self.waiting: times(10, 4)])
        history.note([Self.one: 4, Self.other: 2], [:])
        history.close(at: "b", length: Nanoseconds(6))
        history.close(at: "c", length: Nanoseconds(7))
        history.note([Self.one: 9, Self.other: 2], [:])
        history.closeLast()
        #expect(growth(history) == [["1": 3, "3 sleeping": 10, "3 runnable": 1], ["1": 1, "2": 2, "3 runnable": 3], ["1": 5]])
        #expect(history.intervals.map(\.time) == ["a", "b", "c"] && history.intervals.map(\.length) == [Nanoseconds(5), Nanoseconds(6), Nanoseconds(7)])
        #expect(history.dropped == [:])
    }

    @Test func aSessionOfOneReadingHasOneInterval() {
        var history = SampleHistory()
        history.note([Self.one: 3], [:])
        history.closeLast()
        #expect(history.intervals.isEmpty)
        history.close(at: "a", length: Nanoseconds(5))
        #expect(growth(history) == [["1": 3]])
    }

    /// All stacks wait for a reply until the session ends.
    @Test func whatGrowsOnlyAtTheEndIsInTheLastInterval() {
        var history = SampleHistory()
        for time in ["a", "b"] { history.close(at: time, length: Nanoseconds(5)) }
        history.note([Self.one: 3], [:])
        history.closeLast()
        #expect(growth(history) == [["1": 3]] && history.intervals.map(\.time) == ["b"])
    }

    @Test func whatFindsNoRoomIsCounted() {
        var history = SampleHistory(capacity: 2)
        history.note([Self.one: 3], [:])
        history.note([Self.one: 4], [:])
        history.note([Self.one: 9], [Self.waiting: times(100, 0)])
        history.note([Self.one: 10], [Self.waiting: times(100, 7)])
        history.close(at: "a", length: Nanoseconds(5))
        #expect(growth(history) == [["1": 4]] && history.dropped == [.onCPU: 6, .offCPU: 107])
    }

    /// A function of generated code is replaced: what was sampled before keeps its name.
    @Test func settledGrowthIsThatOfAnotherStack() {
        var table = StackTable()
        let frames = StackFrames(kernel: [], user: [1], interrupted: [], termination: .complete)
        table.learn(Self.one, frames)
        for (weight, comparison) in [(3, 1), (3, 2), (8, 3)] as [(UInt64, UInt64)] {
            table.weights = [Self.one: weight]
            table.note(table.weights, [:])
            table.closeInterval(("\(comparison)", Nanoseconds(1)))
            table.settle(before: comparison) { _, _ in true }
        }
        // In no interval yet when it is settled.
        table.weights = [Self.one: 9]
        table.note(table.weights, [:])
        table.settle(before: 4) { _, _ in true }
        table.weights = [Self.one: 10]
        table.note(table.weights, [:])
        table.closeInterval(("4", Nanoseconds(1)))
        let settled = table.settled(), history = settled.history
        var sums: [StackTable.Key: UInt64] = [:]
        for growth in history.growth { sums[history.series[growth.series].key, default: 0] += growth.weight }
        #expect(sums == settled.weights && sums.values.sorted() == [1, 1, 3, 5])
    }

    @Test func recordsHaveEachFrameStackAndGroupOnce() throws {
        var history = SampleHistory()
        let banded = StackTable.Key(hash: 4, process: 0, label: 5, band: LatencyBand(of: Nanoseconds(100_000)))
        let get = Work(.command(CommandName(bytes: Array("GET".utf8))), .exec)
        history.note([Self.one: 3, banded: 7], [Self.waiting: times(10, 1)])
        history.close(at: "a", length: Nanoseconds(500_000_000))
        history.note([Self.one: 5, Self.other: 90], [:])
        history.close(at: "b", length: Nanoseconds(1_000_000_000))
        let named = [
            NamedStack(process: 0, root: "server", work: Work(.eventLoop), frames: "main;poll", weight: 5, key: Self.one),
            // The same names at other addresses.
            NamedStack(process: 0, root: "server", work: get, frames: "main;lookup", weight: 7, key: banded),
            NamedStack(process: 0, root: "server;io", work: Work(.eventLoop), state: .runnable, frames: "main", weight: 1, key: Self.waiting),
        ]
        let kinds: [StackKind: (name: String, unit: String)] = [.onCPU: ("on-cpu", "samples"), .offCPU: ("off-cpu", "nanoseconds")]
        let records = SampleRecords(history, kinds: kinds, named: named)
        #expect(records.header.kinds.map(\.kind) == ["on-cpu", "off-cpu"])
        #expect(Set(records.frames.map(\.frame)) == ["main", "poll", "lookup"] && records.frames.count == 3)
        #expect(records.stacks.count == 3 && records.stacks.filter { $0.caller == -1 }.count == 1)
        #expect(
            Set(records.groups.map { [$0.command, $0.phase, $0.thread, $0.state] }) == [
                ["[event loop]", nil, nil, nil], ["GET", "exec", nil, nil], ["[event loop]", nil, "io", "runnable"],
            ])
        #expect(records.groups.first { $0.command == "GET" }?.bandNs == [98_304, 131_072])
        // What has no name here belongs to another target: it is left out.
        #expect(records.rows.map(\.time) == ["a", "b"] && records.rows.map(\.intervalS) == [0.5, 1])
        let weights = records.rows.map { row in row.samples.reduce(0) { sum, list in sum + stride(from: 2, to: list.count, by: 2).reduce(0) { $0 + list[$1] } }
        }
        #expect(weights == [11, 2])
    }

    @Test func bandsAreEightSlots() {
        #expect(LatencyBand(kernel: 0) == nil && LatencyBand(kernel: 1)?.lower == .zero)
        for band in 0..<LatencyBand.count - 1 {
            guard let one = LatencyBand(kernel: UInt8(band + 1)), let upper = one.upper else {
                Issue.record("band \(band)")
                continue
            }
            #expect(LatencyBand(of: one.lower) == one && LatencyBand(of: Nanoseconds(upper.count - 1)) == one && LatencyBand(of: upper) > one)
        }
        #expect(LatencyBand(of: Nanoseconds(.max)).number == LatencyBand.count - 1 && LatencyBand(of: Nanoseconds(.max)).upper == nil)
    }
}
