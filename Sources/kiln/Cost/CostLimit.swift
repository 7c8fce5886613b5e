import KilnKernel
import KilnModel

/// `--max-cost`: measures now and then what kiln's programs take, and says what to give up when that is too much.
///
/// Measured by the kernel's run-time statistics, which cost time themselves: they are on for a tenth of each second. Dispatch to
/// the programs isn't in them; runs for other processes are.
final class CostLimit {
    /// What the programs have run and the targets have had of CPU time, at one moment.
    struct Reading {
        var programs: Nanoseconds
        var targets: Nanoseconds
    }

    private(set) var record: CostLimitRecord
    /// When `measure` is to be called next.
    private(set) var due: Nanoseconds
    private let limit: Double
    private var thinning: Thinning
    private var exceeded = 0
    private var statistics: RunStatistics?
    private var start: (time: Nanoseconds, reading: Reading)?

    private static let span = Nanoseconds(100_000_000), pause = Nanoseconds(900_000_000)
    /// One measurement may meet something else; the second in a row counts.
    private static let measurements = 2
    /// An idle target's CPU time is no measure: never less than a twentieth of a core is compared with.
    private static let leastShareOfCore = 0.05

    init(percent: Double, frequency: Int, countsSyscalls: Bool, now: Nanoseconds) {
        record = CostLimitRecord(limitPercent: percent)
        limit = percent / 100
        thinning = Thinning(frequency: frequency, countsSyscalls: countsSyscalls)
        due = now + Self.pause
    }

    /// Begin or end a measurement if it is time; the step to take when too much was measured.
    func measure(began: Nanoseconds, _ read: () -> Reading) throws -> ThinningStep? {
        let now = MonotonicClock.now()
        guard now >= due else { return nil }
        guard let start else {
            statistics = try RunStatistics()
            self.start = (now, read())
            due = now + Self.span
            return nil
        }
        let reading = read()
        statistics = nil
        self.start = nil
        due = now + Self.pause
        let floor = (now - start.time).seconds * Self.leastShareOfCore
        let cpu = max((reading.targets - start.reading.targets).seconds, floor)
        let share = (reading.programs - start.reading.programs).seconds / cpu
        record.measuredPercent = share * 100
        exceeded = share > limit ? exceeded + 1 : 0
        guard exceeded == Self.measurements else { return nil }
        exceeded = 0
        let step = thinning.next()
        let text = describe(step)
        record.steps.append(CostLimitRecord.Step(after: now - began, measured: share, step: text))
        say("kiln: watching takes \(percentText(share)) of the target's CPU time, more than --max-cost \(record.limitPercent): \(text)")
        return step
    }

    private func describe(_ step: ThinningStep) -> String {
        switch step {
        case .frequency(let former, let frequency): "\(frequency) samples a second instead of \(former)"
        case .withoutSyscalls: "system calls are no longer counted"
        case .end: "the session ends"
        }
    }
}
