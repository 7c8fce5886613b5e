import KilnKernel
import KilnModel
import KilnServer

/// One of the sessions of `kiln serve`: takes its results, and tells it when to end.
final class ServedSession: Sink, SessionSupervisor {
    /// Why a session ended although nobody asked kiln to end.
    enum Reason: String {
        case restart, targets, profile, memory, failure, configuration
    }

    /// What the present session and its successors share.
    struct Shared {
        let state: ServeState
        let pulls: Pulls
        let targets: ServedTargets
        let recent: RecentMinutes
        /// Reads the configuration again. Returns whether another session has to begin.
        let hangup: () -> Bool
        /// Called several times a second.
        let turn: () -> Void
    }

    /// History of stacks beyond which a session is replaced, so that memory stays flat: some 10 MB.
    private static let mostWeights = 400_000, mostStacks = 16_000
    private static let lookEvery = Nanoseconds(3_000_000_000)
    private static let tidyEvery = Nanoseconds(60_000_000_000)
    /// A server uses some milliseconds a second though nobody asks it for anything.
    private static let idleCPU = Nanoseconds(20_000_000)

    private let shared: Shared
    private let servers: [ServedTargets.Server]
    private let sessionTargets: [SessionTarget]
    private let sampling: StackSampling?
    private let takesOffCPU: Bool
    /// Off-CPU time is recorded only for pulls, and nobody has pulled it for long.
    private let isOffCPUUnused: () -> Bool
    private let unwatched: [String: (since: Nanoseconds, reason: String)]
    /// Pulls that are being recorded, perhaps since an earlier session, and pulls that wait for a session that records what they want.
    private(set) var pulls: [Pull]
    private var delivering: [Pull] = []
    private(set) var reason: Reason?
    private var lookAt: Nanoseconds
    private(set) var hasBegun = false
    private var hadNoRequests = false, tidyAt = Nanoseconds.zero
    /// At the end of the last interval.
    private var lastCPU = Nanoseconds.zero

    init(
        _ shared: Shared, _ servers: [ServedTargets.Server], _ sessionTargets: [SessionTarget], sampling: StackSampling?, takesOffCPU: Bool, pulls: [Pull],
        isOffCPUUnused: @escaping () -> Bool, unwatched: [String: (since: Nanoseconds, reason: String)]
    ) {
        self.shared = shared
        self.servers = servers
        self.sessionTargets = sessionTargets
        self.sampling = sampling
        self.takesOffCPU = takesOffCPU
        self.pulls = pulls
        self.isOffCPUUnused = isOffCPUUnused
        self.unwatched = unwatched
        lookAt = MonotonicClock.now() + Self.lookEvery
    }

    private var instances: [String] { servers.map(\.instance) }

    // MARK: - What the session asks

    func takeTurn() -> SessionEnding? {
        shared.turn()
        if reason == nil { reason = reasonToEnd() }
        return reason == nil ? nil : .replaced
    }

    private func reasonToEnd() -> Reason? {
        pulls += shared.pulls.takeNew()
        if sampling == nil { answerPullsOfStacks() }
        if pulls.contains(where: { $0.kind == .offCPU && !takesOffCPU && !$0.isGone }) || (takesOffCPU && isOffCPUUnused()) { return .profile }
        if let size = sampling?.historySize, size.weights > Self.mostWeights || size.stacks > Self.mostStacks { return .memory }
        if sessionTargets.contains(where: \.hasExited) { return .restart }
        guard MonotonicClock.now() >= lookAt else { return nil }
        lookAt = MonotonicClock.now() + Self.lookEvery
        shared.targets.look()
        let leftOut = shared.targets.leftOut
        shared.state.change { $0.leftOut = leftOut }
        return shared.targets.servers.map(\.target.pid) == servers.map(\.target.pid) ? nil : .targets
    }

    func beginPulls() throws -> Bool {
        let gone = pulls.filter(\.isGone)
        for pull in gone { shared.pulls.finish(pull, .line("gone")) }
        pulls.removeAll { pull in gone.contains { $0 === pull } }
        let new = pulls.filter { $0.began == nil && isOfStacks($0) && (takesOffCPU || $0.kind != .offCPU) }
        let now = MonotonicClock.now()
        delivering = pulls.filter { $0.began != nil && isOfStacks($0) && $0.due <= now }
        if !new.isEmpty || !delivering.isEmpty {
            // The parts of pulls begin and end where intervals do.
            let time = WallTime()
            try sampling?.divideInterval(at: time)
            for pull in new { begin(pull, at: time) }
        }
        delivering += pulls.filter { $0.kind == .recent && shared.recent.hasIntervals || $0.isComplete }
        return !delivering.isEmpty
    }

    var wantsStacksAtEnd: Bool { pulls.contains { !$0.isGone && ($0.began != nil || $0.base != nil || $0.kind == .recent) } }

    /// This session samples no stacks, because SIGHUP has set `frequency = 0`. Pulls that began before get what they have recorded.
    private func answerPullsOfStacks() {
        for pull in pulls where isOfStacks(pull) { Self.answer(pull, shared.pulls) }
        pulls.removeAll(where: isOfStacks)
    }

    private func isOfStacks(_ pull: Pull) -> Bool { pull.kind == .onCPU || pull.kind == .offCPU }

    private func begin(_ pull: Pull, at time: WallTime) {
        pull.begin(at: time)
        begin(part: pull, at: time.rfc3339)
    }

