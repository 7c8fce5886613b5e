/// What happened, estimated from the part that was watched: a section of a snapshot. Absent: everything was watched, and the counts are exact.
///
/// A session with a budget watches in slices of some tenths of a second: a share of the connections, or of the time, or both, chosen anew and at
/// random in each slice. What a slice counted, divided by the fraction that it watched, estimates what happened in it (Horvitz and Thompson, A
/// generalization of sampling without replacement from a finite universe, J. Am. Stat. Assoc. 47, 1952). How far that may be off is seen in the
/// differences between successive slices, which contain what chance leaves out and, besides, how the traffic itself varies: the intervals are rather too
/// wide than too narrow.
public struct Estimates: SnapshotSection, Equatable {
    /// The length of all slices in seconds, and the sums of their lengths times their watched and unwatched fractions. Each is a sum of its own, because
    /// the difference of two of them is not 0 where it should be: rounding.
    public internal(set) var time = 0.0, watched = 0.0, unwatched = 0.0
    public internal(set) var slices = 0
    public internal(set) var commands: [CommandKey: CommandEstimate] = [:]
    /// The slices in which connections were left out.
    var slicesOfShares = 0

    public init() {}

    /// In some slice, connections were left out.
    public var leavesOutConnections: Bool { slicesOfShares > 0 }

    /// What `fraction` is a fraction of, in words.
    public var whole: String { Self.whole(leavesOutConnections: leavesOutConnections) }

    static func whole(leavesOutConnections: Bool) -> String { leavesOutConnections ? "the time and the connections" : "the time" }

    /// The watched fraction of the time and of the connections, 0 to 1.
    public var fraction: Double { isExact || time <= 0 ? 1 : min(max(watched / time, 0), 1) }

    /// Without the digits that rounding makes.
    var shownFraction: Double { (fraction * 1e6).rounded() / 1e6 }

    /// Nothing was left out.
    public var isExact: Bool { unwatched <= 0 }

    public func since(_ earlier: Estimates?) -> Estimates {
        guard let earlier else { return self }
        var growth = self
        growth.time -= earlier.time
        growth.watched -= earlier.watched
        growth.unwatched -= earlier.unwatched
        growth.slices -= earlier.slices
        growth.slicesOfShares -= earlier.slicesOfShares
        for (key, before) in earlier.commands { growth.commands[key]?.subtract(before) }
        return growth
    }

    /// The calls of a command with their 95 % interval. `counted`: the calls that were watched; fewer can't have happened.
    public func calls(_ key: CommandKey, counted: UInt64) -> EstimatedCount {
        guard !isExact else { return EstimatedCount(value: Double(counted), interval: Double(counted)...Double(counted)) }
        guard fraction > 0 else { return EstimatedCount(value: max(commands[key]?.calls ?? 0, Double(counted)), interval: nil) }
        let calls = commands[key]?.calls ?? Double(counted) / fraction
        return EstimatedCount(calls, commands[key]?.scatter ?? Scatter(), held: commands[key]?.held ?? 0, counted: counted, fraction: fraction)
    }
}

/// A count that is known in part.
public struct EstimatedCount: Equatable, Sendable {
    public let value: Double
    /// The 95 % interval; nil: too few slices were watched to tell.
    public let interval: ClosedRange<Double>?

    init(value: Double, interval: ClosedRange<Double>?) {
        self.value = value
        self.interval = interval
    }

    /// `scatter`: as far as it shows in the slices. One call more or less is always possible. `held`: `CommandEstimate.held`.
    init(_ value: Double, _ scatter: Scatter, held: Double = 0, counted: UInt64, fraction: Double) {
        let value = max(value, Double(counted))
        let chance = (1 - fraction) * (Double(counted) + 1) / (fraction * fraction)
        self.value = value
        interval = studentFactor(differences: scatter.differences).map { factor in
            let half = factor * max(scatter.variance, chance).squareRoot()
            return max(Double(counted), value - half)...(value + half + held)
        }
    }
}

/// The variance of an estimate, and the number of differences between slices that it is known by.
struct Scatter: Equatable, Sendable {
    var variance = 0.0
    var differences = 0
}

/// How many standard deviations a 95 % interval reaches to either side: Student's factor for two thirds as many degrees of freedom as there are differences,
/// because successive differences share a slice.
private func studentFactor(differences: Int) -> Double? {
    let factors = [12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13, 2.12, 2.11, 2.10, 2.09, 2.09]
    guard differences > 0 else { return nil }
    let freedom = max(differences * 2 / 3, 1)
    return freedom > 60 ? 1.96 : freedom > factors.count ? 2.04 : factors[freedom - 1]
}

