import KilnBPF

/// Who makes system calls.
public enum Callers: String, CaseIterable, Sendable {
    case process, thread, comm, cgroup
}

/// One caller: a process, a thread, all processes of one name, or a control group.
public struct Caller: Hashable, Sendable {
    /// As the kernel side has it: `struct kiln_caller`.
    public let first, second: UInt64
    /// Callers that have no row of their own: those of a name, or all.
    public let isOthers: Bool

    public init(_ first: UInt64, _ second: UInt64, isOthers: Bool = false) {
        self.first = first
        self.second = second
        self.isOthers = isOthers
    }
}

/// How a caller is called.
public struct CallerName: Equatable, Sendable {
    /// Nil for several processes.
    public var pid: Int32?
    /// Of a thread.
    public var tid: Int32?
    /// Of the process, or of the thread; empty for a control group.
    public var comm = ""
    /// The path of a control group below the place where groups are mounted, or its number.
    public var cgroup: String?
    /// Callers that have no row of their own: processes of that name, or with an empty one all.
    public var isOthers = false

    public init(pid: Int32? = nil, tid: Int32? = nil, comm: String = "", cgroup: String? = nil, isOthers: Bool = false) {
        self.pid = pid
        self.tid = tid
        self.comm = comm
        self.cgroup = cgroup
        self.isOthers = isOthers
    }
}

/// Calls that did not begin and return inside the session, and their time in it.
public struct PartialCalls: Equatable, Sendable {
    public var count: UInt64
    public var time: Nanoseconds

    public init(count: UInt64 = 0, time: Nanoseconds = .zero) {
        self.count = count
        self.time = time
    }

    func since(_ earlier: PartialCalls) -> PartialCalls { PartialCalls(count: count &- earlier.count, time: time - earlier.time) }

    public mutating func add(_ other: PartialCalls) {
        count &+= other.count
        time = time + other.time
    }
}

/// The numbers of one call of one caller. Each call is in one of the five: `latency`, `earlier`, `withoutEntry`, `unreturned`,
/// `inFlight`.
public struct TimedCalls: Equatable, Sendable {
    /// Calls that began and returned in the session.
    public var latency = Histogram()
    /// Calls that returned in the session and began before.
    public var earlier = PartialCalls()
    /// Calls that returned in the session without an entry, and so without a time: seccomp or a tracer skipped them, or they made their thread one of
    /// the session's.
    public var withoutEntry: UInt64 = 0
    /// Calls in which their thread ended: exit, exit_group, or by a signal.
    public var unreturned = PartialCalls()
    /// Calls that had not returned when the session ended.
    public var inFlight = PartialCalls()
    /// Calls that returned an errno, by its number.
    public var errnos: [Int: UInt64] = [:]
    /// All of them.
    public var errors: UInt64 = 0
    /// Calls that a signal interrupted: the kernel makes them again, or returns EINTR to the program.
    public var interrupted: UInt64 = 0

    public init() {}

    /// Calls that returned.
    public var returned: UInt64 { latency.count &+ earlier.count &+ withoutEntry }
    /// All calls.
    public var calls: UInt64 { returned &+ unreturned.count &+ inFlight.count }
    /// Of all calls, their time in the session.
    public var time: Nanoseconds { latency.sum + earlier.time + unreturned.time + inFlight.time }
    public var again: UInt64 { errnos[11] ?? 0 }

    func since(_ before: TimedCalls) -> TimedCalls {
        var growth = TimedCalls()
        growth.latency = latency.since(before.latency)
        growth.earlier = earlier.since(before.earlier)
        growth.withoutEntry = withoutEntry &- before.withoutEntry
        growth.unreturned = unreturned.since(before.unreturned)
        growth.inFlight = inFlight.since(before.inFlight)
        growth.errnos = errnos.grown(since: before.errnos)
        growth.errors = errors &- before.errors
        growth.interrupted = interrupted &- before.interrupted
        return growth
    }

    public mutating func add(_ other: TimedCalls) {
        latency.add(other.latency)
        earlier.add(other.earlier)
        withoutEntry &+= other.withoutEntry
        unreturned.add(other.unreturned)
        inFlight.add(other.inFlight)
        errnos.merge(other.errnos, uniquingKeysWith: &+)
        errors &+= other.errors
        interrupted &+= other.interrupted
    }
}

/// System calls with their times, by caller and call.
public struct SyscallTimes: SnapshotSection {
    public struct Key: Hashable, Sendable {
        public var caller: Caller
        public var call: SystemCall

        public init(caller: Caller, call: SystemCall) {
            self.caller = caller
            self.call = call
        }
    }

    public var calls: [Key: TimedCalls] = [:]
    public var names: [Caller: CallerName] = [:]

    public init() {}

    public func since(_ earlier: SyscallTimes?) -> SyscallTimes {
        var growth = SyscallTimes()
        growth.names = names
        for (key, counts) in calls {
            let grown = counts.since(earlier?.calls[key] ?? TimedCalls())
            if grown.calls != 0 { growth.calls[key] = grown }
        }
        return growth
    }

