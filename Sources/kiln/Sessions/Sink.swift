import KilnKernel
import KilnModel

/// Receives what a session measures: tables for people, JSON lines for programs, a directory of files.
///
/// A session has a list of sinks and calls each of them in its order. A sink gets records and counts. It never sees the options of a
/// subcommand: what it needs of them is given to its initialiser. A sink that can't write throws; `OutputClosed` says that its reader has
/// gone, which ends the session without an error.
protocol Sink {
    /// Everything is attached; the first interval begins.
    func begin(_ start: SessionStart) throws
    /// An interval has passed.
    func interval(_ interval: SessionInterval) throws
    /// What is known so far, now and then: a session that is killed leaves this.
    func checkpoint(_ checkpoint: SessionCheckpoint) throws
    /// The session has ended: the numbers are final.
    func end(_ result: SessionResult) throws
    /// The session did not begin, or found nothing to measure: remove what was made for it.
    func discard()
}

/// A sink implements the calls that it needs.
extension Sink {
    func begin(_ start: SessionStart) throws {}
    func interval(_ interval: SessionInterval) throws {}
    func checkpoint(_ checkpoint: SessionCheckpoint) throws {}
    func end(_ result: SessionResult) throws {}
    func discard() {}
}

/// What a session is attached to, and how.
struct SessionStart {
    let targets: [SessionRecord.Target]
    /// How it observes and for how long, in short phrases.
    let details: [String]
    /// The programs in the kernel.
    let programs: () -> [LoadedProgram]
    /// What this kernel refused while something else could be taken.
    let refusals: [String]
}

/// What one interval brought.
struct SessionInterval {
    /// As they are called now.
    let targets: [SessionRecord.Target]
    /// What happened in the interval.
    let counts: Snapshot
    /// The same as JSON lines, by target.
    let lines: [IntervalLines]
    /// When it ended.
    let time: WallTime
    /// What kiln itself used: CPU time in the interval, and the most memory so far.
    let ownCPU: Nanoseconds
    let ownPeakRSS: UInt64
}

/// What a session that is killed leaves. Either part may be missing.
struct SessionCheckpoint {
    /// A record for each target.
    var records: [SessionRecord] = []
    /// Folded stacks for each target.
    var stacks: [[UInt8]] = []
}

/// What is known at a session's end.
struct SessionResult {
    /// A record for each target.
    let records: [SessionRecord]
    /// Folded stacks for each target; empty where none were sampled.
    let stacks: [[UInt8]]
    /// The programs in the kernel.
    let programs: () -> [LoadedProgram]
}

/// Says on standard error that a session has begun.
struct Announcement: Sink {
    /// What else there is to say then, line by line.
    var remarks: () -> [String] = { [] }

    func begin(_ start: SessionStart) {
        let titles = start.targets.map { $0.pid == 0 ? $0.comm : sessionTitle($0) }
        say("kiln \(kilnVersion): attached to \(titles.joined(separator: ", ")); \(start.details.joined(separator: ", "))")
        for remark in remarks() { say("kiln: \(remark)") }
    }
}
