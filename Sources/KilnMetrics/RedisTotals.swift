import KilnModel

/// What was counted of one server since kiln began, over all sessions and restarts of the server. Nothing in it ever gets less.
///
/// Names come from clients, so their number is bounded, as it is in the kernel: those beyond count as `other`.
public struct RedisTotals: Sendable {
    /// Of the kernel side: `KILN_COMMAND_CAPACITY`, `KILN_WAIT_CAPACITY`.
    static let mostCommands = 512, mostWaits = 1024
    static let mostErrors = 64, mostErrorsOfCommand = 16
    static let other = "other"

    struct Command: Sendable {
        var calls = 0.0, variance = 0.0
        /// `CommandEstimate.held`
        var held = 0.0
        var errors: [String: Double] = [:]
        var phases: [Phase: HistogramTotals] = [:]
        /// Of `phases`, so that a scrape doesn't escape names again.
        var labels: [Phase: Labels] = [:]
    }

    struct Wait: Sendable {
        var times = 0.0, seconds = 0.0
    }

    struct Pair: Hashable, Sendable {
        var blocker, blocked: String
    }

    let instance: String
    private let bounds: BucketBounds
    private(set) var commands: [String: Command] = [:]
    private(set) var waits: [Pair: Wait] = [:]
    private(set) var syscalls: [String: (calls: Double, errors: Double)] = [:]
    private(set) var syscallSeconds = 0.0
    private(set) var received = 0.0, sent = 0.0
    private(set) var samples: [String: Double] = [:]
    private(set) var watched = 0.0
    private(set) var fraction: Double?
    /// In seconds, by reason.
    private(set) var unwatched: [String: Double] = [:]
    private var errorWords: Set<String> = []
    /// The server runs and is watched.
    public var isUp = true
    /// Processes that were this server.
    public var starts = 0.0

    public init(instance: String, bounds: BucketBounds) {
        self.instance = instance
        self.bounds = bounds
    }

    /// Adds an interval.
    ///
    /// - Parameters:
    ///   - counts: Of the interval only. With `Estimates`, its calls and latencies are estimated.
    ///   - process: The index of the server in it.
    ///   - syscallName: The name of a number.
    public mutating func add(_ counts: Snapshot, process: Int, syscallName: (Int) -> String) {
        let estimates = counts[Estimates.self].flatMap { $0.isExact ? nil : $0 }
        let fraction = estimates?.fraction ?? 1, scale = fraction > 0 ? 1 / fraction : 1
        self.fraction = fraction
        watched += counts.time.seconds * fraction
        unwatched["share", default: 0] += counts.time.seconds * (1 - fraction)
        for (key, counted) in counts.commands where key.process == process {
            add(key, counted, estimates?.commands[key], scale: scale)
        }
        for (key, estimate) in estimates?.commands ?? [:] where key.process == process && counts.commands[key] == nil && estimate.calls > 0 {
            add(key, CommandCounts(), estimate, scale: scale)
        }
        for (key, wait) in counts.waits where key.process == process {
            let pair = self.pair(key)
            waits[pair, default: Wait()].times += Double(wait.times) * scale
            waits[pair, default: Wait()].seconds += wait.wait.seconds * scale
        }
        for (key, client) in counts.clients where key.process == process {
            received += Double(client.receivedBytes) * scale
            sent += Double(client.sentBytes) * scale
        }
        syscallSeconds += counts[CountedSystemCalls.self]?.seconds ?? 0
        for (key, calls) in counts.syscalls where key.process == process {
            let name = syscallName(key.number), known = syscalls[name] ?? (0, 0)
            syscalls[name] = (known.calls + Double(calls.count), known.errors + Double(calls.errors))
        }
        if process < counts.samples.count { samples["on_cpu", default: 0] += Double(counts.samples[process].recorded) }
        if let waits = counts[OffCPUCounts.self], process < waits.targets.count {
            samples["off_cpu", default: 0] += Double(waits.targets[process].recorded)
        }
    }

    /// Adds time in which nothing was counted.
    public mutating func addUnwatched(_ seconds: Double, because reason: String) { if seconds > 0 { unwatched[reason, default: 0] += seconds } }

    private mutating func add(_ key: CommandKey, _ counted: CommandCounts, _ estimate: CommandEstimate?, scale: Double) {
        let name = commandName(key.name)
        var command = commands.removeValue(forKey: name) ?? Command()
        command.calls += estimate?.calls ?? Double(counted.calls)
        command.variance += estimate?.variance ?? 0
        command.held += estimate?.held ?? 0
        for (word, count) in counted.errorWords {
            command.errors[errorWord(word, command), default: 0] += Double(count) * scale
        }
        if let estimate {
            for (phase, latencies) in estimate.phases { command.phases[phase, default: HistogramTotals()].add(latencies, bounds) }
        } else {
            for (phase, latencies) in counted.phases { command.phases[phase, default: HistogramTotals()].add(latencies, bounds) }
        }
        for phase in command.phases.keys where command.labels[phase] == nil {
            command.labels[phase] = Labels(["command": name, "phase": phase.rawValue, "instance": instance])
        }
        commands[name] = command
    }

    private func commandName(_ name: CommandName) -> String {
        let name = "\(name)"
        return commands[name] != nil || commands.count < Self.mostCommands ? name : Self.other
    }

    private mutating func errorWord(_ word: String, _ command: Command) -> String {
        guard command.errors[word] != nil || command.errors.count < Self.mostErrorsOfCommand else { return Self.other }
        if errorWords.contains(word) { return word }
        guard errorWords.count < Self.mostErrors else { return Self.other }
        errorWords.insert(word)
        return word
    }

    private func pair(_ key: WaitKey) -> Pair {
        let pair = Pair(blocker: "\(key.blocker)", blocked: "\(key.blocked)")
        return waits[pair] != nil || waits.count < Self.mostWaits ? pair : Pair(blocker: Self.other, blocked: Self.other)
    }
}

extension RedisTotals {
    /// - Parameter name: As `CommandName` shows it.
    public func hasCommand(_ name: String) -> Bool { commands[name] != nil }

    /// Calls and errors so far.
    public var calls: Double { commands.values.reduce(0) { $0 + $1.calls } }
    public var errors: Double { commands.values.reduce(0) { $0 + $1.errors.values.reduce(0, +) } }
}
