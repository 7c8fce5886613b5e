import KilnKernel
import KilnModel
import PrintableText

/// An interval, or a whole session, as tables.
struct IntervalText {
    let interval: Snapshot
    /// A whole session: the tables show totals instead of rates.
    let isTotal: Bool
    /// The largest number of rows in a table.
    let tableRows: Int
    /// Of commands of which a part was watched.
    var estimates: (CommandName) -> ShownEstimate? = { _ in nil }

    /// The commands of one process, the most called first.
    func commands(of process: Int) -> [(name: CommandName, counts: CommandCounts)] {
        interval.commands.filter { $0.key.process == process }.map { (name: $0.key.name, counts: $0.value) }
            .sorted { ($1.counts.calls, $0.name) < ($0.counts.calls, $1.name) }
    }

    /// The commands that the table shows. If there are too many, half of the rows show those with the longest total service.
    func shownCommands(of process: Int) -> [(name: CommandName, counts: CommandCounts)] {
        let all = commands(of: process), most = tableRows
        guard all.count > most else { return all }
        let longest = all.dropFirst(most - most / 2).sorted { ($1.counts.latency.sum, $0.name) < ($0.counts.latency.sum, $1.name) }
        let shown = Set((all.prefix(most - most / 2) + longest.prefix(most / 2)).map { $0.name })
        return all.filter { shown.contains($0.name) }
    }

    /// A line for the rows that a table leaves out, with the file that has them; nil if none is left out. `amount`: their total.
    static func restLine(_ count: Int, _ what: String, amount: String = "", in file: String = "session.json") -> Line? {
        count > 0 ? "… and \(count) more \(what)\(amount) (in \(file))" : nil
    }

    private func restLine(of process: Int) -> Line? {
        let all = commands(of: process), shown = Set(shownCommands(of: process).map { $0.name })
        let calls = all.filter { !shown.contains($0.name) }.map { $0.counts.calls }.saturatingSum
        return Self.restLine(
            all.count - shown.count, "commands", amount: " with \(grouped(calls)) calls", in: isTotal ? "session.json" : "commands.jsonl"
        )
    }

    /// A row for each shown command with its service, or with its total on the client's side.
    func commandTable(process: Int) -> [Line] {
        let rows = shownCommands(of: process).map { (name: $0.name, counts: $0.counts, service: $0.counts.latency) }
        guard !rows.isEmpty else { return ["no commands"] }
        let isClients =
            !rows.contains { $0.counts.phases[.service] != nil || $0.counts.phases[.wait] != nil } && rows.contains { $0.counts.phases[.total] != nil }
        var table = Table(["COMMAND", isTotal ? "calls" : "calls/s", isClients ? "total p50" : "service p50", "p90", "p99", "p99.9", "max"], leftAligned: 1)
        for row in rows {
            let estimate = estimates(row.name)
            let percentiles = estimate?.percentiles ?? [0.5, 0.9, 0.99, 0.999].map { row.service.percentile($0) }
            table.add(
                [row.name.description, estimate.map { amount($0.calls) } ?? amount(row.counts.calls)] + percentiles.map { $0?.description ?? "-" }
                    + [Self.text(row.service.maximum)])
        }
        return .table(table, distributions: rows.map(\.service)) + [restLine(of: process)].compactMap { $0 }
    }

    /// The system calls of one process on one line, the most frequent first; nil if there were none.
    func syscallLine(process: Int) -> String? {
        syscallLine(interval.syscalls.filter { $0.key.process == process }.map { (syscallName($0.number), $1) })
    }

    /// The same for calls by name.
    func syscallLine(_ calls: [(name: String, counts: SyscallCounts)]) -> String? {
        let counted = calls.sorted { ($1.counts.count, $0.name) < ($0.counts.count, $1.name) }
        guard !counted.isEmpty else { return nil }
        let shown = counted.prefix(8).map { name, counts in
            "\(name) \(amount(counts.count))" + (counts.errors == 0 ? "" : " (\(amount(counts.errors)) failed)")
        }
        return (isTotal ? "syscalls: " : "syscalls/s: ") + shown.joined(separator: ", ") + more(counted.count - 8, ",")
    }

    /// All losses by name.
    var lostText: String {
        guard !interval.losses.isEmpty else { return "lost: nothing" }
        return "lost: " + interval.losses.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }.joined(separator: ", ")
    }

    private func amount(_ count: UInt64) -> String { callsText(count, in: isTotal ? nil : interval.time) }

    private func amount(_ calls: EstimatedCount) -> String { Self.text(calls, in: isTotal ? nil : interval.time) }

    /// `15,008 ±2.1 %`, or where little was watched the interval: `840 to 15,008`. Without an interval `~15,008`.
    static func text(_ calls: EstimatedCount, in length: Nanoseconds?) -> String {
        func amount(_ calls: Double) -> String { callsText(UInt64(saturating: calls.rounded()), in: length) }
        guard let interval = calls.interval, calls.value > 0 else { return "~" + amount(calls.value) }
        let half = max(interval.upperBound - calls.value, calls.value - interval.lowerBound) / calls.value
        return half > 1 ? "\(amount(interval.lowerBound)) to \(amount(interval.upperBound))" : "\(amount(calls.value)) ±\(percentText(half))"
    }

    static func text(_ maximum: Histogram.Maximum) -> String {
        switch maximum {
        case .none: "-"
        case .exact(let longest): longest.description
        case .atMost(let edge): "<=" + edge.description
        case .beyond(let limit): ">" + limit.description
        }
    }
}
