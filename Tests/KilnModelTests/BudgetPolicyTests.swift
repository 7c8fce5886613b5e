import Testing

@testable import KilnModel

/// Chooses levels for a machine whose costs are known.
struct BudgetPolicyTests {
    /// What watching everything costs, as a part of the targets' CPU time.
    private struct Machine {
        var samples = 0.004, others = 0.0
        /// Half of what requests cost, as it is guessed before they are counted.
        var systemCalls = 0.042
        /// The dispatch of the programs, and what they do.
        var runs = 400_000.0, work = 0.06

        func cost(at level: WatchLevel) -> WatchCost {
            let least = runs * 40e-9
            return WatchCost(
                requests: .init(runs: runs * level.time, runTime: (least + (work - least) * level.share) * level.time),
                systemCalls: .init(runs: 0, runTime: level.countsSystemCalls ? systemCalls : 0),
                samples: .init(runs: 0, runTime: samples / Double(level.sampleDivisor)),
                others: .init(runs: 0, runTime: others))
        }

        var whole: Double { cost(at: .whole).total }
    }

    private func settled(_ policy: inout BudgetPolicy, on machine: Machine, measurements: Int = 10) -> [WatchLevel] {
        (0..<measurements).map { _ in
            _ = policy.measured(machine.cost(at: policy.level))
            return policy.level
        }
    }

    /// The first measurement is enough, whatever the budget.
    @Test(arguments: [0.3, 1, 2, 3, 5, 8, 12, 20])
    func oneMeasurementChoosesALevelWithinTheBudget(percent: Double) {
        let machine = Machine()
        var policy = BudgetPolicy(percent: percent, frequency: 997)
        #expect(machine.cost(at: policy.level).requests.cost < machine.cost(at: .whole).requests.cost)
        let levels = settled(&policy, on: machine)
        for level in levels { #expect(machine.cost(at: level).total <= percent / 100 + 1e-9, "\(level)") }
        #expect(Set(levels.map(\.words)).count == 1)
    }

    @Test func whatCostsMostForWhatItGivesGoesFirst() {
        let machine = Machine()
        /// With a budget of which the policy aims at so many per cent.
        func level(_ percent: Double) -> WatchLevel {
            var policy = BudgetPolicy(percent: percent / BudgetPolicy.aim, frequency: 997)
            return settled(&policy, on: machine).last ?? .whole
        }
        #expect(level(15) == .whole)
        let fewer = level(100 * (machine.whole - 0.002))
        #expect(fewer.sampleDivisor == 4 && fewer.countsSystemCalls && fewer.isExact)
        let without = level(9)
        #expect(!without.countsSystemCalls && without.isExact)
        let shared = level(6.75)
        #expect(shared.share == 0.5 && shared.time == 1)
        // The dispatch of the programs costs 2.4 %, and finding that nothing is to be done 1.6 %: below, only windows help.
        let windows = level(2.25)
        #expect(windows.share == 1 && windows.time < 0.5)
        #expect(level(0.01).time == BudgetPolicy.leastTime)
    }

    /// No level takes fewer than 20 samples a second, unless fewer were asked for.
    @Test(arguments: [(0, 1), (20, 1), (79, 1), (80, 4), (99, 4), (320, 16), (4000, 16)]) func samplesAreReducedAsFarAsTheFrequencyAllows(
        frequency: Int, divisor: Int
    ) {
        var policy = BudgetPolicy(percent: 0.001, frequency: frequency)
        #expect(policy.level.sampleDivisor == divisor)
        #expect(settled(&policy, on: Machine()).last?.sampleDivisor == divisor)
    }

    @Test func aLoadThatDoublesIsFollowedAtOnceAndOneThatHalvesSoon() {
        var machine = Machine(), policy = BudgetPolicy(percent: 3, frequency: 997)
        let before = settled(&policy, on: machine).last?.time ?? 1
        machine.runs *= 2
        machine.work *= 2
        let during = settled(&policy, on: machine, measurements: 2).last?.time ?? 1
        #expect(during < before && machine.cost(at: policy.level).total <= 0.03)
        machine.runs /= 2
        machine.work /= 2
        let after = settled(&policy, on: machine, measurements: 8).last?.time ?? 0
        #expect(abs(after / before - 1) < 0.1)
    }

    /// When the load has gone, everything is watched again: also what wasn't counted meanwhile.
    @Test func everythingIsTakenBackWhenTheLoadGoes() {
        var machine = Machine(), policy = BudgetPolicy(percent: 2, frequency: 997)
        #expect(settled(&policy, on: machine).last?.countsSystemCalls == false)
        (machine.runs, machine.work, machine.systemCalls, machine.samples) = (2_000, 0.0004, 0.0003, 0.003)
        #expect(settled(&policy, on: machine, measurements: 20).last == .whole)
    }

    /// A server that does nearly nothing: a few samples look like much of its CPU time. Watching fewer requests would save nothing.
    @Test func samplesOfAnIdleServerDoNotPutRequestsOff() {
        var machine = Machine(), policy = BudgetPolicy(percent: 2, frequency: 99)
        (machine.runs, machine.work, machine.systemCalls, machine.samples) = (2_000, 0.0004, 0.0003, 0.08)
        #expect(settled(&policy, on: machine).allSatisfy { $0.isExact })
    }

    /// No level changes what stacks of waits cost.
    @Test func theCostOfWaitsIsNotThatOfSamples() {
        var machine = Machine(), policy = BudgetPolicy(percent: 30, frequency: 997)
        (machine.samples, machine.others) = (0.0004, 0.03)
        #expect(settled(&policy, on: machine).last == .whole)
        policy = BudgetPolicy(percent: 5, frequency: 997)
        #expect(settled(&policy, on: machine).allSatisfy { machine.cost(at: $0).total <= 0.05 })
    }

    /// Measurements scatter: the level doesn't follow each.
    @Test func noiseChangesLittle() {
        var policy = BudgetPolicy(percent: 8, frequency: 997), changes = 0
        for round in 0..<60 {
            var machine = Machine()
            machine.work *= round % 2 == 0 ? 1.04 : 0.96
            if policy.measured(machine.cost(at: policy.level)) { changes += 1 }
        }
        #expect(changes <= 3)
    }

    @Test func stepsAreNotedInWords() {
        var record = CostLimitRecord(limitPercent: 3), level = WatchLevel.whole
        level.time = 0.3
        level.sampleDivisor = 16
        level.countsSystemCalls = false
        record.note(level, of: .whole, after: Nanoseconds(1_000_000_000), measured: 0.1)
        var little = level
        little.time = 0.33
        record.note(little, of: level, after: Nanoseconds(2_000_000_000), measured: 0.02)
        #expect(record.steps.map(\.step) == ["30 % of the time, 1/16 of the samples, no system calls"])
        for _ in 0..<150 { record.note(.whole, of: level, after: Nanoseconds(3_000_000_000), measured: 0.01) }
        #expect(record.steps.count == CostLimitRecord.mostSteps && record.moreSteps == 51)
        #expect(record.steps.last?.step == "everything" && WatchLevel(share: 0.25).words == "1/4 of the connections")
    }
}