    private func begin(part pull: Pull, at time: String) {
        pull.takenUntil = time
        pull.takenCPU = sessionTargets.map(\.cpu)
    }

    /// No request came in the last interval, nobody pulls, and the servers have used little CPU time since.
    var isIdle: Bool { hadNoRequests && pulls.isEmpty && cpu < lastCPU + Self.idleCPU }

    private var cpu: Nanoseconds { sessionTargets.reduce(.zero) { $0 + $1.cpu } }

    func hangup() { if shared.hangup() { reason = reason ?? .configuration } }

    // MARK: - What the session tells

    func begin(_ start: SessionStart) {
        hasBegun = true
        shared.state.begins(servers, unwatched: unwatched)
        // Pulls of an earlier session go on in this one.
        let now = WallTime().rfc3339
        for pull in pulls where pull.began != nil { begin(part: pull, at: now) }
    }

    func interval(_ interval: SessionInterval) {
        shared.state.add(interval, of: instances)
        shared.recent.add(interval, of: instances)
        hadNoRequests = interval.counts.commands.isEmpty
        lastCPU = cpu
        // What was needed to load and attach isn't needed any longer, nor what scrapes needed.
        if MonotonicClock.now() >= tidyAt {
            releaseFreeMemory()
            tidyAt = MonotonicClock.now() + Self.tidyEvery
        }
        let now = MonotonicClock.now()
        for pull in pulls where pull.kind == .report && !pull.isGone {
            guard let place = instances.firstIndex(of: pull.instance ?? instances[0]) else {
                if pull.base == nil { finish(pull, PullAnswer.noServer) }
                continue
            }
            if pull.base == nil {
                begin(pull, at: interval.time)
                pull.base = interval.totals
                continue
            }
            for (name, lines) in interval.lines[place].files {
                pull.rows[name, default: []] += lines
                pull.rowBytes += lines.count
            }
            // Half an interval of tolerance.
            pull.isComplete = now + Nanoseconds(interval.counts.time.count / 2) >= pull.due || pull.rowBytes > Pull.mostRows
        }
    }

    private func finish(_ pull: Pull, _ response: ServerResponse) {
        pulls.removeAll { $0 === pull }
        shared.pulls.finish(pull, response)
    }

    func checkpoint(_ checkpoint: SessionCheckpoint) {
        if let cost = checkpoint.records.compactMap(\.costLimit?.measuredPercent).first { shared.state.change { $0.cost = cost / 100 } }
        guard !delivering.isEmpty else { return }
        for pull in delivering { deliver(pull, samples: checkpoint.samples, since: checkpoint.since) }
        delivering = []
    }

    /// The session has ended: those that are not due go on in the next one.
    func end(_ result: SessionResult) {
        for pull in pulls where !pull.isGone {
            switch pull.kind {
            case .report where pull.base != nil, .recent: deliver(pull, samples: result.samples, since: result.since)
            case .onCPU, .offCPU: if pull.began != nil { addParts(to: pull, result.records, result.samples) }
            case .report: break
            }
        }
        shared.recent.forget()
    }

    // MARK: - Answers

    private func deliver(_ pull: Pull, samples: [SampleRecords], since: (SessionTotals) -> [SessionRecord]) {
        pulls.removeAll { $0 === pull }
        switch pull.kind {
        case .onCPU, .offCPU:
            let beginning = SessionTotals(time: WallTime(), snapshot: Snapshot(time: .zero), cpu: servers.map { _ in .zero })
            addParts(to: pull, since(shared.recent.last ?? beginning), samples)
            Self.answer(pull, shared.pulls)
        case .report, .recent:
            let instance = pull.instance ?? instances[0]
            let (base, rows) = pull.kind == .report ? (pull.base, pull.rows) : shared.recent.rows(of: instance)
            guard let place = instances.firstIndex(of: instance), let base else { return shared.pulls.finish(pull, PullAnswer.noServer) }
            let record = since(base)[place]
            var part = samples.indices.contains(place) ? samples[place] : nil
            let begin = base.time.rfc3339
            part?.keepRows { $0.time > begin }
            let sent = part
            shared.pulls.finish(pull) { PullAnswer.page(record, sent, rows: rows) }
        }
    }

    /// Adds what was sampled since the pull began, or since its last part.
    private func addParts(to pull: Pull, _ records: [SessionRecord], _ samples: [SampleRecords]) {
        let until = WallTime().rfc3339
        for (place, (record, samples)) in zip(records, samples).enumerated() where pull.instance == nil || pull.instance == instances[place] {
            var part = samples
            part.keepRows { $0.time > pull.takenUntil && $0.time <= until }
            let from = pull.takenCPU.indices.contains(place) ? pull.takenCPU[place] : .zero, cpu = from...max(from, sessionTargets[place].cpu)
            pull.parts.append(
                ProfilePart(
                    instance: instances[place], record: record, samples: part, cpu: cpu.upperBound - cpu.lowerBound,
                    expected: sampling?.expectedSamples(of: place, cpu) ?? 0))
        }
        begin(part: pull, at: until)
    }

    /// Answers with all parts.
    static func answer(_ pull: Pull, _ pulls: Pulls) {
        let parts = pull.parts, kind = pull.kind, command = pull.command, now = WallTime()
        guard let began = pull.began, !parts.isEmpty else { return pulls.finish(pull, PullAnswer.noServer) }
        pulls.finish(pull) { PullAnswer.profile(kind, command: command, parts: parts, began: began, ended: now) }
    }
}
