import FoundationEssentials
import KilnHosts
import KilnModel

/// The commands of servers on several hosts in one table, an interval after the other, from the JSON lines of `kiln redis` on each.
struct HostsTable {
    /// What one host has said.
    private struct Said {
        /// Rows of the interval that is being told, and of the last one that was.
        var rows: [CommandRow] = [], interval: (end: IntervalEnd, rows: [CommandRow])?
        var records: [SessionRecord] = []
        /// Where its files are here; nil: none have come.
        var directory: String?
        var hasEnded = false
    }

    /// A part of the last line of an interval (`JSONSink`).
    private struct IntervalEnd: Decodable {
        var time: String
        var interval_s: Double
        var lost: [String: UInt64]
        /// Tells the line from others.
        var own_cpu_s: Double
    }

    private let hosts: [HostName]
    private let tableRows: Int
    private var said: [HostName: Said] = [:]
    private let decoder = JSONDecoder()

    /// - Parameter tableRows: The largest number of rows in a table.
    init(_ hosts: [HostName], tableRows: Int) {
        (self.hosts, self.tableRows) = (hosts, tableRows)
        for host in hosts { said[host] = Said() }
    }

    /// The lines that can be printed now that a host has said a line. A line that is none of a session is printed as it is.
    mutating func add(_ line: String, of host: HostName) -> [Line] {
        let data = Data(line.utf8)
        if let row = try? decoder.decode(CommandRow.self, from: data) {
            said[host]?.rows.append(row)
        } else if let end = try? decoder.decode(IntervalEnd.self, from: data) {
            // It is ahead of the others: they don't hold it up.
            let lines = said[host]?.interval == nil ? [] : interval(), rows = said[host]?.rows ?? []
            said[host]?.interval = (end, rows)
            said[host]?.rows = []
            return lines + (isWaiting ? [] : interval())
        } else if let record = try? decoder.decode(SessionRecord.self, from: data) {
            said[host]?.records.append(record)
        } else if line.first != "{" {
            return ["\(host): \(line)"]
        }
        return []
    }

    /// The lines that can be printed now that a host says nothing more: at the end of all, the table of the whole sessions.
    ///
    /// - Parameter directory: Where its files are here; nil: none have come.
    mutating func end(_ host: HostName, directory: String?) -> [Line] {
        guard said[host]?.hasEnded == false else { return [] }
        said[host]?.hasEnded = true
        said[host]?.directory = directory
        guard said.values.allSatisfy(\.hasEnded) else { return isWaiting ? [] : interval() }
        return interval() + totals
    }

    /// A host has yet to tell the interval that others have told.
    private var isWaiting: Bool { said.values.contains { $0.interval == nil && !$0.hasEnded } }

    private mutating func interval() -> [Line] {
        let told = hosts.compactMap { host in said[host]?.interval.map { (host: host, end: $0.end, rows: $0.rows) } }
        guard let first = told.first else { return [] }
        for host in hosts { said[host]?.interval = nil }
        let rows = told.flatMap { told in
            kept(Self.shown(told.rows).sorted { $0.calls > $1.calls }, of: told.host) { row in
                // What another host says may be any number.
                let interval = Nanoseconds(UInt64(min(max(row.intervalS, 0.001), 1e9) * 1e9))
                let calls = row.estimate.map { "~" + callsText($0.callsEstimate, in: interval) } ?? callsText(row.calls, in: interval)
                return [row.command, calls] + Self.latencies(row.latency)
            }
        }
        let lost = told.filter { !$0.end.lost.isEmpty }.map { "\($0.host): \(Self.text(lost: $0.end.lost))" }
        return [Line(bold: first.end.time)] + table(rows, calls: "calls/s") + [
            Line(lost.isEmpty ? "lost: nothing" : "lost: " + lost.joined(separator: "; ")), "",
        ]
    }

    private var totals: [Line] {
        let rows = hosts.flatMap { host in
            kept((said[host]?.records ?? []).flatMap { $0.commands.sorted { $0.value.count > $1.value.count } }, of: host) { name, counts in
                let latency = Self.phases.lazy.compactMap { counts.phases[$0] }.first
                return [name, counts.estimate.map { "~" + grouped($0.callsEstimate) } ?? grouped(counts.count)] + Self.latencies(latency)
            }
        }
        let sessions = hosts.flatMap { host in
            (said[host]?.records ?? []).map { record in
                Line(
                    "\(host): \(sessionTitle(record.target)), \(significantSeconds(record.durationS)) (\(record.ended)), lost: \(Self.text(lost: record.lost))")
            }
        }
        let failed = hosts.filter { said[$0]?.records.isEmpty != false }.map { Line("\($0): no session was completed") }
        let written = hosts.compactMap { host in
            said[host]?.directory.map { Line("wrote \($0)/" + (said[host]?.records.isEmpty == true ? " (what had arrived)" : "")) }
        }
        return [Line(bold: "Sessions")] + table(rows, calls: "calls") + sessions + failed + written
    }

    private static func text(lost: [String: UInt64]) -> String {
        lost.isEmpty ? "nothing" : lost.sorted { $0.key < $1.key }.map { "\(grouped($0.value)) \($0.key)" }.joined(separator: ", ")
    }

    /// The phases that a table shows: of servers, of blocking commands, and of clients, which have none of the others.
    private static let phases = ["service", "wait", "total"]

    private static func shown(_ rows: [CommandRow]) -> [CommandRow] {
        let called = rows.filter { $0.calls > 0 && phases.contains($0.phase) }, servers = called.filter { $0.phase != "total" }
        return servers.isEmpty ? called : servers
    }

    /// The cells of the first rows of a host, and one that says how many more there are.
    private func kept<Row>(_ rows: [Row], of host: HostName, _ cells: (Row) -> [String]) -> [[String]] {
        let most = max(3, tableRows / max(1, hosts.count)), shown = rows.prefix(most).map { [host.description] + cells($0) }
        return rows.count > most ? shown + [[host.description, "… \(rows.count - most) more", "", "", "", "", "", ""]] : shown
    }

    private static func latencies(_ latency: LatencyRecord?) -> [String] {
        let percentiles = [latency?.p50Ns, latency?.p90Ns, latency?.p99Ns, latency?.p999Ns].map { $0.map { Nanoseconds($0).description } ?? "-" }
        let longest = latency.map { $0.count == 0 ? "-" : ($0.maxIsUpperBound == true ? "<=" : "") + Nanoseconds($0.maxNs).description } ?? "-"
        return percentiles + [longest]
    }

    private func table(_ rows: [[String]], calls: String) -> [Line] {
        guard !rows.isEmpty else { return ["no commands"] }
        var table = Table(["HOST", "COMMAND", calls, "service p50", "p90", "p99", "p99.9", "max"], leftAligned: 2)
        for row in rows { table.add(row) }
        return .table(table.lines)
    }
}
