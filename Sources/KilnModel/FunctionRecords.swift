/// A function of a session, of a file or of the kernel, or a static probe, as its outputs name it.
public struct RecordedFunction: Equatable, Sendable {
    /// Demangled, or the name that was given.
    public let name: String
    /// The path of its file; `[kernel]`, or a module's name in brackets.
    public let file: String
    /// False: it is only counted also where others are timed.
    public let hasTimes: Bool

    public init(name: String, file: String, hasTimes: Bool = true) {
        self.name = name
        self.file = file
        self.hasTimes = hasTimes
    }
}

/// A line of functions.jsonl: one interval and function that was called, returned or was left.
public struct FunctionRow: Codable, Sendable {
    public var time: String
    public var intervalS: Double
    /// How long the function was counted, in the interval in which it was let go; absent in all others.
    public var countedS: Double?
    public var pid: Int32
    public var comm: String
    public var function: String
    public var file: String
    public var calls: UInt64
    /// Absent where calls are only counted.
    public var times: FunctionTimesRecord?

    enum CodingKeys: String, CodingKey { case time, pid, comm, function, file, calls, times, intervalS = "interval_s", countedS = "counted_s" }

    public init(time: String, interval: Nanoseconds, target: SessionRecord.Target, _ function: RecordedFunction, _ counts: FunctionCount, isTimed: Bool) {
        self.time = time
        intervalS = interval.seconds
        countedS = counts.countedFor?.seconds
        pid = target.pid
        comm = target.comm
        self.function = function.name
        file = function.file
        calls = counts.calls
        times = isTimed && function.hasTimes ? FunctionTimesRecord(counts) : nil
    }
}

/// The times of a function's calls.
public struct FunctionTimesRecord: Codable, Sendable {
    /// Calls that returned and were timed, recursive ones included.
    public var returned: UInt64
    /// Calls whose frame was left by longjmp, an exception, or with the thread.
    public var neverReturned: UInt64
    /// Of all calls that returned, without the probed calls that returned to them.
    public var selfNs: UInt64
    /// Of outermost calls, from call to return.
    public var outermost: LatencyRecord

    enum CodingKeys: String, CodingKey { case returned, outermost, neverReturned = "never_returned", selfNs = "self_ns" }

    init(_ counts: FunctionCount) {
        returned = counts.returned
        neverReturned = counts.neverReturned
        selfNs = counts.selfTime.count
        outermost = LatencyRecord(counts.time)
    }
}

extension SessionRecord {
    /// Calls of functions.
    public struct Functions: Codable, Sendable {
        public struct Row: Codable, Sendable {
            public var function: String
            public var file: String
            public var calls: UInt64
            /// The function was let go, because its probe cost too much: seconds since the session began. Later calls are not counted.
            public var letGoAfterS: Double?
            /// Absent where calls are only counted.
            public var times: FunctionTimesRecord?

            enum CodingKeys: String, CodingKey { case function, file, calls, times, letGoAfterS = "let_go_after_s" }
        }

        /// A function that is not counted, and why.
        public struct Refused: Codable, Sendable {
            public var function: String
            public var file: String
            public var reason: String

            public init(_ function: RecordedFunction, reason: String) {
                self.function = function.name
                file = function.file
                self.reason = reason
            }
        }

        /// The cost of probes.
        public struct Cost: Codable, Sendable {
            public var limitPercent: Double
            /// Of the target's CPU time, over the session so far.
            public var percent: Double
            /// The time of a call of a probed function, as kiln measured it on itself when the session began: where the first instruction is one that the
            /// kernel emulates, and where it runs in single step.
            public var emulatedCallNs, steppedCallNs: Double
            /// Of a function of the kernel. Absent where none is probed.
            public var kernelCallNs: Double?

            enum CodingKeys: String, CodingKey {
                case percent, limitPercent = "limit_percent", emulatedCallNs = "emulated_call_ns", steppedCallNs = "stepped_call_ns"
                case kernelCallNs = "kernel_call_ns"
            }

            public init(limitPercent: Double, percent: Double, emulatedCallNs: Double, steppedCallNs: Double, kernelCallNs: Double?) {
                self.limitPercent = limitPercent
                self.percent = percent
                self.emulatedCallNs = emulatedCallNs
                self.steppedCallNs = steppedCallNs
                self.kernelCallNs = kernelCallNs
            }
        }

        /// All that were probed, the most called first. Only these are counted.
        public var probed: [Row]
        /// What was asked for and can't be counted.
        public var refused: [Refused]
        /// Absent without a limit.
        public var cost: Cost?

        public init(
            _ functions: [RecordedFunction], _ counts: FunctionCounts, isTimed: Bool, refused: [Int: String], besides: [Refused], cost: Cost?
        ) {
            probed = zip(functions.indices, zip(functions, counts.functions)).filter { refused[$0.0] == nil }.map { index, row in
                Row(
                    function: row.0.name, file: row.0.file, calls: row.1.calls, letGoAfterS: counts.letGo[index]?.seconds,
                    times: isTimed && row.0.hasTimes ? FunctionTimesRecord(row.1) : nil)
            }.sorted { ($1.calls, $0.function, $0.file) < ($0.calls, $1.function, $1.file) }
            self.refused = refused.sorted { $0.key < $1.key }.map { Refused(functions[$0.key], reason: $0.value) } + besides
            self.cost = cost
        }
    }
}