/// Estimates of one command.
public struct CommandEstimate: Equatable, Sendable {
    /// Calls, and the variance of that estimate: a sum over slices, each judged by those before it.
    public internal(set) var calls = 0.0, variance = 0.0
    /// Calls that a busy server may have answered besides, in the unwatched time, because nothing slowed it there.
    public internal(set) var held = 0.0
    public internal(set) var phases: [Phase: PhaseEstimate] = [:]
    /// What the variance of a rate is multiplied with: the square of each slice's length, times `WatchedSlice.unseen`.
    var weight = 0.0
    /// Half the squares of the differences between the rates of successive slices, and how many there are.
    var squares = 0.0, differences = 0
    /// The same of the last slices, for an interval of few.
    var recent = (squares: 0.0, differences: 0)

    /// Of the slices themselves, or if they are few, of the last ones.
    var scatter: Scatter {
        let (squares, differences) = differences >= recent.differences ? (squares, differences) : recent
        return Scatter(variance: differences > 0 ? weight * squares / Double(differences) : 0, differences: differences)
    }

    public static func == (one: CommandEstimate, other: CommandEstimate) -> Bool {
        (one.calls, one.variance, one.weight, one.squares, one.differences) == (other.calls, other.variance, other.weight, other.squares, other.differences)
            && one.phases == other.phases
    }

    mutating func subtract(_ earlier: CommandEstimate) {
        calls -= earlier.calls
        variance = max(variance - earlier.variance, 0)
        held = max(held - earlier.held, 0)
        weight = max(weight - earlier.weight, 0)
        squares = max(squares - earlier.squares, 0)
        differences -= earlier.differences
        for (phase, before) in earlier.phases { phases[phase]?.subtract(before) }
    }
}

/// Estimates of the latencies of one command and phase.
public struct PhaseEstimate: Equatable, Sendable {
    /// The percentiles whose intervals are known.
    public static let percentiles = [0.5, 0.9, 0.99, 0.999]

    /// Estimated counts by slot of `Histogram`, with the overflow slot; empty: none.
    public internal(set) var slots: [Double] = []
    /// Estimated sum of all latencies in nanoseconds.
    public internal(set) var sum = 0.0
    /// For each of `percentiles`: the variance of the estimated number of latencies up to it.
    var variances = [Double](repeating: 0, count: percentiles.count)
    /// Latencies that were watched.
    var counted = 0.0

    /// The estimated number of latencies.
    public var count: Double { slots.reduce(0, +) }

    mutating func subtract(_ earlier: PhaseEstimate) {
        for slot in earlier.slots.indices { slots[slot] = max(slots[slot] - earlier.slots[slot], 0) }
        sum = max(sum - earlier.sum, 0)
        for place in variances.indices { variances[place] = max(variances[place] - earlier.variances[place], 0) }
        counted -= earlier.counted
    }

    /// The slot below which, or in which, a share of the latencies lies; nil without latencies or beyond all of them.
    func slot(of share: Double) -> Int? {
        let rank = share * count
        guard share >= 0, share < 1, rank >= 0 else { return nil }
        var reached = 0.0
        for (slot, counted) in slots.enumerated() where counted > 0 {
            reached += counted
            if reached >= rank { return slot }
        }
        return nil
    }

    /// One of `percentiles`, as the midpoint of its slot; nil without latencies.
    public func percentile(_ share: Double) -> Nanoseconds? {
        slot(of: share).map { slot in
            let (lower, upper) = Histogram.range(ofSlot: slot)
            return Nanoseconds(lower.count + (upper.count - lower.count) / 2)
        }
    }

    /// The 95 % interval of one of `percentiles`: the edges of the slots between which it lies (Woodruff, Confidence intervals for medians and other
    /// position measures, J. Am. Stat. Assoc. 47, 1952). An end that can't be told is nil.
    public func interval(_ place: Int, of estimates: Estimates) -> (low: Nanoseconds?, high: Nanoseconds?) {
        let share = Self.percentiles[place], all = count
        guard all > 0, counted > 0, let factor = studentFactor(differences: estimates.slices - 1) else { return (nil, nil) }
        let chance = share * (1 - share) / counted * (1 - estimates.fraction)
        let half = factor * max(variances[place] / (all * all), chance).squareRoot()
        return (
            slot(of: share - half).map { Histogram.range(ofSlot: $0).lower },
            slot(of: share + half).flatMap { $0 < Histogram.slotCount ? Histogram.range(ofSlot: $0).upper : nil }
        )
    }
}

/// A part of a session in which the same share was watched throughout.
public struct WatchedSlice: Equatable, Sendable {
    /// Seconds.
    public var length: Double
    /// The fraction of all that happened that was watched, more than 0 and up to 1.
    public var fraction: Double
    /// Connections were left out.
    public var leavesOutConnections: Bool
    /// How much faster, as a fraction, a busy server may be outside of the watched part of the time, where nothing slows it.
    public var slowing: Double

