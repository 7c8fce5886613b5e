/// The calls whose stacks are kept. All conditions have to hold.
public struct CallSelection: Equatable, Sendable {
    public enum Threshold: Equatable, Sendable {
        case none
        case fixed(Nanoseconds)
        /// Of the service of each command so far; a share, 0.99 for p99.
        case percentile(Double)
    }

    /// Calls whose service takes as long are slow, the others fast.
    public var threshold = Threshold.none
    /// Stacks of fast calls are kept, too, to be compared with.
    public var keepsFast = false
    /// Only these commands, in any case; empty: all.
    public var commands: [String] = []
    /// Only these clients, as `--client` of a trace takes them; empty: all.
    public var clients: [String] = []
    /// Only calls whose reply is an error.
    public var errorsOnly = false

    public init() {}

    public var keepsAll: Bool { self == CallSelection() }

    /// The threshold of each command by its calls so far; empty unless the threshold is a percentile. A command has a threshold once ten calls are
    /// expected to lie beyond it: after 10 / (1 - share) calls with a service, 1,000 for p99. Before that, none of its calls is slow or fast. Blocking
    /// commands have no service and no threshold.
    public func thresholds(of snapshot: Snapshot) -> [CommandKey: Nanoseconds] {
        guard case .percentile(let share) = threshold else { return [:] }
        let wanted = Set(commands.map(CommandName.init(asked:)))
        return snapshot.commands.filter { wanted.isEmpty || wanted.contains($0.key.name) }.compactMapValues { counts in
            guard let service = counts.phases[.service], service.count >= UInt64(PercentileEstimate.timesNeeded(share)) else { return nil }
            return service.percentile(share)
        }
    }
}

/// The calls of a command whose stacks were asked for, by whether they were slower than the threshold.
public struct JudgedCalls: Equatable, Sendable {
    public struct Calls: Equatable, Sendable {
        public var count: UInt64
        /// The sum of their services.
        public var service: Nanoseconds
        /// The part of it between the first and the last send of replies that took several.
        public var sendBlocked: Nanoseconds

        public init(count: UInt64 = 0, service: Nanoseconds = .zero, sendBlocked: Nanoseconds = .zero) {
            self.count = count
            self.service = service
            self.sendBlocked = sendBlocked
        }

        func since(_ earlier: Calls) -> Calls {
            Calls(count: count &- earlier.count, service: service - earlier.service, sendBlocked: sendBlocked - earlier.sendBlocked)
        }
    }

    public var slow: Calls
    public var fast: Calls
    /// All of them, where there is no threshold.
    public var unjudged: Calls

    public init(slow: Calls = Calls(), fast: Calls = Calls(), unjudged: Calls = Calls()) {
        self.slow = slow
        self.fast = fast
        self.unjudged = unjudged
    }

    public subscript(verdict: Work.Verdict?) -> Calls {
        switch verdict {
        case .slow: slow
        case .fast: fast
        case nil: unjudged
        }
    }

    public func since(_ earlier: JudgedCalls) -> JudgedCalls {
        JudgedCalls(slow: slow.since(earlier.slow), fast: fast.since(earlier.fast), unjudged: unjudged.since(earlier.unjudged))
    }
}
