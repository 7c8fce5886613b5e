import KilnModel
import PrintableText

/// Functions with their calls as a table: of an interval, or of a session.
struct FunctionText: CallText {
    private struct Row {
        let name: String
        let counts: FunctionCount
    }

    private let rows: [Row]
    private let isTimed: Bool
    /// The length of the interval, whose calls are shown as a rate; nil for a session.
    private let interval: Nanoseconds?
    /// The number of functions that a table shows.
    private let most: Int

    /// Of an interval. `functions`: of the session, in the order of `counts`.
    init(_ functions: [RecordedFunction], _ counts: Snapshot, isTimed: Bool, most: Int) {
        rows = zip(functions, counts[FunctionCounts.self]?.functions ?? []).map { Row(name: $0.name, counts: $1) }
        self.isTimed = isTimed
        interval = counts.time
        self.most = most
    }

    /// Of a session.
    init(_ counted: SessionRecord.Functions, most: Int) {
        rows = counted.probed.map { Row(name: $0.function, counts: FunctionCount(recorded: $0)) }
        isTimed = counted.probed.contains { $0.times != nil }
        interval = nil
        self.most = most
    }

    /// Functions of a session that were not called, can't be counted, or were let go.
    static func remarks(_ counted: SessionRecord.Functions) -> [Line] {
        var lines: [Line] = []
        let uncalled = counted.probed.lazy.filter { $0.calls == 0 && $0.letGoAfterS == nil }.count
        if uncalled != 0 { lines.append(Line("\(grouped(UInt64(uncalled))) of \(grouped(UInt64(counted.probed.count))) probed functions were not called")) }
        if !counted.refused.isEmpty {
            let refused = kiln.counted(UInt64(counted.refused.count), "function", "functions")
            lines.append(Line("\(refused) can't be counted (session.json says which, and why)"))
        }
        let letGo = counted.probed.compactMap { row in row.letGoAfterS.map { (row.function, $0) } }, most = 10
        lines += letGo.prefix(most).map { name, after in
            Line("\(name): counted until \(significantSeconds(after)) only, because its probe cost too much (--max-cost)")
        }
        if letGo.count > most {
            lines.append(Line("\(grouped(UInt64(letGo.count - most))) more functions were counted until --max-cost stopped that (session.json says which)"))
        }
        return lines
    }

    private var called: [Row] {
        rows.filter(\.counts.hasHappened).sorted { ($1.counts.calls, $0.name) < ($0.counts.calls, $1.name) }
    }

    static let nothing = "no probed function was called"
    /// The headers behind the number of calls where calls are timed.
    static let timeColumns = ["p50", "p99", "max", "total", "self"]

    /// A row of a table without its end: function, number of calls, and `timeColumns`. The rate covers the time in which the function was counted.
    static func row(_ name: String, _ counts: FunctionCount, isTimed: Bool, interval: Nanoseconds?) -> [String] {
        [short(name), callsText(counts.calls, in: interval.map { counts.countedFor ?? $0 })] + (isTimed ? times(counts) : [])
    }

    var table: [Line] {
        let called = called
        guard !called.isEmpty else { return [Line(Self.nothing)] }
        let shown = Array(called.prefix(most))
        let neverReturned = shown.contains { $0.counts.neverReturned != 0 }
        var table = Table(
            ["FUNCTION", interval == nil ? "calls" : "calls/s"] + (isTimed ? Self.timeColumns : [])
                + (neverReturned ? ["never returned"] : []), leftAligned: 1)
        for row in shown {
            table.add(
                Self.row(row.name, row.counts, isTimed: isTimed, interval: interval)
                    + (neverReturned ? [row.counts.neverReturned == 0 ? "-" : grouped(row.counts.neverReturned)] : []))
        }
        let lines: [Line] = isTimed ? .table(table, distributions: shown.map(\.counts.time)) : .table(table.lines)
        let rest = called.dropFirst(shown.count).reduce(UInt64(0)) { $0 &+ $1.counts.calls }
        let line = IntervalText.restLine(
            called.count - shown.count, "functions", amount: " with \(grouped(rest)) calls", in: interval == nil ? "session.json" : "functions.jsonl")
        return lines + [line].compactMap(\.self)
    }

    /// The complete histogram of each shown function.
    var histograms: [Line] {
        called.prefix(most).flatMap { row -> [Line] in
            row.counts.time.count == 0 ? [] : [Line(bold: row.name)] + histogramLines(row.counts.time)
        }
    }

    /// A name's beginning and end: templates of C++ have names of hundreds of characters.
    private static func short(_ name: String) -> String {
        let most = 60, printable = name.printable
        return printable.count <= most ? printable : "\(printable.prefix(most - 25))…\(printable.suffix(24))"
    }

    private static func times(_ counts: FunctionCount) -> [String] {
        let time = counts.time
        guard time.count != 0 else { return ["-", "-", "-", "-", counts.returned == 0 ? "-" : "\(counts.selfTime)"] }
        return [0.5, 0.99].map { time.percentile($0)?.description ?? "-" } + [IntervalText.text(time.maximum), "\(time.sum)", "\(counts.selfTime)"]
    }
}

extension FunctionCount {
    /// As session.json has it.
    init(recorded row: SessionRecord.Functions.Row) { self.init(recorded: row.calls, row.times) }

    /// - Parameter times: Nil where calls are only counted.
    init(recorded calls: UInt64, _ times: FunctionTimesRecord?) {
        self.init()
        self.calls = calls
        guard let times else { return }
        returned = times.returned
        neverReturned = times.neverReturned
        selfTime = Nanoseconds(times.selfNs)
        time = Histogram(times.outermost)
    }
}
