import FoundationEssentials
import KilnHosts
import KilnModel

/// What a subcommand counts on several hosts in one table, an interval after the other, from the JSON lines that it prints on each.
struct HostsTable {
    /// What one host has said.
    private struct Said {
        /// Lines of the interval that is being told, and of the last one that was.
        var lines: [Data] = [], interval: (end: IntervalEnd, lines: [Data])?
        var records: [SessionRecord] = []
        /// In bytes: the lines of the interval that is being told, and what the records were decoded from.
        var linesSize = 0, recordsSize = 0
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

    /// The most that a host may say of an interval, and of its sessions, in bytes.
    private static let mostSaid = 64 << 20

    private let subcommand: CountingSubcommand
    private let hosts: [HostName]
    private let tableRows: Int
    private var said: [HostName: Said] = [:]
    private let decoder = JSONDecoder()

    /// - Parameter tableRows: The largest number of rows in a table.
    init(_ subcommand: CountingSubcommand, _ hosts: [HostName], tableRows: Int) {
        (self.subcommand, self.hosts, self.tableRows) = (subcommand, hosts, tableRows)
        for host in hosts { said[host] = Said() }
    }

    /// The lines that can be printed now that a host has said a line. A line that is none of a session is printed as it is. Throws `Failure` where
    /// a host says more than a session has.
    mutating func add(_ line: String, of host: HostName) throws -> [Line] {
        guard line.first == "{" else { return ["\(host): \(line)"] }
        let data = Data(line.utf8)
        if let end = try? decoder.decode(IntervalEnd.self, from: data) {
            // It is ahead of the others: they don't hold it up.
            let lines = said[host]?.interval == nil ? [] : interval(), told = said[host]?.lines ?? []
            said[host]?.interval = (end, told)
            said[host]?.lines = []
            said[host]?.linesSize = 0
            return lines + (isWaiting ? [] : interval())
        } else if let record = try? decoder.decode(SessionRecord.self, from: data) {
            said[host]?.records.append(record)
            said[host]?.recordsSize += data.count
        } else {
            said[host]?.lines.append(data)
            said[host]?.linesSize += data.count
        }
        if let said = said[host], max(said.linesSize, said.recordsSize) > Self.mostSaid {
            throw Failure("it said more than \(Self.mostSaid >> 20) MiB of one interval, which no session does.")
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
        let told = hosts.compactMap { host in said[host]?.interval.map { (host: host, end: $0.end, lines: $0.lines) } }
        guard let first = told.first else { return [] }
        for host in hosts { said[host]?.interval = nil }
        let rows = told.flatMap { told in kept(subcommand.rows(told.lines, decoder), of: told.host) }
        let lost = told.filter { !$0.end.lost.isEmpty }.map { "\($0.host): \(Self.text(lost: $0.end.lost))" }
        return [Line(bold: first.end.time)] + table(rows, amount: "calls/s") + [
            Line(lost.isEmpty ? "lost: nothing" : "lost: " + lost.joined(separator: "; ")), "",
        ]
    }

    private var totals: [Line] {
        let rows = hosts.flatMap { host in kept((said[host]?.records ?? []).flatMap(subcommand.rows), of: host) }
        let sessions = hosts.flatMap { host in
            (said[host]?.records ?? []).map { record in
                Line(
                    "\(host): \(sessionTitle(record.target)), \(significantSeconds(record.durationS)) (\(record.ended)), lost: \(Self.text(lost: record.lost))")
            }
        }
        let remarks = hosts.flatMap { host in
            (said[host]?.records ?? []).flatMap(subcommand.remarks).map { Line("\(host): \($0.text)") }
        }
        let failed = hosts.filter { said[$0]?.records.isEmpty != false }.map { Line("\($0): no session was completed") }
        let written = hosts.compactMap { host in
            said[host]?.directory.map { Line("wrote \($0)/" + (said[host]?.records.isEmpty == true ? " (what had arrived)" : "")) }
        }
        return [Line(bold: "Sessions")] + table(rows, amount: "calls") + remarks + sessions + failed + written
    }

    private static func text(lost: [String: UInt64]) -> String {
        lost.isEmpty ? "nothing" : lost.sorted { $0.key < $1.key }.map { "\(grouped($0.value)) \($0.key)" }.joined(separator: ", ")
    }

    /// The first rows of a host, and one that says how many more there are.
    private func kept(_ rows: [[String]], of host: HostName) -> [[String]] {
        let most = subcommand.top ?? max(3, tableRows / max(1, hosts.count)), shown = rows.prefix(most).map { [host.description] + $0 }
        guard let width = rows.first?.count, rows.count > most else { return shown }
        return shown + [[host.description, "… \(rows.count - most) more"] + Array(repeating: "", count: width - 1)]
    }

    private func table(_ rows: [[String]], amount: String) -> [Line] {
        guard !rows.isEmpty else { return [Line(subcommand.nothing)] }
        var table = Table(["HOST"] + subcommand.columns(amount: amount), leftAligned: 1 + subcommand.names)
        for row in rows { table.add(row) }
        return .table(table.lines)
    }
}
