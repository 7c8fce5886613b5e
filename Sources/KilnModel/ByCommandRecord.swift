/// The part of session.json about what the target's threads worked on.
extension SessionRecord {
    /// Samples and waits by command. All rows together have all recorded samples, and all time off the CPU, unless stacks of some calls only were kept.
    public struct ByCommand: Codable, Sendable {
        /// The most sampled first; slow calls before fast ones.
        public var commands: [WorkRow]
        /// What is no single command's, in this order: `pipeline` (different commands of one receive), `event loop`, `background`, `unknown` (a row
        /// for each reason), `unlabelled`, `child processes` (whose samples are `descendants` of `on_cpu`).
        public var rest: [WorkRow]

        /// The commands by their time off the CPU; slow calls before fast ones.
        public var longestWaitsFirst: [WorkRow] {
            func isFast(_ row: WorkRow) -> Int { row.verdict == Work.Verdict.fast.rawValue ? 1 : 0 }
            func time(_ row: WorkRow) -> UInt64 { row.offCPU?.ns ?? 0 }
            return commands.sorted { (isFast($0), time($1), $0.name) < (isFast($1), time($0), $1.name) }
        }
    }

    /// What threads did for one command, or for none.
    public struct WorkRow: Codable, Sendable {
        /// The command, or a word of `ByCommand.rest`.
        public var name: String
        /// Of `unknown`: why.
        public var reason: String?
        /// `slow` or `fast`; absent where all calls' stacks are kept.
        public var verdict: String?
        /// Requests of the command that the server read; where some calls' stacks are kept, those of them that were asked for, and of a verdict those
        /// that were judged so.
        public var calls: UInt64?
        public var samples: UInt64
        /// The samples in which the thread executed the command, sent its reply, or received its request. Their sum is `samples`.
        public var execSamples, replySamples, readSamples: UInt64?
        /// Of all samples of the target, with its 95 % interval (`ShareEstimate`); absent without samples, and for child processes.
        public var share, shareLow, shareHigh: Double?
        /// An estimate: samples over the frequency.
        public var cpuSEstimate: Double
        /// The functions that were sampled most as the innermost frame, most first; at most `functionLimit`.
        public var functions: [FunctionSamples]
        /// Absent unless --off-cpu was given.
        public var offCPU: Waits?

        enum CodingKeys: String, CodingKey {
            case name, reason, verdict, calls, samples, share, functions
            case execSamples = "exec_samples", replySamples = "reply_samples", readSamples = "read_samples"
            case shareLow = "share_low", shareHigh = "share_high", cpuSEstimate = "cpu_s_estimate", offCPU = "off_cpu"
        }

        public static let functionLimit = 20
        /// The name of the row of `ByCommand.rest` for different commands of one receive.
        public static let pipeline = "pipeline"
    }

    public struct FunctionSamples: Codable, Sendable {
        public var function: String
        public var samples: UInt64
        /// Of the row's samples.
        public var share: Double
    }

    public struct FunctionTime: Codable, Sendable {
        public var function: String
        public var ns: UInt64
        /// Of the row's time without idle time, which counts with --idle.
        public var share: Double
    }

    /// Time off the CPU in a row.
    public struct Waits: Codable, Sendable {
        /// Idle ones included.
        public var waits: UInt64
        /// By state, as in `OffCPU`.
        public var sleepingNs, uninterruptibleNs, runnableNs, stoppedNs, idleNs: UInt64
        /// The innermost functions in which threads waited longest.
        public var functions: [FunctionTime]

        enum CodingKeys: String, CodingKey {
            case waits, functions, sleepingNs = "sleeping_ns", uninterruptibleNs = "uninterruptible_ns", runnableNs = "runnable_ns"
            case stoppedNs = "stopped_ns", idleNs = "idle_ns"
        }

        /// Without idle time.
        public var ns: UInt64 { WaitState.allCases.map(ns).saturatingSum }

        public func ns(_ state: WaitState) -> UInt64 {
            switch state {
            case .sleeping: sleepingNs
            case .uninterruptible: uninterruptibleNs
            case .runnable: runnableNs
            case .stopped: stoppedNs
            }
        }
    }
}

extension SessionRecord.ByCommand {
    /// A wait of the target or of its children.
    public typealias Wait = (process: Int, work: Work, isIdle: Bool, times: WaitTimes)

