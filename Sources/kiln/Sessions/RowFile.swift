import KilnKernel
import KilnModel

/// A file of rows in a session's directory: JSON lines, a line for each interval and row.
///
/// A session has a list of them. To add one, declare a value here, or beside its probe, and add it to the list of the subcommand.
struct RowFile: Sendable {
    /// `commands.jsonl`
    let name: String
    /// The lines that an interval adds.
    let lines: @Sendable (RowMoment) throws -> [UInt8]

    static let commands = RowFile(name: "commands.jsonl") { moment in
        try jsonLines(
            moment.counts.commands.filter { $0.key.process == moment.process }.sorted { $0.key.name < $1.key.name }
                .flatMap { key, counts -> [CommandRow] in
                    // A command without any reply yet has a row, too: its number of calls is known.
                    let known = Phase.allCases.filter { counts.phases[$0] != nil }
                    let hasLatency = known.contains(.service) || known.contains(.wait) || known == [.total]
                    return (hasLatency ? known : [.service] + known).map { phase in
                        CommandRow(
                            time: moment.time.rfc3339, interval: moment.counts.time, pid: moment.target.pid, command: key.name, phase: phase, counts: counts,
                            moment.counts[Estimates.self], key
                        )
                    }
                })
    }

    static let syscalls = RowFile(name: "syscalls.jsonl") { moment in
        try jsonLines(
            moment.counts.syscalls.filter { $0.key.process == moment.process }.sorted { $0.key.number < $1.key.number }
                .map { key, counts in
                    SyscallRow(
                        time: moment.time.rfc3339, interval: moment.counts.time, pid: moment.target.pid, comm: moment.target.comm,
                        syscall: syscallName(key.number), counts: counts
                    )
                })
    }
}

/// What the rows of an interval are made from.
struct RowMoment {
    /// Of this interval only.
    let counts: Snapshot
    /// The end of the interval.
    let time: WallTime
    let target: SessionRecord.Target
    /// The index of the target in the session.
    let process: Int
}

/// The lines that one interval adds to the row files of one target, in the order of the files. They are encoded once for all sinks, because
/// encoding takes most of kiln's own time.
struct IntervalLines {
    let files: [(name: String, lines: [UInt8])]

    init(_ rows: [RowFile], at moment: RowMoment) throws { files = try rows.map { ($0.name, try $0.lines(moment)) } }
}
