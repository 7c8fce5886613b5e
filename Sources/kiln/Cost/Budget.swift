import KilnKernel
import KilnModel

/// `--max-cost` and `--share`: how much a session watches, and what is estimated of the rest.
///
/// With `--max-cost` the overhead is measured again and again, and `BudgetPolicy` chooses how much is watched. `--share` is fixed.
final class Budget {
    /// The run time of the session's programs by kind, and the CPU time of its targets, up to one moment.
    struct Reading {
        var requests = ProgramCounts(), systemCalls = ProgramCounts(), samples = ProgramCounts(), others = ProgramCounts()
        var targets: Nanoseconds
    }

    /// What a budget needs of its session.
    struct Watching {
        /// Reads run times.
        let read: () throws -> Reading
        /// Tells the probes of a level.
        let follow: (WatchLevel) throws -> Void
    }

    private(set) var record: CostLimitRecord
    private let schedule: WatchSchedule
    private var policy: BudgetPolicy?
    private let meter = CostMeter()
    private var began = Nanoseconds.zero
    /// The level of samples and system calls, which other probes follow, and since when.
    private var followed = WatchLevel.whole
    private var sliceNumber = 0
    private var session: Watching?

    /// Where slices are watched in part, every so many are measured: the measurement has a cost itself.
    private static let measuredSlices = 4

    /// - Parameters:
    ///   - percent: Of the targets' CPU time; nil: no limit.
    ///   - share: Of the connections, for the whole session; nil: all of them at first.
    ///   - frequency: Samples a second of CPU time while everything is watched; 0: there are none.
    init(percent: Double?, share: Double?, frequency: Int, of requests: RequestProbe) {
        record = CostLimitRecord(limitPercent: percent)
        let policy = percent.map { BudgetPolicy(percent: $0, frequency: frequency) }
        self.policy = policy
        schedule = WatchSchedule(of: requests, at: policy?.level ?? WatchLevel(share: share ?? 1))
    }

    var level: WatchLevel { schedule.level }

    /// A report of this moment has estimates of all that is in it.
    var mayReport: Bool { schedule.isBetweenSlices || level.isExact }

    var due: Nanoseconds? { [schedule.due, policy == nil ? nil : meter.due].compactMap(\.self).min() }

    /// The session has begun.
    func begin(at now: Nanoseconds, of session: Watching) throws {
        (began, self.session) = (now, session)
        schedule.onSlice = { [weak self] in try self?.slice(begins: $0) }
        meter.begin(at: now)
        if let level = policy?.level {
            try session.follow(level)
            followed = level
        }
        try schedule.begin(at: now)
    }

    /// Begins and ends slices and measurements that are due.
    func advance() throws {
        try schedule.advance()
        guard policy != nil, let session, let due = meter.due, MonotonicClock.now() >= due else { return }
        if meter.isMeasuring {
            try judge(meter.end(session.read()))
        } else {
            try meter.start(session.read)
        }
    }

    /// Where a part of the time is watched, whole slices are measured.
    private func slice(begins: Bool) throws {
        guard policy != nil, let session else { return }
        meter.isPaced = level.time == 1
        if begins {
            sliceNumber += 1
            if level.time < 1, sliceNumber % Self.measuredSlices == 1, !meter.isMeasuring { try meter.start(session.read) }
        } else if level.time < 1, meter.isMeasuring {
            try judge(meter.end(session.read()))
        }
    }

    private func judge(_ cost: WatchCost?) throws {
        guard let cost, var policy else { return }
        record.measuredPercent = cost.total * 100
        schedule.watchingCost = cost.requests.cost / level.time
        let changed = policy.measured(cost)
        self.policy = policy
        guard changed else { return }
        let level = policy.level
        record.note(level, of: schedule.level, after: MonotonicClock.now() - began, measured: cost.total)
        schedule.change(to: level)
        if level.sampleDivisor != followed.sampleDivisor || level.countsSystemCalls != followed.countsSystemCalls { try session?.follow(level) }
        followed = level
    }

    func finish() throws { try schedule.finish() }

    private var waits = KnownWaits()

    /// Adds the estimates up to now, and reduces the waits to those that are known.
    func add(to snapshot: inout Snapshot) throws {
        guard let estimates = try schedule.estimates() else { return }
        snapshot[Estimates.self] = estimates
        snapshot.waits = waits.added(snapshot)
    }
}

/// Measures the run time of a session's programs, with the kernel's run-time statistics. These have overhead themselves, so they are on for a
/// part of the time. They leave out the dispatch of the programs, and include runs for other processes.
private final class CostMeter {
    /// Nil before `begin`, and while slices decide.
    private(set) var due: Nanoseconds?
    /// Measures by itself: a tenth of each second.
    var isPaced = true { didSet { if isPaced, !oldValue { due = MonotonicClock.now() + Self.pause } else if !isPaced { due = nil } } }
    private var statistics: RunStatistics?
    private var start: (time: Nanoseconds, reading: Budget.Reading)?

    private static let span = Nanoseconds(100_000_000), pause = Nanoseconds(900_000_000)
    /// The least CPU time to compare with, because that of an idle target is no measure: a twentieth of a core.
    private static let leastShareOfCore = 0.05

    var isMeasuring: Bool { start != nil }

    func begin(at now: Nanoseconds) { due = isPaced ? now + Self.pause : nil }

    func start(_ read: () throws -> Budget.Reading) throws {
        statistics = try RunStatistics()
        let now = MonotonicClock.now()
        start = (now, try read())
        if isPaced { due = now + Self.span }
    }

    func end(_ reading: Budget.Reading) -> WatchCost? {
        let now = MonotonicClock.now()
        statistics = nil
        if isPaced { due = now + Self.pause }
        guard let start else { return nil }
        self.start = nil
        let floor = (now - start.time).seconds * Self.leastShareOfCore
        let cpu = max((reading.targets - start.reading.targets).seconds, floor)
        func part(_ kind: KeyPath<Budget.Reading, ProgramCounts>) -> WatchCost.Part {
            let growth = reading[keyPath: kind].since(start.reading[keyPath: kind])
            return WatchCost.Part(runs: Double(growth.runs) / cpu, runTime: growth.runTime.seconds / cpu)
        }
        return WatchCost(requests: part(\.requests), systemCalls: part(\.systemCalls), samples: part(\.samples), others: part(\.others))
    }
}
