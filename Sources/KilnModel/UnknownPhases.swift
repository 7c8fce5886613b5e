/// Why a phase has fewer samples than there were replies: one reason for all of them.
extension Snapshot {
    /// Reasons by phase, only for phases that lack samples; `waits` if blockers are unknown. `hook` as in session.json.
    public func unknownPhases(process: Int, hook: String) -> [String: String] {
        var samples: [Phase: UInt64] = [:]
        for (key, counts) in commands where key.process == process {
            for (phase, histogram) in counts.phases { samples[phase, default: 0] &+= histogram.count }
        }
        let service = samples[.service] ?? 0
        var reasons: [String: String] = [:]
        let executed = samples[.exec] ?? 0
        if executed < service {
            reasons[Phase.exec.rawValue] =
                readByOtherThreads.contains(process)
                ? "io threads read requests that the main thread executes, and sockets don't show when: known for \(executed) of \(service) replies, "
                    + "those to requests that the main thread read after no other thread had read for a second"
                : "known for commands that were alone in their receive and whose reply was sent in the same turn of the event loop"
            reasons[Phase.reply.rawValue] = reasons[Phase.exec.rawValue]
        }
        if samples[.total] ?? 0 < service {
            let reason =
                hook != "syscall"
                ? "unknown for the first receive of a connection, and after receives that left bytes behind"
                : "hook \(hook) doesn't see data arrive"
            reasons[Phase.queue.rawValue] = reason
            reasons[Phase.total.rawValue] = reason
        }
        // A blocker is known only if both an execution and a wait in the socket are known. Executions of pipelines are known, though their
        // commands have no exec.
        if readByOtherThreads.contains(process) {
            reasons["waits"] = reasons[Phase.exec.rawValue]
        } else if samples[.queue] ?? 0 == 0 {
            reasons["waits"] = reasons[Phase.queue.rawValue]
        }
        return reasons
    }
}