    /// The fraction of the variance between slices that is error of the estimate. With a part of the time it is the unwatched fraction, because the
    /// estimate contains the watched part exactly. With a share of the connections it is all of it, because chance chooses the connections.
    var unseen: Double { leavesOutConnections ? 1 : 1 - fraction }

    public init(length: Double, fraction: Double, leavesOutConnections: Bool = false, slowing: Double = 0) {
        self.length = length
        self.slowing = slowing
        self.fraction = fraction
        self.leavesOutConnections = leavesOutConnections
    }
}

/// Makes estimates of the counts of successive slices.
public struct SliceEstimator: Sendable {
    /// The variance of a slice is judged by so many slices before it, so that a change of traffic is followed.
    public static let pool = 16

    public private(set) var estimates = Estimates()
    /// By command: the estimated calls a second in the last slices, the latest last.
    private var rates: [CommandKey: [Double]] = [:]

    public init() {}

    /// Adds a slice and what it counted.
    public mutating func add(_ slice: WatchedSlice, counts: [CommandKey: CommandCounts]) {
        guard slice.length > 0, slice.fraction > 0 else { return }
        let isSampled = slice.fraction < 1
        estimates.time += slice.length
        estimates.watched += slice.length * slice.fraction
        estimates.unwatched += slice.length * (1 - slice.fraction)
        estimates.slices += isSampled ? 1 : 0
        estimates.slicesOfShares += slice.leavesOutConnections ? 1 : 0
        for key in Set(rates.keys).union(counts.keys) {
            let counted = counts[key] ?? CommandCounts(), calls = Double(counted.calls) / slice.fraction
            // A command that is new had no call in the slice before.
            var known = rates[key] ?? (estimates.slices > 1 ? [0] : [])
            known.append(calls / slice.length)
            if known.count > Self.pool { known.removeFirst() }
            rates[key] = isSampled ? known : nil
            var estimate = estimates.commands[key] ?? CommandEstimate()
            estimate.calls += calls
            estimate.held += calls * (1 - slice.fraction) * slice.slowing
            if isSampled {
                let weight = slice.unseen * slice.length * slice.length
                estimate.weight += weight
                estimate.recent = Self.halfSquares(known)
                if known.count > 1 {
                    let last = known[known.count - 1] - known[known.count - 2]
                    estimate.squares += last * last / 2
                    estimate.differences += 1
                    estimate.variance += weight * estimate.recent.squares / Double(estimate.recent.differences)
                }
            }
            for (phase, histogram) in counted.phases where histogram.count != 0 {
                estimate.phases[phase, default: PhaseEstimate()].add(histogram, of: slice)
            }
            estimates.commands[key] = estimate
        }
    }

    /// Adds a time in which nothing was watched: it is taken to be as the slice before, and may be as different as slices are.
    public mutating func extend(by length: Double) {
        guard length > 0, estimates.slices > 0 else { return }
        estimates.time += length
        estimates.unwatched += length
        for (key, known) in rates {
            estimates.commands[key]?.calls += (known.last ?? 0) * length
            estimates.commands[key]?.weight += length * length
            let recent = Self.halfSquares(known)
            if recent.differences > 0 { estimates.commands[key]?.variance += length * length * recent.squares / Double(recent.differences) }
        }
    }

    /// Half the squares of successive differences, whose mean is the variance: a trend doesn't count.
    private static func halfSquares(_ rates: [Double]) -> (squares: Double, differences: Int) {
        let squares = zip(rates, rates.dropFirst()).map { ($1 - $0) * ($1 - $0) / 2 }
        return (squares.reduce(0, +), squares.count)
    }
}

extension PhaseEstimate {
    /// Adds the latencies of a slice, and for each percentile how far the slice's share up to it is from that of all slices.
    fileprivate mutating func add(_ histogram: Histogram, of slice: WatchedSlice) {
        let fraction = slice.fraction
        if slots.isEmpty { slots = [Double](repeating: 0, count: Histogram.slotCount + 1) }
        for (slot, counted) in histogram.slots.enumerated() where counted != 0 { slots[slot] += Double(counted) / fraction }
        sum += Double(histogram.sum.count) / fraction
        counted += Double(histogram.count)
        guard fraction < 1 else { return }
        let all = count, ofSlice = Double(histogram.count) / fraction
        for (place, share) in Self.percentiles.enumerated() {
            guard let slot = slot(of: share) else { continue }
            let below = slots[...slot].reduce(0, +) / all
            let belowInSlice = histogram.slots[...slot].reduce(0) { $0 + Double($1) } / fraction
            let difference = belowInSlice - below * ofSlice
            variances[place] += slice.unseen * difference * difference
        }
    }
}
