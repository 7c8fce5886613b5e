import KilnKernel
import KilnModel
import KilnTargets

/// What one interval adds to the row files of one target, in a fixed order.
struct IntervalRows {
    let commands: [CommandRow]
    let syscalls: [SyscallRow]

    init(_ interval: Snapshot, time: WallTime, target: Target, process: Int) {
        commands = interval.commands.filter { $0.key.process == process }.sorted { $0.key.name < $1.key.name }
            .flatMap { key, counts -> [CommandRow] in
                // A command that nobody has answered yet has its row too: its calls are known.
                let known = Phase.allCases.filter { counts.phases[$0] != nil }
                let hasLatency = known.contains(.service) || known.contains(.wait) || known == [.total]
                return (hasLatency ? known : [.service] + known).map { phase in
                    CommandRow(
                        time: time.rfc3339, interval: interval.time, pid: target.pid, command: key.name, phase: phase, counts: counts
                    )
                }
            }
        syscalls = interval.syscalls.filter { $0.key.process == process }.sorted { $0.key.number < $1.key.number }
            .map { key, counts in
                SyscallRow(
                    time: time.rfc3339, interval: interval.time, pid: target.pid, comm: target.comm,
                    syscall: syscallName(key.number), counts: counts
                )
            }
    }
}
