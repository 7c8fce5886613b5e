import KilnModel

/// A session's stacks, as the writers of all formats take them.
public struct Profile: Sendable {
    public struct Frame: Hashable, Sendable {
        public var function: FunctionName
        /// Index in `modules`; nil: the kernel, generated code, or not known.
        public var module: Int32?
    }

    /// A stack is its caller's stack and one more frame.
    public struct Stack: Hashable, Sendable {
        /// The number of the stack without its innermost frame, which is smaller; -1: it has no other frame.
        public var caller: Int32
        /// Index in `frames`.
        public var frame: Int32
    }

    /// What is known of a sample besides its stack.
    public struct Labels: Hashable, Sendable {
        /// Names, as in folded stacks.
        public var process: String
        /// Which of several servers; nil in profiles of one session.
        public var instance: String?
        public var thread, command, phase, verdict, state: String?
        /// Of the call's `service`, in nanoseconds; no upper edge for what the histogram doesn't reach. Nil: not known.
        public var latency: Latency?

        public struct Latency: Hashable, Sendable {
            public var lower: UInt64
            public var upper: UInt64?
        }

        /// The texts that are known, in the order of folded stacks, with the keys under which formats have them.
        public var texts: [(key: String, value: String)] {
            let all = [
                ("process", process), ("instance", instance), ("thread", thread), ("command", command), ("verdict", verdict), ("phase", phase),
                ("state", state),
            ]
            return all.compactMap { key, value in value.map { (key, $0) } }
        }
    }

    public struct Sample: Sendable {
        /// Index in `stacks`; -1: no frame is known.
        public var stack: Int32
        /// Index in `labels`.
        public var labels: Int32
        /// Index in `intervals`; nil in sessions that don't tell the time.
        public var interval: Int32?
        /// In the unit of the series.
        public var weight: UInt64
    }

    /// What a series counts.
    public enum Unit: Equatable, Sendable {
        /// Taken each `period` nanoseconds of CPU time.
        case samples(period: UInt64)
        case nanoseconds
        case events
    }

    /// The samples of one kind: on-CPU, off-CPU, an event.
    public struct Series: Sendable {
        /// `on-cpu`, `off-cpu` or the name of an event.
        public var name: String
        public var unit: Unit
        /// What has no time because there was no room, in the unit; it is in no sample here.
        public var dropped: UInt64
        public var samples: [Sample]
    }

    /// In nanoseconds since 1970.
    public struct Interval: Equatable, Sendable {
        public var start, end: UInt64
    }

    /// The version of kiln that wrote this.
    public var version: String
    /// The program: its file or, where that is not known, its name.
    public var program: String
    /// 0: many.
    public var pid: Int32
    /// Nanoseconds since 1970, and nanoseconds.
    public var start, duration: UInt64
    /// The main binary first, if it is known.
    public var modules: [SampleModule] = []
    public var frames: [Frame] = []
    public var stacks: [Stack] = []
    public var labels: [Labels] = []
    public var intervals: [Interval] = []
    public var series: [Series] = []

    /// The frames of a stack, the innermost first.
    func forEachFrame(of stack: Int32, _ body: (Int32) throws -> Void) rethrows {
        var stack = stack
        while stack >= 0 {
            try body(stacks[Int(stack)].frame)
            stack = stacks[Int(stack)].caller
        }
    }
}

extension Profile.Series {
    /// Its samples of all time: each stack with the same labels once, in the order in which they were first taken.
    var withoutTime: [Profile.Sample] {
        var places: [UInt64: Int] = [:], sums: [Profile.Sample] = []
        for sample in samples {
            let key = UInt64(UInt32(bitPattern: sample.stack)) << 32 | UInt64(UInt32(bitPattern: sample.labels))
            if let place = places[key] {
                sums[place].weight &+= sample.weight
            } else {
                places[key] = sums.count
                sums.append(.init(stack: sample.stack, labels: sample.labels, interval: nil, weight: sample.weight))
            }
        }
        return sums
    }
}
