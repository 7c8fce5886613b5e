import KilnBPF

extension Histogram {
    /// The histogram as it was written.
    public init(_ record: LatencyRecord) {
        self.init()
        guard record.count != 0 else { return }
        var slots = [UInt64](repeating: 0, count: Self.slotCount + 1)
        for slot in record.slots where slot.count == 3 { slots[Self.slot(of: Nanoseconds(slot[0]))] &+= slot[2] }
        let longest = Nanoseconds(record.maxNs)
        self.init(
            slots: slots, sum: Nanoseconds(record.sumNs),
            maximum: record.maxIsUpperBound == true ? .atMost(longest) : .exact(longest)
        )
    }
}

extension TimedCalls {
    /// The recorded numbers. Names of errors that no kernel has are left out.
    public init(_ record: SyscallTimesRecord) {
        self.init()
        latency = Histogram(record.latency)
        earlier = PartialCalls(record.earlier)
        withoutEntry = record.withoutEntry ?? 0
        unreturned = PartialCalls(record.unreturned)
        inFlight = PartialCalls(record.inFlight)
        errors = record.errors
        interrupted = record.interrupted ?? 0
        for (name, count) in record.errnos ?? [:] { if let number = errnoNumber(name) { errnos[number] = count } }
    }

}

extension PartialCalls {
    fileprivate init(_ record: SyscallTimesRecord.Partial?) { self.init(count: record?.count ?? 0, time: Nanoseconds(record?.ns ?? 0)) }
}

extension SessionRecord {
    /// The recorded numbers as a snapshot with one process, so that a session that is read back is printed like one that just ended. System
    /// calls are left out, because the record has names instead of numbers.
    public var snapshot: Snapshot {
        var snapshot = Snapshot(time: Nanoseconds(UInt64(saturating: durationS * 1e9)))
        for (name, command) in commands {
            var counts = CommandCounts(calls: command.count)
            counts.errors = command.errors
            counts.errorWords = command.errorWords
            counts.runQueue = Nanoseconds(command.execRunQueueNs)
            counts.largestRequest = command.requestBytesMax
            counts.largestReply = command.replyBytesMax
            for (phase, record) in command.phases {
                if let phase = Phase(rawValue: phase) { counts.phases[phase] = Histogram(record) }
            }
            snapshot.commands[CommandKey(process: 0, name: CommandName(recorded: name))] = counts
        }
        for wait in waits {
            let key = WaitKey(process: 0, blocker: CommandName(recorded: wait.blocker), blocked: CommandName(recorded: wait.blocked))
            snapshot.waits[key] = WaitCounts(times: wait.times, wait: Nanoseconds(wait.waitNs))
        }
        for (address, client) in clients {
            snapshot.clients[ClientKey(process: 0, address: address)] = ClientCounts(
                commands: client.commands, receivedBytes: client.receivedBytes, sentBytes: client.sentBytes
            )
        }
        for (address, server) in servers ?? [:] {
            snapshot.clients[ClientKey(process: 0, address: address)] = ClientCounts(
                commands: server.commands, receivedBytes: server.receivedBytes, sentBytes: server.sentBytes
            )
            for (name, latency) in server.latency {
                let key = ServedCommandKey(process: 0, server: address, name: CommandName(recorded: name))
                snapshot.served[key] = CommandCounts(calls: latency.count, phases: [.total: Histogram(latency)])
            }
        }
        snapshot.losses = lost
        return snapshot
    }
}
