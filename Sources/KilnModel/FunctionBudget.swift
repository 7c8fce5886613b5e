/// Which functions a session lets go, so that its probes stay below their limit.
///
/// What a probe costs is the number of calls times the time of a trap, which kiln measures on itself. It is part of the target's CPU time.
public struct FunctionBudget: Sendable {
    /// A share of the target's CPU time.
    public let limit: Double

    /// After functions are let go, the target does more of its work in the same time, and so calls the others more often. Besides, loads vary: the rest
    /// is planned to take less than the limit.
    private static let margin = 0.8
    /// The least CPU time to compare with, because that of an idle target is no measure: a twentieth of a core.
    private static let leastShareOfCore = 0.05

    public init(limit: Double) { self.limit = limit }

    public struct Decision: Equatable, Sendable {
        /// The probes' share of the CPU time.
        public var share: Double
        /// The dearest functions, to be let go.
        public var letGo: Set<Int>
    }

    /// The CPU time with which the probes' time is compared: the target's, but at least the least share of a core.
    public func base(cpu: Nanoseconds, in span: Nanoseconds) -> Double { max(Double(cpu.count), Double(span.count) * Self.leastShareOfCore) }

    /// - Parameters:
    ///   - costs: The time that each function's probes took in a span of time.
    ///   - cpu: The target's CPU time in it.
    public func decide(costs: [Nanoseconds], cpu: Nanoseconds, in span: Nanoseconds) -> Decision {
        let total = costs.reduce(0.0) { $0 + Double($1.count) }
        let base = base(cpu: cpu, in: span)
        guard total > limit * base, base > 0 else { return Decision(share: base > 0 ? total / base : 0, letGo: []) }
        // The target's own work; an estimate, so it may come out as less than nothing.
        let work = max(base - total, base * Self.leastShareOfCore)
        var rest = total
        var letGo: Set<Int> = []
        for function in costs.indices.sorted(by: { costs[$0].count > costs[$1].count }) {
            guard rest > Self.margin * limit * (rest + work), costs[function].count != 0 else { break }
            rest -= Double(costs[function].count)
            letGo.insert(function)
        }
        return Decision(share: total / base, letGo: letGo)
    }
}
