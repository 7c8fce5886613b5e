/// Measurements of a target in one window.
public struct CostWindow: Codable, Equatable, Sendable {
    /// Whether the session ran.
    public var watched: Bool
    public var wallNs: UInt64
    /// From the target's CPU clock.
    public var cpuNs: UInt64
    /// Calls and rejected calls from INFO commandstats, including those in scripts; nil if the server isn't asked.
    public var commands: UInt64?
    /// The server's own execution time of these commands; it counts microseconds.
    public var executionNs: UInt64?
    /// read(2), write(2) and similar calls, counted by the kernel (syscr and syscw of /proc/PID/io).
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

    /// The amount of work in a unit; nil if it wasn't counted.
    public func amount(_ unit: CostUnit) -> Double? {
        switch unit {
        case .command: commands.map { Double($0) }
        case .call: ioCalls.map { Double($0) }
        case .second: Double(wallNs) / 1e9
        }
    }
}

/// The divisor of the target's CPU time. kiln's own programs count none of them, because they are not loaded in half of the windows.
public enum CostUnit: String, CaseIterable, Codable, Sendable {
    /// From INFO commandstats.
    case command
    /// read(2), write(2) and similar calls.
    case call
    /// Wall time: correct only if the traffic doesn't depend on the server's speed.
    case second

    /// The least amount in a window.
    public static let leastAmount = 100.0
}

extension [CostWindow] {
    /// The first unit with enough amount in all windows; nil if nothing happened in some window.
    public var bestUnit: CostUnit? {
        guard allSatisfy({ $0.cpuNs > 0 }) else { return nil }
        let busy = CostUnit.allCases.first { unit in
            unit != .second && allSatisfy { ($0.amount(unit) ?? 0) >= CostUnit.leastAmount }
        }
        // A server that answers INFO but executes no commands has no traffic, even though time passes.
        return busy ?? (contains { $0.commands != nil } ? nil : .second)
    }

    /// CPU time per unit, in ns.
    public func cost(per unit: CostUnit) -> CostEstimate? {
        estimate { window in window.amount(unit).map { Double(window.cpuNs) / $0 } }
    }

    /// The server's own execution time per command, in ns.
    public var execution: CostEstimate? {
        estimate { window in
            guard let commands = window.commands, let time = window.executionNs, commands > 0 else { return nil }
            return Double(time) / Double(commands)
        }
    }

    /// The amount per second of wall time in windows without the session: mean, and standard deviation divided by mean.
    public func rate(of unit: CostUnit) -> (mean: Double, variation: Double) {
        let rates = filter { !$0.watched && $0.wallNs > 0 }.compactMap { window in window.amount(unit).map { $0 * 1e9 / Double(window.wallNs) } }
        guard rates.count > 1 else { return (rates.first ?? 0, 0) }
        let mean = rates.reduce(0, +) / Double(rates.count)
        let variance = rates.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(rates.count - 1)
        return (mean, mean > 0 ? variance.squareRoot() / mean : 0)
    }

    /// The estimate for any value of the windows; nil if a window lacks it.
    public func estimate(_ value: (CostWindow) -> Double?) -> CostEstimate? {
        let values = compactMap(value)
        return values.count == count ? CostEstimate(windows: values) : nil
    }
}
