import KilnModel

/// kiln's counts beside the server's, for people.
func auditLines(_ audit: Audit.Record, output: Output) -> [String] {
    var table = Table(["AUDIT", "kiln", "server", "exec mean", "usec_per_call", "exec p99", "latencystats p99", ""], leftAligned: 1)
    for row in audit.commands {
        table.add([
            row.command, range(row.kilnLeast, row.kilnMost),
            grouped(row.serverCalls) + (row.serverRejectedCalls == 0 ? "" : " + \(grouped(row.serverRejectedCalls)) rejected"),
            time(row.kilnExecNs), time(row.serverExecNs), time(row.kilnExecP99Ns), time(row.serverExecP99Ns), row.difference ?? "same",
        ])
    }
    for row in audit.errors {
        let same = (row.kilnLeast...max(row.kilnLeast, row.kilnMost)).contains(row.server)
        table.add([row.word, range(row.kilnLeast, row.kilnMost), grouped(row.server), "", "", "", "", same ? "same" : "differs"])
    }
    var lines = table.lines.map(\.trimmedRight)
    lines[0] = output.bold(lines[0])
    let different = audit.commands.filter { $0.difference != nil }
    guard !different.isEmpty else { return lines + ["audit: every command's count is the server's"] }
    let unexplained = different.count { $0.difference?.contains("unexplained") ?? false }
    return lines + [
        "audit: \(different.count) of \(audit.commands.count) commands differ"
            + (unexplained == 0 ? ", for the reasons given" : ", \(unexplained) of them unexplained: please report it"),
    ]
}

private func range(_ least: UInt64, _ most: UInt64) -> String {
    least == most ? grouped(least) : "\(grouped(least)) to \(grouped(most))"
}

private func time(_ nanoseconds: Double?) -> String {
    nanoseconds.map { "\(Nanoseconds(UInt64(saturating: $0)))" } ?? "-"
}
