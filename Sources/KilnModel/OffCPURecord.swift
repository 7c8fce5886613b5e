/// The part of session.json about time off the CPU.
extension SessionRecord {
    /// Waits of threads off the CPU.
    public struct OffCPU: Codable, Sendable {
        /// The meaning of a count in stacks.off-cpu.folded.
        public var unit = "nanoseconds"
        /// Waits that began in the session and whose stack is known, those of descendants included.
        public var recorded: UInt64
        /// As of on-CPU samples.
        public var kept: UInt64?
        public var leftOut: LeftOutCounts?
        /// Recorded waits whose stack reaches the outermost function.
        public var complete: UInt64
        /// The same by unwind termination; only those that occurred.
        public var ends: [String: UInt64]
        /// Recorded waits whose stack has callers that are guesses. Absent if there are none.
        public var guessed: UInt64?
        /// Time by state (`WaitState`), without idle time. Waits that began before the session, or had not ended when it ended, count for their time
        /// inside it.
        public var sleepingNs, uninterruptibleNs, runnableNs, stoppedNs: UInt64
        /// Time asleep in a multiplexer (epoll_wait and its kin), waiting for new work.
        public var idleNs: UInt64
        /// Of all waits: those that began before the session or had not ended when it ended, and their time, idle or not.
        public var openWaits, openNs: UInt64
        /// The longest wait that ended, idle ones left out.
        public var longestNs: UInt64
        /// Frames with and without names, weighted by time.
        public var names: NamesRecord?
        /// With `--wakers`.
        public var wakers: Wakers?

        /// The waits whose waker is known.
        public struct Wakers: Codable, Sendable {
            /// Idle waits included.
            public var recorded: UInt64 = 0
            /// Of these, wakers whose stack reaches the outermost function, or the interrupt's entry.
            public var complete: UInt64 = 0
            /// The same by unwind termination; only those that occurred.
            public var ends: [String: UInt64] = [:]
            /// Wakers whose stack has callers that are guesses. Absent if there are none.
            public var guessed: UInt64?
            /// Time until the threads were woken.
            public var ns: UInt64 = 0

            public init(_ wakes: [StackTable.Wake]) {
                for wake in wakes {
                    recorded &+= wake.wakes
                    ns &+= wake.time.count
                    if wake.wakerFrames.termination == .complete { complete &+= wake.wakes }
                    ends[wake.wakerFrames.termination.name, default: 0] &+= wake.wakes
                    if !wake.wakerFrames.guessed.isEmpty { guessed = (guessed ?? 0) &+ wake.wakes }
                }
            }
        }

        enum CodingKeys: String, CodingKey {
            case unit, recorded, kept, complete, ends, guessed, names, wakers
            case leftOut = "left_out", sleepingNs = "sleeping_ns", uninterruptibleNs = "uninterruptible_ns", runnableNs = "runnable_ns"
            case stoppedNs = "stopped_ns", idleNs = "idle_ns", openWaits = "open_waits", openNs = "open_ns", longestNs = "longest_ns"
        }

        /// - Parameter waits: Those of the target.
        public init(counts: [SampleCounts], waits: [(isIdle: Bool, times: WaitTimes)]) {
            let all = counts.reduce(into: SampleCounts()) { $0.add($1) }
            (recorded, kept, leftOut) = (all.recorded, all.kept, all.leftOutOfKept)
            complete = all.complete
            ends = all.terminationsByName
            guessed = all.guessedIfAny
            var sum = WaitSum()
            for (isIdle, times) in waits { sum.add(times, isIdle: isIdle) }
            (sleepingNs, uninterruptibleNs, runnableNs, stoppedNs) = (sum.ns(.sleeping), sum.ns(.uninterruptible), sum.ns(.runnable), sum.ns(.stopped))
            idleNs = sum.idle.count
            openWaits = sum.all.open
            openNs = sum.all.openTime.count
            longestNs = sum.busy.longest.count
        }
    }
}
