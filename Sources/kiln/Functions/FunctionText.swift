import KilnModel
import PrintableText

/// Functions as tables on standard output: after each interval, and at the end for the whole session.
struct FunctionTableSink: Sink {
    let functions: [RecordedFunction]
    let isTimed: Bool
    /// The number of functions that a table shows.
    let top: Int
    let histograms: Bool
    let directory: DirectorySink
    private let output = Output.standardOutput

    init(_ functions: [RecordedFunction], isTimed: Bool, top: Int, histograms: Bool, directory: DirectorySink) {
        self.functions = functions
        self.isTimed = isTimed
        self.top = top
        self.histograms = histograms
        self.directory = directory
    }

    func interval(_ interval: SessionInterval) throws {
        let titles = interval.targets.map { $0.pid == 0 ? $0.comm : sessionTitle($0) }.joined(separator: ", ")
        var lines = [Line(bold: interval.time.timeOfDay, "  " + titles)]
        lines += table(interval.counts, seconds: interval.counts.time.seconds)
        try output.write(lines + [Line()])
    }

    func end(_ result: SessionResult) throws {
        guard let record = result.records.first, let counted = record.functions else { return }
        var lines = [Line(bold: "Session of \(significantSeconds(record.durationS)) (\(record.ended))", "  \(record.target.comm)")]
        lines += total(counted)
        lines += SessionText(record).losses
        try output.write(lines + directory.wroteLines)
    }

    private struct Row {
        let name: String
        let counts: FunctionCount
    }

    private func table(_ snapshot: Snapshot, seconds: Double) -> [Line] {
        let counts = snapshot[FunctionCounts.self]?.functions ?? []
        return lines(of: zip(functions, counts).map { Row(name: $0.name, counts: $1) }, seconds: seconds)
    }

    private func total(_ counted: SessionRecord.Functions) -> [Line] {
        let rows = counted.probed.map { Row(name: $0.function, counts: FunctionCount(recorded: $0)) }
        var lines = lines(of: rows, seconds: nil)
        let uncalled = counted.probed.lazy.filter { $0.calls == 0 && $0.letGoAfterS == nil }.count
        if uncalled != 0 { lines.append(Line("\(grouped(UInt64(uncalled))) of \(grouped(UInt64(counted.probed.count))) probed functions were not called")) }
        if !counted.refused.isEmpty {
            lines.append(Line("\(grouped(UInt64(counted.refused.count))) functions can't be counted (session.json has them, with reasons)"))
        }
        for row in counted.probed where row.letGoAfterS != nil {
            lines.append(Line("\(row.function): counted until \(significantSeconds(row.letGoAfterS ?? 0)) only, because its probe cost too much (--max-cost)"))
        }
        return lines
    }

    /// `seconds`: of an interval, whose calls are shown as a rate.
    private func lines(of rows: [Row], seconds: Double?) -> [Line] {
        let called = rows.filter { $0.counts.calls != 0 || $0.counts.returned != 0 }
            .sorted { ($1.counts.calls, $0.name) < ($0.counts.calls, $1.name) }
        guard !called.isEmpty else { return ["no probed function was called"] }
        let shown = Array(called.prefix(top))
        let neverReturned = shown.contains { $0.counts.neverReturned != 0 }
        var table = Table(
            ["FUNCTION", seconds == nil ? "calls" : "calls/s"] + (isTimed ? ["p50", "p99", "max", "total", "self"] : [])
                + (neverReturned ? ["never returned"] : []), leftAligned: 1)
        for row in shown {
            table.add(
                [short(row.name), amount(row.counts.calls, seconds)] + (isTimed ? times(row.counts) : [])
                    + (neverReturned ? [row.counts.neverReturned == 0 ? "-" : grouped(row.counts.neverReturned)] : []))
        }
        var lines = [Line].table(table.lines)
        if isTimed {
            let sparklines = Sparklines(shown.map(\.counts.time))
            lines[0].bold += "  " + sparklines.header
            for (index, row) in shown.enumerated() { lines[index + 1].text = (lines[index + 1].text + "  " + sparklines.line(row.counts.time)).trimmedRight }
        }
        if histograms && isTimed {
            for row in shown where row.counts.time.count != 0 { lines += [Line(bold: row.name)] + histogramLines(row.counts.time) }
        }
        let rest = called.dropFirst(shown.count).reduce(UInt64(0)) { $0 &+ $1.counts.calls }
        let line = IntervalText.restLine(
            called.count - shown.count, "functions", amount: " with \(grouped(rest)) calls", in: seconds == nil ? "session.json" : "functions.jsonl")
        return lines + [line].compactMap(\.self)
    }

    /// A name's beginning and end: templates of C++ have names of hundreds of characters.
    private func short(_ name: String) -> String {
        let most = 60, printable = name.printable
        return printable.count <= most ? printable : "\(printable.prefix(most - 25))…\(printable.suffix(24))"
    }

    private func amount(_ calls: UInt64, _ seconds: Double?) -> String {
        guard let seconds else { return grouped(calls) }
        let rate = Double(calls) / max(seconds, 1e-9)
        return rate >= 9.95 || rate == 0 ? grouped(UInt64(rate.rounded())) : String(Double(Int(rate * 10 + 0.5)) / 10)
    }

    private func times(_ counts: FunctionCount) -> [String] {
        let time = counts.time
        guard time.count != 0 else { return ["-", "-", "-", "-", counts.returned == 0 ? "-" : "\(counts.selfTime)"] }
        return [0.5, 0.99].map { time.percentile($0)?.description ?? "-" } + [IntervalText.text(time.maximum), "\(time.sum)", "\(counts.selfTime)"]
    }
}

extension FunctionCount {
    /// As session.json has it.
    init(recorded row: SessionRecord.Functions.Row) {
        self.init()
        calls = row.calls
        guard let times = row.times else { return }
        returned = times.returned
        neverReturned = times.neverReturned
        selfTime = Nanoseconds(times.selfNs)
        time = Histogram(times.outermost)
    }
}
