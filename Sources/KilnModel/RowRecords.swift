/// The fields of lines in a session's files. Names carry their unit. Fields are added, never renamed.

/// The numbers of a histogram. Percentiles are slot midpoints, within 1/32 of the true value.
public struct LatencyRecord: Codable, Sendable {
    public var count: UInt64
    public var sumNs: UInt64
    /// The longest latency; for an interval, the upper edge of its slot (see `maxIsUpperBound`).
    public var maxNs: UInt64
    /// True: `maxNs` is an upper bound, which itself may not have occurred.
    public var maxIsUpperBound: Bool?
    public var p50Ns, p90Ns, p99Ns, p999Ns: UInt64?
    /// The ends of their 95 % intervals, where a part was watched; those that can't be told are absent.
    public var p50LowNs, p50HighNs, p90LowNs, p90HighNs, p99LowNs, p99HighNs, p999LowNs, p999HighNs: UInt64?
    /// The slots that are not empty: [lower_ns, upper_ns, count]. The last one may be [limit, limit, count] for latencies beyond 2^36 ns.
    public var slots: [[UInt64]]

    enum CodingKeys: String, CodingKey {
        case count, slots
        case sumNs = "sum_ns", maxNs = "max_ns", maxIsUpperBound = "max_is_upper_bound"
        case p50Ns = "p50_ns", p90Ns = "p90_ns", p99Ns = "p99_ns", p999Ns = "p99_9_ns"
        case p50LowNs = "p50_low_ns", p50HighNs = "p50_high_ns", p90LowNs = "p90_low_ns", p90HighNs = "p90_high_ns"
        case p99LowNs = "p99_low_ns", p99HighNs = "p99_high_ns", p999LowNs = "p99_9_low_ns", p999HighNs = "p99_9_high_ns"
    }

    public init(_ histogram: Histogram) {
        count = histogram.count
        sumNs = histogram.sum.count
        switch histogram.maximum {
        case .none: maxNs = 0
        case .exact(let longest): maxNs = longest.count
        case .atMost(let edge):
            maxNs = edge.count
            maxIsUpperBound = true
        case .beyond(let limit): maxNs = limit.count
        }
        p50Ns = histogram.percentile(0.5)?.count
        p90Ns = histogram.percentile(0.9)?.count
        p99Ns = histogram.percentile(0.99)?.count
        p999Ns = histogram.percentile(0.999)?.count
        slots = histogram.filled.map { [$0.lower.count, $0.upper.count, $0.count] }
    }
}

/// A line of commands.jsonl: one interval, command and phase.
public struct CommandRow: Codable, Sendable {
    /// Wall-clock time of the interval's end, RFC 3339.
    public var time: String
    /// Length of the interval.
    public var intervalS: Double
    public var pid: Int32
    public var command: String
    public var phase: String
    /// Requests read in the interval. `latency` counts replies, which may belong to earlier requests.
    public var calls: UInt64
    /// Absent: everything was watched.
    public var estimate: CallsEstimateRecord?
    /// Error replies in the interval.
    public var errors: UInt64
    public var latency: LatencyRecord

    enum CodingKeys: String, CodingKey {
        case time, pid, command, phase, calls, errors
        case intervalS = "interval_s"
    }

    /// `key`: of the counts; `estimates`: of the interval.
    public init(
        time: String, interval: Nanoseconds, pid: Int32, command: CommandName, phase: Phase, counts: CommandCounts, _ estimates: Estimates? = nil,
        _ key: CommandKey? = nil
    ) {
        self.time = time
        intervalS = interval.seconds
        self.pid = pid
        self.command = command.description
        self.phase = phase.rawValue
        calls = counts.calls
        errors = counts.errors
        let known = key ?? CommandKey(process: 0, name: command)
        estimate = CallsEstimateRecord(estimates, known, counted: counts.calls)
        latency = LatencyRecord(counts.phases[phase] ?? Histogram(), estimates?.commands[known]?.phases[phase], of: estimates)
    }

    /// A row as a file has it.
    public init(
        time: String, intervalS: Double, pid: Int32, command: String, phase: String, calls: UInt64, errors: UInt64, latency: LatencyRecord
    ) {
        self.time = time
        self.intervalS = intervalS
        self.pid = pid
        self.command = command
        self.phase = phase
        self.calls = calls
        self.errors = errors
        self.latency = latency
    }

    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        time = try values.decode(String.self, forKey: .time)
        intervalS = try values.decode(Double.self, forKey: .intervalS)
        pid = try values.decode(Int32.self, forKey: .pid)
        command = try values.decode(String.self, forKey: .command)
        phase = try values.decode(String.self, forKey: .phase)
        calls = try values.decode(UInt64.self, forKey: .calls)
        errors = try values.decode(UInt64.self, forKey: .errors)
        latency = try LatencyRecord(from: decoder)
        estimate = try? CallsEstimateRecord(from: decoder)
    }

    /// Encodes the fields of the latency on the same level as the others.
    public func encode(to encoder: any Encoder) throws {
        try latency.encode(to: encoder)
        try estimate?.encode(to: encoder)
        var values = encoder.container(keyedBy: CodingKeys.self)
        try values.encode(time, forKey: .time)
        try values.encode(intervalS, forKey: .intervalS)
        try values.encode(pid, forKey: .pid)
        try values.encode(command, forKey: .command)
        try values.encode(phase, forKey: .phase)
        try values.encode(calls, forKey: .calls)
        try values.encode(errors, forKey: .errors)
    }
}

/// A line of syscalls.jsonl: one interval, process and system call.
public struct SyscallRow: Codable, Sendable {
    public var time: String
    public var intervalS: Double
    public var pid: Int32
    public var comm: String
    public var syscall: String
    public var count: UInt64
    /// Calls that returned an errno.
    public var errors: UInt64

    enum CodingKeys: String, CodingKey {
        case time, pid, comm, syscall, count, errors
        case intervalS = "interval_s"
    }

    public init(time: String, interval: Nanoseconds, pid: Int32, comm: String, syscall: String, counts: SyscallCounts) {
        self.time = time
        intervalS = interval.seconds
        self.pid = pid
        self.comm = comm
        self.syscall = syscall
        count = counts.count
        errors = counts.errors
    }
}
