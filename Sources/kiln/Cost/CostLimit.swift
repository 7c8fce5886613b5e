import KilnKernel
import KilnModel

/// `--max-cost`: measures now and then what kiln's programs take, and says when that is too much.
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
    /// When `measure` is to be called next; nil before `begin`.
    private(set) var due: Nanoseconds?
    private let limit: Double
    private var began = Nanoseconds.zero
    private var share = 0.0
    private var exceeded = 0
    private var statistics: RunStatistics?
    private var start: (time: Nanoseconds, reading: Reading)?

    private static let span = Nanoseconds(100_000_000), pause = Nanoseconds(900_000_000)
    /// One measurement may meet something else; the second in a row counts.
    private static let measurements = 2
    /// An idle target's CPU time is no measure: never less than a twentieth of a core is compared with.
    private static let leastShareOfCore = 0.05

    init(percent: Double) {
        record = CostLimitRecord(limitPercent: percent)
        limit = percent / 100
    }

    /// The session has begun.
    func begin(at now: Nanoseconds) {
        began = now
        due = now + Self.pause
    }

    /// Begin or end a measurement if it is time. True: too much was measured, so something has to be given up.
    func measure(_ read: () -> Reading) throws -> Bool {
        let now = MonotonicClock.now()
        guard let due, now >= due else { return false }
        guard let start else {
            statistics = try RunStatistics()
            self.start = (now, read())
            self.due = now + Self.span
            return false
        }
        let reading = read()
        statistics = nil
        self.start = nil
        self.due = now + Self.pause
        let floor = (now - start.time).seconds * Self.leastShareOfCore
        let cpu = max((reading.targets - start.reading.targets).seconds, floor)
        share = (reading.programs - start.reading.programs).seconds / cpu
        record.measuredPercent = share * 100
        exceeded = share > limit ? exceeded + 1 : 0
        guard exceeded == Self.measurements else { return false }
        exceeded = 0
        return true
    }

    /// Something was given up.
    func took(step: String) {
        record.steps.append(CostLimitRecord.Step(after: MonotonicClock.now() - began, measured: share, step: step))
        say("kiln: watching takes \(percentText(share)) of the target's CPU time, more than --max-cost \(record.limitPercent): \(step)")
    }
}
