/// The states of a thread that doesn't run: the kernel's `enum kiln_wait_state`, in its order.
public enum WaitState: Int, CaseIterable, Sendable {
    /// Asleep until it is woken or gets a signal.
    case sleeping
    /// Asleep until it is woken: disks, page faults, locks in the kernel.
    case uninterruptible
    /// Ready to run, without a CPU.
    case runnable
    /// Stopped by a signal or a debugger.
    case stopped

    /// In every output.
    public var name: String { "\(self)" }

    public init?(name: String) {
        guard let state = Self.allCases.first(where: { $0.name == name }) else { return nil }
        self = state
    }
}

/// The time off the CPU of threads with one stack.
public struct WaitTimes: Equatable, Sendable {
    public private(set) var times: [WaitState: Nanoseconds] = [:]
    /// Waits that have ended.
    public var ended: UInt64 = 0
    /// Waits that began before the session, or had not ended when it ended, and their time inside the session, which `times` includes.
    public var open: UInt64 = 0
    public var openTime = Nanoseconds.zero
    /// Of the waits that have ended.
    public var longest = Nanoseconds.zero

    public init() {}

    public mutating func add(_ time: Nanoseconds, in state: WaitState) {
        if time != .zero { times[state, default: .zero] = (times[state] ?? .zero) + time }
    }

    public mutating func add(_ other: WaitTimes) {
        for (state, time) in other.times { add(time, in: state) }
        ended &+= other.ended
        open &+= other.open
        openTime = openTime + other.openTime
        longest = max(longest, other.longest)
    }

    /// Without those of before. The longest may have been one of them.
    public func since(_ before: WaitTimes) -> WaitTimes {
        var rest = self
        for (state, time) in before.times { rest.times[state] = (times[state] ?? .zero) - min(time, times[state] ?? .zero) }
        rest.ended -= min(before.ended, ended)
        rest.open -= min(before.open, open)
        rest.openTime = openTime - min(before.openTime, openTime)
        return rest
    }

    public var total: Nanoseconds { times.values.reduce(.zero, +) }
}

/// Waits of several stacks, idle time apart.
struct WaitSum {
    private(set) var all = WaitTimes()
    /// Without idle time.
    private(set) var busy = WaitTimes()
    private(set) var idle = Nanoseconds.zero

    mutating func add(_ times: WaitTimes, isIdle: Bool) {
        all.add(times)
        guard isIdle else { return busy.add(times) }
        idle = idle + (times.times[.sleeping] ?? .zero)
        // A thread that was woken from its multiplexer has work: what it waits for then is a CPU.
        busy.add(times.times[.runnable] ?? .zero, in: .runnable)
    }

    /// Without idle time.
    func ns(_ state: WaitState) -> UInt64 { (busy.times[state] ?? .zero).count }
}

/// The waits that one stack ended for another.
public struct WakeTimes: Equatable, Sendable {
    /// Until the thread was woken.
    public var time: Nanoseconds
    public var wakes: UInt64

    public init(time: Nanoseconds, wakes: UInt64) {
        self.time = time
        self.wakes = wakes
    }
}

/// Which waits are recorded.
public struct WaitFilter: Sendable {
    /// Waits of another length are left out.
    public var lengths = Nanoseconds.zero...Nanoseconds(.max)
    public var states = Set(WaitState.allCases)
    /// With this, who ended a wait is recorded, too: the addresses with which interrupts enter the kernel. Empty: they are not known, and what an
    /// interrupt ends is ended by what it interrupts.
    public var interruptEntries: Range<UInt64>?

    public init() {}
}

/// The numbers of stacks off the CPU, in a snapshot: by target, and for the descendants of each target.
public struct OffCPUCounts: SnapshotSection {
    public var targets: [SampleCounts]
    public var descendants: [SampleCounts]

    public init(targets: [SampleCounts], descendants: [SampleCounts]) {
        self.targets = targets
        self.descendants = descendants
    }

    public func since(_ earlier: OffCPUCounts?) -> OffCPUCounts {
        func growth(_ now: [SampleCounts], _ before: [SampleCounts]?) -> [SampleCounts] {
            now.enumerated().map { index, counts in counts.since(before.flatMap { index < $0.count ? $0[index] : nil } ?? SampleCounts()) }
        }
        return OffCPUCounts(targets: growth(targets, earlier?.targets), descendants: growth(descendants, earlier?.descendants))
    }
}
