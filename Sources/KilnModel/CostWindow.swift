/// What happened to a target in one window.
public struct CostWindow: Codable, Equatable, Sendable {
    /// Whether the session ran.
    public var watched: Bool
    public var wallNs: UInt64
    /// Of the target's CPU clock.
    public var cpuNs: UInt64
    /// Calls and rejected calls by INFO commandstats, scripts' included; nil where the server isn't asked.
    public var commands: UInt64?
    /// What the server says that it executed for them, in its own microseconds.
    public var executionNs: UInt64?
    /// read(2) and write(2) and their like, by the kernel's own account (syscr and syscw of /proc/PID/io).
    public var ioCalls: UInt64?

    enum CodingKeys: String, CodingKey {
        case watched, commands
        case wallNs = "wall_ns", cpuNs = "cpu_ns", executionNs = "execution_ns", ioCalls = "io_calls"
    }

    public init(watched: Bool, wallNs: UInt64, cpuNs: UInt64, commands: UInt64? = nil, executionNs: UInt64? = nil, ioCalls: UInt64? = nil) {
        self.watched = watched
        self.wallNs = wallNs
        self.cpuNs = cpuNs
        self.commands = commands
        self.executionNs = executionNs
        self.ioCalls = ioCalls
    }

    /// How much was asked of the target, in a unit; nil where that wasn't counted.
    public func amount(_ unit: CostUnit) -> Double? {
        switch unit {
        case .command: commands.map { Double($0) }
        case .call: ioCalls.map { Double($0) }
        case .second: Double(wallNs) / 1e9
        }
    }
}

/// What the target's CPU time is divided by. None is counted by kiln's own programs: they aren't there in half of the windows.
public enum CostUnit: String, CaseIterable, Codable, Sendable {
    /// Of INFO commandstats.
    case command
    /// Of read(2), write(2) and their like.
    case call
    /// Of wall time: tells only where the traffic doesn't depend on the server's speed.
    case second

    /// Fewer in a window tell nothing.
    public static let leastAmount = 100.0
}

extension [CostWindow] {
    /// The unit to divide by: the first that was counted in all windows, often enough; nil: nothing happened in some window.
    public var bestUnit: CostUnit? {
        guard allSatisfy({ $0.cpuNs > 0 }) else { return nil }
        let busy = CostUnit.allCases.first { unit in
            unit != .second && allSatisfy { ($0.amount(unit) ?? 0) >= CostUnit.leastAmount }
        }
        // A server that is asked and has nothing to do has no traffic, however much its own clock moves.
        return busy ?? (contains { $0.commands != nil } ? nil : .second)
    }

    /// CPU time per unit, ns.
    public func cost(per unit: CostUnit) -> CostEstimate? {
        estimate { window in window.amount(unit).map { Double(window.cpuNs) / $0 } }
    }

    /// The server's own execution time per command, ns.
    public var execution: CostEstimate? {
        estimate { window in
            guard let commands = window.commands, let time = window.executionNs, commands > 0 else { return nil }
            return Double(time) / Double(commands)
        }
    }

    /// Per second of wall time, in windows without the session: mean, and standard deviation over mean.
    public func rate(of unit: CostUnit) -> (mean: Double, variation: Double) {
        let rates = filter { !$0.watched && $0.wallNs > 0 }.compactMap { window in window.amount(unit).map { $0 * 1e9 / Double(window.wallNs) } }
        guard rates.count > 1 else { return (rates.first ?? 0, 0) }
        let mean = rates.reduce(0, +) / Double(rates.count)
        let variance = rates.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(rates.count - 1)
        return (mean, mean > 0 ? variance.squareRoot() / mean : 0)
    }

    /// An estimate of any number of the windows; nil where one has none.
    public func estimate(_ value: (CostWindow) -> Double?) -> CostEstimate? {
        let values = compactMap(value)
        return values.count == count ? CostEstimate(windows: values) : nil
    }
}
