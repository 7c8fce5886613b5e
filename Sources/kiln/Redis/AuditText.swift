import KilnModel

/// kiln's counts beside the server's, as a table.
func auditLines(_ audit: Audit.Record) -> [Line] {
    var table = Table(["AUDIT", "kiln", "server", "exec mean", "usec_per_call", "exec p99", "latencystats p99", ""], leftAligned: 1)
    let commands = shownFirst(audit.commands) { $0.difference }, errors = shownFirst(audit.errors) { $0.difference }
    for row in commands {
        table.add([
            row.command, range(row.kilnLeast, row.kilnMost),
            grouped(row.serverCalls) + (row.serverRejectedCalls == 0 ? "" : " + \(grouped(row.serverRejectedCalls)) rejected"),
            time(row.kilnExecNs), time(row.serverExecNs), time(row.kilnExecP99Ns), time(row.serverExecP99Ns), row.difference ?? "same",
        ])
    }
    for row in errors {
        table.add([row.word, range(row.kilnLeast, row.kilnMost), grouped(row.server), "", "", "", "", row.difference ?? "same"])
    }
    if let row = audit.requestBytes {
        table.add(["request bytes", range(row.kilnLeast, row.kilnMost), grouped(row.server), "", "", "", "", row.difference ?? "same"])
    }
    let rest = [(audit.commands.count - commands.count, "commands"), (audit.errors.count - errors.count, "errors")]
        .filter { $0.0 > 0 }.map { Line("… and \($0.0) more \($0.1) (in session.json)") }
    return [Line].table(table.lines.map(\.trimmedRight)) + rest + (["audit: " + verdict(audit)] + executionTimes(audit).map { "exec: " + $0 })
}

/// As many rows as the table shows, in their order: unexplained differences first, then other differences, then equal rows.
private func shownFirst<Row>(_ rows: [Row], _ difference: (Row) -> String?) -> [Row] {
    let rank = rows.map { row in difference(row).map { $0.hasSuffix(Audit.unexplained) ? 0 : 1 } ?? 2 }
    return rows.indices.sorted { (rank[$0], $0) < (rank[$1], $1) }.prefix(Output.standardOutput.tableRows).sorted().map { rows[$0] }
}

/// Explains why kiln's mean exec differs from the server's: the two clocks measure different parts of a command.
private func executionTimes(_ audit: Audit.Record) -> [String] {
    let pairs = audit.commands.compactMap { row in row.kilnExecNs.flatMap { kiln in row.serverExecNs.map { (row.command, more: kiln - $0) } } }
    let longer = pairs.map(\.more).filter { $0 >= 0 }.sorted(), shorter = pairs.filter { $0.more < 0 }.map(\.0)
    var lines: [String] = []
    if !longer.isEmpty {
        let median = Nanoseconds(UInt64(saturating: longer[longer.count / 2]))
        lines.append(
            "\(median) longer than usec_per_call (median of \(longer.count) commands), which excludes the read's return, parsing, and the work between execution and the send of the reply"
        )
    }
    if !shorter.isEmpty {
        lines.append(
            "shorter for \(shorter.joined(separator: ", ")): exec includes only commands that ran alone, usec_per_call also those that pipelines, scripts and threads of modules executed"
        )
    }
    return lines
}

/// Whether the counts agree, in one line.
private func verdict(_ audit: Audit.Record) -> String {
    let commands = audit.commands.compactMap(\.difference), errors = audit.errors.compactMap(\.difference)
    let different =
        [(commands.count, audit.commands.count, "commands"), (errors.count, audit.errors.count, "errors")].filter { $0.0 != 0 }
        .map { "\($0) of \($1) \($2)" } + (audit.requestBytes?.difference == nil ? [] : ["the bytes of requests"])
    guard !different.isEmpty else { return "every command's count equals the server's" + (audit.errors.isEmpty ? "" : ", and every error's") }
    let unexplained = audit.differences.count { $0.hasSuffix(Audit.unexplained) }
    return different.joined(separator: " and ") + " differ"
        + (unexplained == 0 ? ", for the reasons given" : ", \(unexplained) of them unexplained: please report it")
}

private func range(_ least: UInt64, _ most: UInt64) -> String {
    least == most ? grouped(least) : "\(grouped(least)) to \(grouped(most))"
}

private func time(_ nanoseconds: Double?) -> String {
    nanoseconds.map { "\(Nanoseconds(UInt64(saturating: $0)))" } ?? "-"
}
