import KilnModel

/// System calls with their times as a table: of an interval, or of a session.
struct SyscallText: CallText {
    struct Row {
        let caller, call: String
        let counts: TimedCalls
    }

    private let rows: [Row]
    /// The length of the interval; nil for a session, whose table has totals.
    private let interval: Nanoseconds?
    private let most: Int
    /// `tid` or `cgroup` where callers are threads or control groups.
    private let header: String

    /// Of an interval.
    ///
    /// - Parameters:
    ///   - withCallers: False: all calls are of one process, which is known.
    ///   - most: The number of rows.
    init(_ calls: [NamedCalls], interval: Nanoseconds, withCallers: Bool = true, most: Int) {
        self.init(calls.map { ($0.caller, $0.call.description, $0.counts) }, interval, withCallers: withCallers, most)
    }

    /// As files have them.
    ///
    /// - Parameter interval: Nil: the records are those of a session.
    init(_ records: [SyscallTimesRecord], interval: Nanoseconds? = nil, withCallers: Bool = true, most: Int) {
        let calls = records.map { record in
            (
                CallerName(pid: record.pid, tid: record.tid, comm: record.comm ?? "", cgroup: record.cgroup, isOthers: record.others == true),
                record.syscall + (record.abi.map { " (\($0))" } ?? ""), TimedCalls(record)
            )
        }
        self.init(calls, interval, withCallers: withCallers, most)
    }

    private init(_ calls: [(caller: CallerName, call: String, counts: TimedCalls)], _ interval: Nanoseconds?, withCallers: Bool, _ most: Int) {
        rows = calls.map { Row(caller: withCallers ? Self.text($0.caller) : "", call: $0.call, counts: $0.counts) }
        header = Self.header(calls.map(\.caller))
        self.interval = interval
        self.most = most
    }

    private static func text(_ caller: CallerName) -> String {
        if let cgroup = caller.cgroup { return cgroup }
        if caller.isOthers { return caller.comm.isEmpty ? "others" : "\(caller.comm) (others)" }
        return caller.comm + ((caller.tid ?? caller.pid).map { " \($0)" } ?? "")
    }

    private static func header(_ callers: [CallerName]) -> String {
        guard let caller = callers.first(where: { !$0.isOthers }) else { return "PROCESS" }
        if caller.cgroup != nil { return "CGROUP" }
        return caller.tid != nil ? "THREAD" : caller.pid != nil ? "PROCESS" : "COMM"
    }

    static let nothing = "no system calls"
    /// The headers behind the number of calls.
    static let columns = ["errors", "EAGAIN", "p50", "p90", "p99", "max", "time"]

    /// The rows of a table with callers, without its end: caller, call, number of calls, and `columns`.
    static func rows(_ records: [SyscallTimesRecord], interval: Nanoseconds?) -> [[String]] {
        let text = SyscallText(records, interval: interval, most: .max)
        return text.rows.map { [$0.caller] + text.cells($0) }
    }

    private func cells(_ row: Row) -> [String] {
        let counts = row.counts, percentiles = [0.5, 0.9, 0.99].map { counts.latency.percentile($0)?.description ?? "-" }
        return [row.call, amount(counts.calls), amount(counts.errors &- counts.again, orBlank: true), amount(counts.again, orBlank: true)] + percentiles
            + [IntervalText.text(counts.latency.maximum), counts.time.description]
    }

    var table: [Line] {
        guard !rows.isEmpty else { return [Line(Self.nothing)] }
        let shown = Array(rows.prefix(most)), withCallers = shown.contains { !$0.caller.isEmpty }
        var table = Table(
            (withCallers ? [header] : []) + ["CALL", interval == nil ? "calls" : "calls/s"] + Self.columns, leftAligned: withCallers ? 2 : 1)
        for row in shown { table.add((withCallers ? [row.caller] : []) + cells(row)) }
        let rest = rows.dropFirst(most), calls = rest.map(\.counts.calls).saturatingSum
        let file = interval == nil ? "session.json" : "syscalls.jsonl"
        return .table(table, distributions: shown.map(\.counts.latency))
            + [IntervalText.restLine(rest.count, "rows", amount: " with \(grouped(calls)) calls", in: file)].compactMap { $0 }
    }

    /// Errors by errno, and calls that did not begin and return in the session.
    var remarks: [Line] {
        var lines: [Line] = []
        let failed = rows.filter { $0.counts.errors != 0 }.flatMap { row in
            row.counts.errnos.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.map { (call: row.call, errno: errnoName($0.key), count: $0.value) }
        }
        var sums: [String: UInt64] = [:]
        for error in failed { sums["\(error.call) \(error.errno)", default: 0] &+= error.count }
        if let line = list("errors", sums.map { ($0.key, $0.value, nil) }) { lines.append(line) }
        let interrupted = Dictionary(rows.filter { $0.counts.interrupted != 0 }.map { ($0.call, $0.counts.interrupted) }, uniquingKeysWith: &+)
        if let line = list("interrupted by a signal", interrupted.map { ($0.key, $0.value, nil) }) { lines.append(line) }
        let skipped = Dictionary(rows.filter { $0.counts.withoutEntry != 0 }.map { ($0.call, $0.counts.withoutEntry) }, uniquingKeysWith: &+)
        if let line = list("without an entry", skipped.map { ($0.key, $0.value, nil) }) { lines.append(line) }
        for (title, calls) in [
            ("began before the session", \TimedCalls.earlier), ("in flight when it ended", \.inFlight), ("never returned", \.unreturned),
        ] {
            var sums: [String: PartialCalls] = [:]
            for row in rows where row.counts[keyPath: calls].count != 0 {
                sums[row.call, default: PartialCalls()].add(row.counts[keyPath: calls])
            }
            if let line = list(title, sums.map { ($0.key, $0.value.count, $0.value.time) }) { lines.append(line) }
        }
        return lines
    }

    private func list(_ title: String, _ items: [(name: String, count: UInt64, time: Nanoseconds?)]) -> Line? {
        guard !items.isEmpty else { return nil }
        let shown = items.sorted { ($1.count, $0.name) < ($0.count, $1.name) }.prefix(8).map { item in
            "\(item.name) \(grouped(item.count))" + (item.time.map { " (\($0))" } ?? "")
        }
        return Line("\(title): \(shown.joined(separator: ", "))" + (items.count > 8 ? ", and \(items.count - 8) more" : ""))
    }

    /// The complete histogram of each shown row.
    var histograms: [Line] {
        rows.prefix(most).flatMap { row -> [Line] in
            let lines = histogramLines(row.counts.latency)
            return lines.isEmpty ? [] : [Line(bold: [row.caller, row.call].filter { !$0.isEmpty }.joined(separator: "  "))] + lines
        }
    }

    private func amount(_ count: UInt64, orBlank: Bool = false) -> String { orBlank && count == 0 ? "" : callsText(count, in: interval) }
}
