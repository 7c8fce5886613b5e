import KilnKernel
import KilnModel

/// The JSON lines that one interval adds to the row files of one target, in a fixed order. They are encoded once for all sinks, because
/// encoding takes most of kiln's own time.
struct IntervalLines {
    let commands: [UInt8]
    let syscalls: [UInt8]

    init(_ interval: Snapshot, time: WallTime, target: SessionRecord.Target, process: Int) throws {
        commands = try jsonLines(
            interval.commands.filter { $0.key.process == process }.sorted { $0.key.name < $1.key.name }
                .flatMap { key, counts -> [CommandRow] in
                    // A command without any reply yet has a row, too: its number of calls is known.
                    let known = Phase.allCases.filter { counts.phases[$0] != nil }
                    let hasLatency = known.contains(.service) || known.contains(.wait) || known == [.total]
                    return (hasLatency ? known : [.service] + known).map { phase in
                        CommandRow(
                            time: time.rfc3339, interval: interval.time, pid: target.pid, command: key.name, phase: phase, counts: counts
                        )
                    }
                })
        syscalls = try jsonLines(
            interval.syscalls.filter { $0.key.process == process }.sorted { $0.key.number < $1.key.number }
                .map { key, counts in
                    SyscallRow(
                        time: time.rfc3339, interval: interval.time, pid: target.pid, comm: target.comm,
                        syscall: syscallName(key.number), counts: counts
                    )
                })
    }
}
