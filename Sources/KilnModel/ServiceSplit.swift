/// Where the service of a command's slow calls was spent, in nanoseconds.
///
/// Calls that wait at the same time each count their own wait, but a thread's time counts once, so the rest may be longer than the session.
public struct ServiceSplit: Equatable, Sendable {
    public var calls: UInt64
    public var service: UInt64
    /// The time from the first send of a reply to its last, of replies that took several sends. It includes the later sends.
    public var sendBlocked: UInt64
    /// The thread's time off the CPU for these calls; nil if that was not recorded.
    public var offCPU: UInt64?
    /// Its time on the CPU for these calls, an estimate from samples that is never more than what remains; nil if no samples were taken.
    public var onCPU: UInt64?
    public var samples: UInt64
    /// The thread did other work of the same turn, or had put the call off. What is nil above is part of it.
    public var rest: UInt64
    public var hasStacks: Bool
    /// Slow pipelines of different commands have stacks, and this command's calls may have been among theirs. The rest then includes them.
    public var mayBeInPipelines: Bool

    /// From a session's record, which may have any numbers.
    public init(ofSlow name: String, _ calls: SessionRecord.KeptCalls.Calls, in record: SessionRecord) {
        let slow = Work.Verdict.slow.rawValue, byCommand = record.samples.byCommand
        // Names come at the session's end, also where no stack was kept.
        let isComplete = byCommand != nil || record.samples.onCPU.names != nil || record.samples.offCPU?.names != nil
        func isSeen(_ row: SessionRecord.WorkRow) -> Bool { row.verdict == slow && (row.samples != 0 || row.offCPU?.ns ?? 0 != 0) }
        let row = byCommand?.commands.first { $0.name == name && isSeen($0) }
        self.calls = calls.count
        service = calls.serviceNs
        sendBlocked = min(calls.sendBlockedNs, service)
        rest = service - sendBlocked
        if isComplete, record.samples.offCPU != nil {
            let time = min(row?.offCPU?.ns ?? 0, rest)
            offCPU = time
            rest -= time
        }
        // The service begins when the request has been received.
        samples = [row?.execSamples ?? 0, row?.replySamples ?? 0].saturatingSum
        let frequency = record.meanFrequency
        if isComplete, frequency > 0 {
            let time = min(UInt64(saturating: Double(samples) * 1e9 / frequency), rest)
            onCPU = time
            rest -= time
        }
        hasStacks = row != nil
        mayBeInPipelines = byCommand?.rest.contains { $0.name == SessionRecord.WorkRow.pipeline && isSeen($0) } == true
    }
}
