import KilnKernel
import KilnModel

/// Watches a part of the requests, slice by slice, and estimates the rest.
///
/// A slice is a quarter of a second or longer. With a share of the connections, each slice watches other connections, throughout. With a part of the time, each
/// slice has a window at a random place, so that windows don't keep step with the server's own periods:
///
///     | off            | open: watched         | draining | off           |
///                      attached                            detached
///
/// While it drains, no receive is watched, and what is in flight is still answered: otherwise long latencies would be missing.
final class WatchSchedule {
    private enum State {
        /// Everything is watched.
        case whole
        /// The session has ended.
        case finished
        /// The programs stay attached.
        case sharing(until: Nanoseconds)
        case before(opening: Nanoseconds)
        case open(until: Nanoseconds)
        case draining(until: Nanoseconds)
        case after
    }

    private let requests: RequestProbe
    private var estimator = SliceEstimator()
    private var state = State.whole
    private(set) var level = WatchLevel.whole
    /// The level from the next slice on.
    private var next: WatchLevel
    private var slice = (began: Nanoseconds.zero, end: Nanoseconds.zero, opened: Nanoseconds.zero)
    /// How long receives were watched in this slice so far.
    private var watched = Nanoseconds.zero
    private var counted: [CommandKey: CommandCounts] = [:]
    /// How long it takes to answer what is in flight.
    private var drain = Nanoseconds(2_000_000)
    private var wasSampled = false
    /// What watching all connections costs while it lasts, as a part of the target's CPU time, by what was measured last.
    var watchingCost = 0.0
    /// How much faster, as a fraction, a target that always uses its whole CPU runs while nothing is watched.
    private var slowing: Double { watchingCost / max(1 - watchingCost, 0.5) }
    /// A slice has just ended: the estimates cover everything up to this moment.
    private(set) var isBetweenSlices = true
    /// Called at the beginning and at the end of each slice.
    var onSlice: (_ begins: Bool) throws -> Void = { _ in }

    /// A slice, and the least part of it that is watched at a time: attaching takes some milliseconds.
    private static let length = Nanoseconds(250_000_000), leastOpen = Nanoseconds(20_000_000)
    private static let drainLimits = (least: Nanoseconds(2_000_000), most: Nanoseconds(200_000_000))

    init(of requests: RequestProbe, at level: WatchLevel) {
        self.requests = requests
        next = level
    }

    /// When `advance` is due; nil: only when the level changes.
    var due: Nanoseconds? {
        switch state {
        case .whole: next.isExact ? nil : slice.began
        case .finished: nil
        case .sharing(let time), .before(let time), .open(let time), .draining(let time): time
        case .after: slice.end
        }
    }

    /// Everything is attached and counts.
    func begin(at now: Nanoseconds) throws {
        slice.began = now
        if !next.isExact { try beginSlice(at: now) }
    }

    func change(to level: WatchLevel) { next = level }

    func advance() throws {
        let now = MonotonicClock.now()
        isBetweenSlices = false
        if let due, now < due { return }
        switch state {
        case .finished: break
        case .whole:
            guard !next.isExact else { return }
            try endSlice(at: now)
            try beginSlice(at: now)
        case .sharing, .after:
            try endSlice(at: MonotonicClock.now())
            try beginSlice(at: slice.began)
        case .before:
            try requests.unpause()
            slice.opened = try requests.open()
            state = .open(until: slice.opened + Nanoseconds(UInt64(Double(slice.end.count - slice.began.count) * level.time)))
        case .open:
            try close()
            state = .draining(until: now + drain)
        case .draining:
            requests.pause()
            state = .after
        }
    }

    private func close() throws {
        try requests.close()
        watched = watched + (MonotonicClock.now() - slice.opened)
    }

    private func beginSlice(at now: Nanoseconds) throws {
        isBetweenSlices = true
        let former = level
        level = next
        let length = max(Self.length, Nanoseconds(UInt64(Double(Self.leastOpen.count) / max(level.time, BudgetPolicy.leastTime))))
        slice = (now, now + length, now)
        watched = .zero
        try onSlice(true)
        if level.isExact, former.isExact { return state = .whole }
        wasSampled = true
        let isAttached = former.time == 1
        if level.time == 1 {
            if !isAttached { try requests.unpause() }
            requests.beginSlice(level)
            _ = try requests.open()
            try requests.watchThroughout()
            state = level.isExact ? .whole : .sharing(until: slice.end)
        } else {
            if isAttached {
                try requests.close()
                requests.pause()
            }
            requests.beginSlice(level)
            let spare = Double(length.count) * (1 - level.time)
            state = .before(opening: now + Nanoseconds(UInt64(Double.random(in: 0...spare))))
        }
    }

    /// The slice's counts become estimates.
    private func endSlice(at now: Nanoseconds) throws {
        try onSlice(false)
        let all = try requests.commands(), length = now - slice.began
        let growth = all.growth(since: counted)
        counted = all
        let fraction = level.time == 1 ? level.share : level.share * watched.seconds / max(length.seconds, 1e-9)
        estimator.add(
            WatchedSlice(length: length.seconds, fraction: min(fraction, 1), leavesOutConnections: level.share < 1, slowing: level.time < 1 ? slowing : 0),
            counts: growth)
        drain = min(max(Self.longestService(growth), Self.drainLimits.least), Self.drainLimits.most)
        slice.began = now
    }

    /// The longest p99 of any command's service that is no chance.
    private static func longestService(_ counts: [CommandKey: CommandCounts]) -> Nanoseconds {
        counts.values.compactMap { counts in
            guard let service = counts.phases[.service], service.count >= 5 else { return nil }
            return service.percentile(0.99)
        }.max() ?? .zero
    }

    /// The session has ended. Later calls do nothing.
    func finish() throws {
        guard wasSampled else { return }
        defer { state = .finished }
        switch state {
        case .finished: break
        case .before, .open:
            // A part of a window would weigh as much as a whole one.
            if case .open = state { try close() }
            estimator.extend(by: (MonotonicClock.now() - slice.began).seconds)
        default: try endSlice(at: MonotonicClock.now())
        }
    }

    /// Estimates up to now; nil: everything was watched throughout.
    func estimates() throws -> Estimates? {
        guard wasSampled else { return nil }
        if case .whole = state { try endSlice(at: MonotonicClock.now()) }
        return estimator.estimates
    }
}

extension [CommandKey: CommandCounts] {
    /// What was counted since `earlier`, of commands of which anything was.
    fileprivate func growth(since earlier: Self) -> Self {
        var growth: Self = [:]
        for (key, counts) in self {
            let grown = counts.since(earlier[key] ?? CommandCounts())
            if grown.calls != 0 || grown.phases.values.contains(where: { $0.count != 0 }) { growth[key] = grown }
        }
        return growth
    }
}