    /// - Parameters:
    ///   - process: The index of the target. Stacks of other processes are those of its children.
    ///   - onCPU: Samples.
    ///   - offCPU: Time off the CPU, as far as it is shown; nil if it was not recorded.
    ///   - waits: The same with idle time.
    ///   - frequency: Samples per second of CPU time.
    ///   - snapshot: Has the calls and the number of samples.
    ///   - keepsAll: The stacks of all calls were kept.
    public init(
        process: Int, onCPU: [NamedStack], offCPU: [NamedStack]?, waits: [Wait], frequency: Double, snapshot: Snapshot, keepsAll: Bool
    ) {
        var sums: [Group: Sums] = [:]
        func group(_ owner: Int, _ work: Work) -> Group { owner == process ? .own(work.subject, work.verdict) : .children }
        for stack in onCPU { sums[group(stack.process, stack.work), default: Sums()].add(sample: stack) }
        for stack in offCPU ?? [] { sums[group(stack.process, stack.work), default: Sums()].add(waiting: stack) }
        for wait in waits { sums[group(wait.process, wait.work), default: Sums()].waits.add(wait.times, isIdle: wait.isIdle) }
        let kept = sums.filter { $0.key != .children }.values.map(\.samples).saturatingSum
        // Where some calls' stacks only are kept, there are others.
        let all = snapshot.samples.indices.contains(process) ? snapshot.samples[process].recorded &+ snapshot.samples[process].leftOut.sum : 0
        let total = max(kept, all)
        let sorted = sums.sorted { one, other in
            if one.key.rank != other.key.rank { return one.key.rank < other.key.rank }
            return one.value.isLarger(than: other.value) ?? (one.key.order < other.key.order)
        }
        let rows = sorted.map { group, sums in
            let calls = Self.calls(of: group, process, snapshot, keepsAll: keepsAll)
            return (group, sums.row(group, of: total, frequency: frequency, hasWaits: offCPU != nil, calls: calls))
        }
        commands = rows.filter { $0.0.isCommand }.map(\.1)
        rest = rows.filter { !$0.0.isCommand }.map(\.1)
    }

    private static func calls(of group: Group, _ process: Int, _ snapshot: Snapshot, keepsAll: Bool) -> UInt64? {
        guard case .own(.command(let name), let verdict) = group else { return nil }
        let key = CommandKey(process: process, name: name)
        return keepsAll ? snapshot.commands[key]?.calls ?? 0 : snapshot.judged[key]?[verdict].count ?? 0
    }

    /// What becomes one row.
    private enum Group: Hashable {
        case own(Work.Subject, Work.Verdict?)
        case children

        var isCommand: Bool {
            if case .own(.command, _) = self { true } else { false }
        }

        /// The place of the kind of row.
        var rank: Int { kind.rank }
        var name: String { kind.name }

        private var kind: (rank: Int, name: String) {
            switch self {
            case .own(.command(let name), let verdict): (verdict == .fast ? 1 : 0, name.description)
            case .own(.pipeline, _): (2, SessionRecord.WorkRow.pipeline)
            case .own(.eventLoop, _): (3, "event loop")
            case .own(.background, _): (4, "background")
            case .own(.unknown, _): (5, "unknown")
            case .own(.unlabelled, _): (6, "unlabelled")
            case .children: (7, "child processes")
            }
        }

        var reason: String? {
            if case .own(.unknown(let reason), _) = self { reason } else { nil }
        }

        var verdict: Work.Verdict? {
            if case .own(_, let verdict) = self { verdict } else { nil }
        }

        /// Of rows with as many samples and as much time.
        var order: (String, String, String) { (name, reason ?? "", verdict?.rawValue ?? "") }
    }

    private struct Sums {
        var samples: UInt64 = 0
        var byPhase: [WorkPhase: UInt64] = [:]
        var functions: [String: UInt64] = [:]
        var waits = WaitSum()
        var waitingFunctions: [String: UInt64] = [:]

        mutating func add(sample stack: NamedStack) {
            samples &+= stack.weight
            if let phase = stack.work.phase { byPhase[phase, default: 0] &+= stack.weight }
            functions[stack.innermost, default: 0] &+= stack.weight
        }

        mutating func add(waiting stack: NamedStack) { waitingFunctions[stack.innermost, default: 0] &+= stack.weight }

