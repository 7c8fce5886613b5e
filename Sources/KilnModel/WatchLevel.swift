/// How much a session watches, within what it may cost.
public struct WatchLevel: Equatable, Sendable {
    /// One of so many samples is taken.
    public var sampleDivisor = 1
    public var countsSystemCalls = true
    /// Of the connections: 1, 1/2, 1/4 … 1/64.
    public var share = 1.0
    /// Of the time: more than 0, up to 1.
    public var time = 1.0

    public static let whole = WatchLevel()

    public init(share: Double = 1) { self.share = share }

    /// All requests are counted.
    public var isExact: Bool { share == 1 && time == 1 }
    /// Of all requests.
    public var fraction: Double { share * time }
}

/// What a session's programs cost, as a part of the targets' CPU time.
public struct WatchCost: Equatable, Sendable {
    /// One kind of programs. `runs`: how often they ran for each second of the targets' CPU time; `runTime`: how long (seconds a second).
    public struct Part: Equatable, Sendable {
        public var runs: Double
        public var runTime: Double

        public init(runs: Double = 0, runTime: Double = 0) {
            self.runs = runs
            self.runTime = runTime
        }

        /// With the dispatch of each program, which its run time leaves out.
        public var cost: Double { runTime + runs * dispatch }

        /// Seconds. With programs that do nothing where data arrives, is received and is sent, a server's GET takes some 3 % longer: 60 to 80 ns a run
        /// (Benchmarks/costs.md); the clock of the statistics is in `runTime` and makes up for a part of it.
        private var dispatch: Double { 60e-9 }
    }

    public var requests, systemCalls, samples: Part
    /// What no level changes, as stacks of waits.
    public var others: Part

    public init(requests: Part, systemCalls: Part, samples: Part, others: Part = Part()) {
        self.requests = requests
        self.systemCalls = systemCalls
        self.samples = samples
        self.others = others
    }

    public var total: Double { requests.cost + systemCalls.cost + samples.cost + others.cost }
}

/// Chooses how much a session watches so that it stays within its budget: by what costs most for what it gives. First fewer samples are taken, then no
/// system calls are counted, then a share of the connections is watched. Where even 1/64 of them costs too much, because of the dispatch of the
/// programs at each receive and send, all connections are watched for a part of the time.
public struct BudgetPolicy: Sendable {
    /// As a part of the targets' CPU time.
    public let budget: Double
    public private(set) var level: WatchLevel
    /// What watching everything would cost, by what was measured last; nil: nothing was measured yet.
    private var whole: WatchCost?
    private var calm = 0
    /// What system calls cost when they were counted last.
    private var lastSystemCalls = Double.infinity

    /// Measured costs scatter, and leave out what attaching and detaching costs: the level is chosen for a part of the budget.
    static let aim = 0.6
    /// A richer level is chosen when it would fit for so many measurements in a row.
    private static let patience = 3
    /// A budget leaves so many samples a second of CPU time: they take 0.05 % of a core.
    private static let leastFrequency = 20
    /// Of the frequency, ascending.
    private let sampleDivisors: [Int]
    public static let leastShare = 1.0 / 64
    public static let leastTime = 0.01
    /// What a program does at least: it finds that a connection isn't watched. Seconds.
    private static let leastRun = 40e-9

    /// The part of the time that is watched until the cost is known.
    public static let firstTime = 0.08
    /// What system calls cost beside requests: a guess until both were counted.
    private var systemCallsRatio = 0.5

    /// - Parameters:
    ///   - percent: Of the targets' CPU time.
    ///   - frequency: Samples a second of CPU time while everything is watched; 0: there are none.
    public init(percent: Double, frequency: Int) {
        budget = percent / 100
        sampleDivisors = [1, 4, 16].filter { $0 == 1 || frequency / $0 >= Self.leastFrequency }
        level = WatchLevel()
        level.time = Self.firstTime
        level.countsSystemCalls = false
        level.sampleDivisor = sampleDivisors.last ?? 1
    }

    /// Takes a measurement at the present level into account. Returns whether the level has changed.
    public mutating func measured(_ cost: WatchCost) -> Bool {
        let whole = scaled(cost), isFirst = self.whole == nil
        self.whole = whole
        let fitting = level(for: whole)
        guard fitting != level else {
            calm = 0
            return false
        }
        if isFirst || cost.total > budget || (fitting.isPoorer(than: level) && cost.total > budget * (1 + Self.aim) / 2) {
            calm = 0
            level = fitting
            return true
        }
        guard !fitting.isPoorer(than: level), level.isWorthChanging(to: fitting) else {
            calm = 0
            return false
        }
        calm += 1
        guard calm >= Self.patience else { return false }
        calm = 0
        level = fitting
        return true
    }

    /// What a measurement at the present level says of watching everything. System calls that aren't counted now are taken to cost what they did last,
    /// or less where requests cost less.
    private mutating func scaled(_ cost: WatchCost) -> WatchCost {
        var whole = cost
        let attached = max(level.time, Self.leastTime)
        let runs = cost.requests.runs / attached, least = runs * Self.leastRun
        let runTime = cost.requests.runTime / attached
        whole.requests.runs = runs
        whole.requests.runTime = least + max(runTime - least, 0) / level.share
        whole.samples.runs *= Double(level.sampleDivisor)
        whole.samples.runTime *= Double(level.sampleDivisor)
        if level.countsSystemCalls {
            lastSystemCalls = whole.systemCalls.cost
            if whole.requests.cost > 0 { systemCallsRatio = whole.systemCalls.cost / whole.requests.cost }
        } else {
            whole.systemCalls = .init(runTime: min(lastSystemCalls, whole.requests.cost * systemCallsRatio))
        }
        return whole
    }

    /// What a level would cost.
    private func cost(of level: WatchLevel, _ whole: WatchCost) -> Double {
        let least = whole.requests.runs * Self.leastRun
        let requests = WatchCost.Part(runs: whole.requests.runs, runTime: least + max(whole.requests.runTime - least, 0) * level.share)
        return requests.cost * level.time + (level.countsSystemCalls ? whole.systemCalls.cost : 0) + whole.samples.cost / Double(level.sampleDivisor)
            + whole.others.cost
    }

    private func level(for whole: WatchCost) -> WatchLevel {
        let aim = budget * Self.aim
        var level = WatchLevel.whole
        func fits() -> Bool { cost(of: level, whole) <= aim }
        for divisor in sampleDivisors {
            level.sampleDivisor = divisor
            if fits() { return level }
        }
        level.countsSystemCalls = false
        if fits() { return level }
        while level.share > Self.leastShare {
            level.share /= 2
            if fits() { return level }
        }
        level.share = 1
        let requests = whole.requests.cost, rest = cost(of: level, whole) - requests
        // Where the rest alone takes the budget, as a few samples of an idle server may, watching less of the requests doesn't help.
        level.time = requests > 0 ? min(max(max(aim - rest, aim / 2) / requests, Self.leastTime), 1) : 1
        return level
    }
}

extension WatchLevel {
    fileprivate func isPoorer(than other: WatchLevel) -> Bool {
        (fraction, countsSystemCalls ? 1 : 0, -sampleDivisor) < (other.fraction, other.countsSystemCalls ? 1 : 0, -other.sampleDivisor)
    }

    /// Between parts of the time a small difference isn't worth a new level.
    fileprivate func isWorthChanging(to other: WatchLevel) -> Bool {
        var same = self
        same.time = other.time
        return same != other || other.time > time * 1.1
    }
}
