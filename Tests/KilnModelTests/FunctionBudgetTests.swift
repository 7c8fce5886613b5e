import KilnModel
import Testing

struct FunctionBudgetTests {
    private let second = Nanoseconds(1_000_000_000)

    private func milliseconds(_ costs: UInt64...) -> [Nanoseconds] { costs.map { Nanoseconds($0 * 1_000_000) } }

    @Test func belowTheLimitNothingIsLetGo() {
        let decision = FunctionBudget(limit: 0.2).decide(costs: milliseconds(50, 100, 0), cpu: second, in: second)
        #expect(decision.letGo.isEmpty && decision.share == 0.15)
    }

    /// The target's own work is 400 ms; the rest of the probes then takes less than a fifth of both together.
    @Test func theDearestAreLetGoUntilTheRestFits() {
        let decision = FunctionBudget(limit: 0.2).decide(costs: milliseconds(60, 300, 10, 230), cpu: second, in: second)
        #expect(decision.letGo == [1, 3] && decision.share == 0.6)
    }

    /// A twentieth of a core stands for an idle target.
    @Test func anIdleTargetMayHaveItsFewCalls() {
        let budget = FunctionBudget(limit: 0.2)
        #expect(budget.decide(costs: milliseconds(9), cpu: Nanoseconds(10_000_000), in: second).letGo.isEmpty)
        #expect(budget.decide(costs: milliseconds(11), cpu: Nanoseconds(20_000_000), in: second).letGo == [0])
    }

    @Test func functionsWithoutCallsStay() {
        #expect(FunctionBudget(limit: 0.01).decide(costs: milliseconds(0, 900, 0), cpu: second, in: second).letGo == [1])
    }
}
