import FoundationEssentials
import KilnModel

/// The subcommands whose tables of several hosts are one, and how their JSON lines become its rows.
struct CountingSubcommand {
    enum Kind: String {
        case redis, syscalls, functions
    }

    let kind: Kind
    /// The largest number of rows of each host; nil: as many as there is room for.
    let top: Int?
    /// Calls of functions are timed.
    private let isTimed: Bool

    /// Nil for other subcommands, and where more than these tables is to be printed.
    ///
    /// - Parameter words: A subcommand with its arguments.
    init?(_ words: [String]) {
        let words = words.prefix { $0 != "--" }
        guard let kind = words.first.flatMap(Kind.init), !["--json", "--histograms", "--list"].contains(where: words.contains) else { return nil }
        self.kind = kind
        isTimed = words.contains("--time")
        let given = words.firstIndex(of: "--top").flatMap { words[$0...].dropFirst().first } ?? words.first { $0.hasPrefix("--top=") }?.dropFirst(6).description
        // That of `kiln redis` is about functions.
        top = kind == .redis ? nil : given.flatMap { Int($0) }.map { $0 == 0 ? .max : $0 }
    }

    /// The headers of a table.
    ///
    /// - Parameter amount: That of the number of calls.
    func columns(amount: String) -> [String] {
        switch kind {
        case .redis: ["COMMAND", amount, "service p50", "p90", "p99", "p99.9", "max"]
        case .syscalls: ["CALLER", "CALL", amount] + SyscallText.columns
        case .functions: ["FUNCTION", amount] + (isTimed ? FunctionText.timeColumns : [])
        }
    }

    /// The number of columns with names, which come first.
    var names: Int { kind == .syscalls ? 2 : 1 }

    /// What is said instead of a table without rows.
    var nothing: String {
        switch kind {
        case .redis: "no commands"
        case .syscalls: SyscallText.nothing
        case .functions: FunctionText.nothing
        }
    }

    /// The rows of an interval in the order in which the subcommand prints them. Other lines than those of its counts are left out.
    func rows(_ lines: [Data], _ decoder: JSONDecoder) -> [[String]] {
        func decoded<Row: Decodable>(_ type: Row.Type) -> [Row] { lines.compactMap { try? decoder.decode(type, from: $0) } }
        switch kind {
        case .redis:
            return Self.shown(decoded(CommandRow.self)).sorted { $0.calls > $1.calls }.map { row in
                let interval = Self.interval(row.intervalS)
                let calls = row.estimate.map { IntervalText.text(EstimatedCount($0), in: interval) } ?? callsText(row.calls, in: interval)
                return [row.command, calls] + Self.latencies(row.latency)
            }
        case .syscalls:
            return decoded(SyscallTimesRow.self).flatMap { SyscallText.rows([$0.calls], interval: Self.interval($0.intervalS)) }
        case .functions:
            let rows = decoded(FunctionRow.self).map {
                (name: $0.function, counts: FunctionCount(recorded: $0.calls, $0.times), seconds: $0.countedS ?? $0.intervalS)
            }
            return rows.sorted { ($1.counts.calls, $0.name) < ($0.counts.calls, $1.name) }.map {
                FunctionText.row($0.name, $0.counts, isTimed: isTimed, interval: Self.interval($0.seconds))
            }
        }
    }

    /// The rows of a session.
    func rows(_ record: SessionRecord) -> [[String]] {
        switch kind {
        case .redis:
            record.commands.sorted { $0.value.count > $1.value.count }.map { name, counts in
                let latency = Self.phases.lazy.compactMap { counts.phases[$0] }.first
                return [name, counts.estimate.map { IntervalText.text(EstimatedCount($0), in: nil) } ?? grouped(counts.count)] + Self.latencies(latency)
            }
        case .syscalls: SyscallText.rows(record.syscallTimes ?? [], interval: nil)
        case .functions:
            (record.functions?.probed ?? []).filter { $0.calls != 0 }.map {
                FunctionText.row($0.function, FunctionCount(recorded: $0), isTimed: isTimed, interval: nil)
            }
        }
    }

    /// What else is to be said of a session's counts.
    func remarks(_ record: SessionRecord) -> [Line] {
        switch kind {
        case .redis: (record.watched?.words ?? []).map { Line($0) }
        case .syscalls: SyscallText(record.syscallTimes ?? [], most: .max).remarks
        case .functions: record.functions.map(FunctionText.remarks) ?? []
        }
    }

    /// What another host says may be any number.
    private static func interval(_ seconds: Double) -> Nanoseconds { Nanoseconds(UInt64(min(max(seconds, 0.001), 1e9) * 1e9)) }

    /// The phases that a table shows: of servers, of blocking commands, and of clients, which have none of the others.
    private static let phases = ["service", "wait", "total"]

    private static func shown(_ rows: [CommandRow]) -> [CommandRow] {
        let called = rows.filter { $0.calls > 0 && phases.contains($0.phase) }, servers = called.filter { $0.phase != "total" }
        return servers.isEmpty ? called : servers
    }

    private static func latencies(_ latency: LatencyRecord?) -> [String] {
        let percentiles = [latency?.p50Ns, latency?.p90Ns, latency?.p99Ns, latency?.p999Ns].map { $0.map { Nanoseconds($0).description } ?? "-" }
        let longest = latency.map { $0.count == 0 ? "-" : ($0.maxIsUpperBound == true ? "<=" : "") + Nanoseconds($0.maxNs).description } ?? "-"
        return percentiles + [longest]
    }
}
