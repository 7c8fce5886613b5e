import KilnKernel
import KilnModel

/// `--max-cost`: measures the run time of kiln's BPF programs from time to time, and reports when it exceeds the limit.
///
/// Uses the kernel's run-time statistics. These have overhead themselves, so they are on for a tenth of each second. They leave out the
/// dispatch to the programs, and include runs for other processes.
final class CostLimit {
    /// Run time of the programs, and CPU time of the targets, up to one moment.
    struct Reading {
        var programs: Nanoseconds
        var targets: Nanoseconds
    }

    private(set) var record: CostLimitRecord
    /// The time of the next call of `measure`; nil before `begin`.
    private(set) var due: Nanoseconds?
    private let limit: Double
    private var began = Nanoseconds.zero
    private var share = 0.0
    private var exceeded = 0
    private var statistics: RunStatistics?
    private var start: (time: Nanoseconds, reading: Reading)?

    private static let span = Nanoseconds(100_000_000), pause = Nanoseconds(900_000_000)
    /// A single measurement may be disturbed, so two in a row must exceed the limit.
    private static let measurements = 2
    /// The least CPU time to compare with, because that of an idle target is no measure: a twentieth of a core.
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

    /// Begins or ends a measurement if it is due. Returns true if the limit is exceeded, so that the overhead must be lowered.
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

    /// Records a step that lowered the overhead.
    func took(step: String) {
        record.steps.append(CostLimitRecord.Step(after: MonotonicClock.now() - began, measured: share, step: step))
        say("kiln: the overhead is \(percentText(share)) of the target's CPU time, more than --max-cost \(record.limitPercent): \(step)")
    }
}