        /// Nil if neither has more samples or time.
        func isLarger(than other: Sums) -> Bool? {
            if samples != other.samples { return samples > other.samples }
            return waits.busy.total == other.waits.busy.total ? nil : waits.busy.total > other.waits.busy.total
        }

        func row(_ group: Group, of total: UInt64, frequency: Double, hasWaits: Bool, calls: UInt64?) -> SessionRecord.WorkRow {
            let share = group == .children ? nil : ShareEstimate(samples, of: total)
            return SessionRecord.WorkRow(
                name: group.name, reason: group.reason, verdict: group.verdict?.rawValue, calls: calls, samples: samples, execSamples: byPhase[.exec],
                replySamples: byPhase[.reply], readSamples: byPhase[.read], share: share?.share, shareLow: share?.interval.lowerBound,
                shareHigh: share?.interval.upperBound, cpuSEstimate: frequency > 0 ? Double(samples) / frequency : 0,
                functions: Self.most(functions).map { .init(function: $0, samples: $1, share: Double($1) / Double(max(samples, 1))) },
                offCPU: hasWaits ? waitRow : nil
            )
        }

        private var waitRow: SessionRecord.Waits {
            let time = Double(max(waitingFunctions.values.saturatingSum, 1))
            return .init(
                waits: waits.all.ended &+ waits.all.open, sleepingNs: waits.ns(.sleeping), uninterruptibleNs: waits.ns(.uninterruptible),
                runnableNs: waits.ns(.runnable), stoppedNs: waits.ns(.stopped), idleNs: waits.idle.count,
                functions: Self.most(waitingFunctions).map { .init(function: $0, ns: $1, share: Double($1) / time) }
            )
        }

        private static func most(_ functions: [String: UInt64]) -> [(String, UInt64)] {
            functions.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.prefix(SessionRecord.WorkRow.functionLimit).map { ($0.key, $0.value) }
        }
    }
}

/// The part of session.json about the calls whose stacks were kept.
extension SessionRecord {
    public struct KeptCalls: Codable, Sendable {
        /// Calls whose service takes as long are slow; absent without `--slower-than` of a time.
        public var slowerThanNs: UInt64?
        /// The same as a share: the percentile of each command's service, 0.99 for p99.
        public var slowerThanPercentile: Double?
        /// `--compare-slow`: stacks of fast calls were kept, too.
        public var keepsFast: Bool
        public var commands, clients: [String]
        public var errorsOnly: Bool
        /// The calls that were asked for, by command.
        public var judged: [String: Judged]

        public struct Judged: Codable, Sendable {
            /// Absent without `--slower-than`.
            public var slow, fast: Calls?
            /// All of them; absent with `--slower-than`.
            public var unjudged: Calls?
        }

        public struct Calls: Codable, Sendable {
            public var count: UInt64
            public var serviceNs, sendBlockedNs: UInt64

            enum CodingKeys: String, CodingKey { case count, serviceNs = "service_ns", sendBlockedNs = "send_blocked_ns" }

            init(_ calls: JudgedCalls.Calls) {
                count = calls.count
                serviceNs = calls.service.count
                sendBlockedNs = calls.sendBlocked.count
            }
        }

        enum CodingKeys: String, CodingKey {
            case commands, clients, judged, slowerThanNs = "slower_than_ns", slowerThanPercentile = "slower_than_percentile", keepsFast = "keeps_fast"
            case errorsOnly = "errors_only"
        }
    }

    /// Adds which calls' stacks were kept, unless all were.
    public mutating func addKeptCalls(_ selection: CallSelection, of snapshot: Snapshot, process: Int) {
        guard !selection.keepsAll else { return }
        var kept = KeptCalls(
            keepsFast: selection.keepsFast, commands: selection.commands, clients: selection.clients, errorsOnly: selection.errorsOnly, judged: [:]
        )
        switch selection.threshold {
        case .none: break
        case .fixed(let time): kept.slowerThanNs = time.count
        case .percentile(let share): kept.slowerThanPercentile = share
        }
        for (key, calls) in snapshot.judged where key.process == process && (calls != JudgedCalls() || snapshot.commands[key] != nil) {
            kept.judged[key.name.description] =
                selection.threshold == .none
                ? KeptCalls.Judged(unjudged: .init(calls.unjudged)) : KeptCalls.Judged(slow: .init(calls.slow), fast: .init(calls.fast))
        }
        samples.keptCalls = kept
    }
}