    /// The calls with the names of their callers, the longest time first. `pid`: only those of this process.
    public func named(pid: Int32? = nil) -> [NamedCalls] {
        calls.map { NamedCalls(caller: names[$0.caller] ?? CallerName(), call: $0.call, counts: $1) }
            .filter { pid == nil || $0.caller.pid == pid }
            .sorted { ($1.counts.time, $0.caller.tid ?? $0.caller.pid ?? 0, $0.call) < ($0.counts.time, $1.caller.tid ?? $1.caller.pid ?? 0, $1.call) }
    }
}

public struct NamedCalls: Sendable {
    public let caller: CallerName
    public let call: SystemCall
    public let counts: TimedCalls

    public init(caller: CallerName, call: SystemCall, counts: TimedCalls) {
        self.caller = caller
        self.call = call
        self.counts = counts
    }
}

/// System calls of one caller and name, in session.json and syscalls.jsonl.
public struct SyscallTimesRecord: Codable, Sendable {
    public struct Partial: Codable, Sendable {
        public var count: UInt64
        /// Their time in the session.
        public var ns: UInt64

        init?(_ calls: PartialCalls) {
            guard calls.count != 0 else { return nil }
            count = calls.count
            ns = calls.time.count
        }
    }

    /// Absent for the calls of several processes.
    public var pid: Int32?
    public var tid: Int32?
    public var comm: String?
    public var cgroup: String?
    /// True: calls of callers that have no row of their own, of processes of the name `comm`, or without it of all. Otherwise absent.
    public var others: Bool?
    public var syscall: String
    /// `32-bit` or `x32`; absent for calls of the native table.
    public var abi: String?
    /// Calls that returned.
    public var count: UInt64
    /// Of these, those that returned an errno.
    public var errors: UInt64
    /// The same by errno; absent without errors.
    public var errnos: [String: UInt64]?
    /// Of calls that returned, those that a signal interrupted: the kernel makes them again, or returns EINTR to the program. Absent without any.
    public var interrupted: UInt64?
    /// Of calls that began and returned in the session.
    public var latency: LatencyRecord
    /// Calls that returned and had begun before the session; absent if there are none, as the next three.
    public var earlier: Partial?
    /// Calls that returned without an entry that was seen, and so without a time.
    public var withoutEntry: UInt64?
    /// Calls in which their thread ended.
    public var unreturned: Partial?
    /// Calls that had not returned when the session ended.
    public var inFlight: Partial?

    enum CodingKeys: String, CodingKey {
        case pid, tid, comm, cgroup, others, syscall, abi, count, errors, errnos, interrupted, latency, earlier, unreturned, inFlight = "in_flight"
        case withoutEntry = "without_entry"
    }

    public init(_ calls: NamedCalls) {
        let counts = calls.counts
        pid = calls.caller.pid
        tid = calls.caller.tid
        comm = calls.caller.comm.isEmpty ? nil : calls.caller.comm
        cgroup = calls.caller.cgroup
        others = calls.caller.isOthers ? true : nil
        syscall = calls.call.name
        abi = calls.call.table == .native ? nil : calls.call.table.name
        count = counts.returned
        errors = counts.errors
        errnos = counts.errors == 0 ? nil : Dictionary(counts.errnos.filter { $0.value != 0 }.map { (errnoName($0.key), $0.value) }, uniquingKeysWith: +)
        interrupted = counts.interrupted == 0 ? nil : counts.interrupted
        latency = LatencyRecord(counts.latency)
        earlier = Partial(counts.earlier)
        withoutEntry = counts.withoutEntry == 0 ? nil : counts.withoutEntry
        unreturned = Partial(counts.unreturned)
        inFlight = Partial(counts.inFlight)
    }
}

/// A line of syscalls.jsonl where calls are timed: one interval, caller and system call.
public struct SyscallTimesRow: Codable, Sendable {
    /// Wall-clock time of the interval's end, RFC 3339.
    public var time: String
    /// Length of the interval.
    public var intervalS: Double
    public var calls: SyscallTimesRecord

    enum CodingKeys: String, CodingKey {
        case time
        case intervalS = "interval_s"
    }

    public init(time: String, interval: Nanoseconds, calls: NamedCalls) {
        self.time = time
        intervalS = interval.seconds
        self.calls = SyscallTimesRecord(calls)
    }

    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        time = try values.decode(String.self, forKey: .time)
        intervalS = try values.decode(Double.self, forKey: .intervalS)
        calls = try SyscallTimesRecord(from: decoder)
    }

    public func encode(to encoder: any Encoder) throws {
        try calls.encode(to: encoder)
        var values = encoder.container(keyedBy: CodingKeys.self)
        try values.encode(time, forKey: .time)
        try values.encode(intervalS, forKey: .intervalS)
    }
}
