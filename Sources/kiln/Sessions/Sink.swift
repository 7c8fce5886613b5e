import KilnKernel
import KilnModel

/// Receives the results of a session: as tables, as JSON lines, or as files.
///
/// A session calls its sinks in the order of their list. A sink gets records and counts, never the options of a subcommand; its initializer
/// takes the settings that it needs. A sink that can't write throws. `OutputClosed` means that the reader of standard output has closed it,
/// and ends the session without an error.
protocol Sink {
    /// Everything is attached; the first interval begins.
    func begin(_ start: SessionStart) throws
    /// An interval has passed.
    func interval(_ interval: SessionInterval) throws
    /// Intermediate results, written from time to time for the case that kiln is killed.
    func checkpoint(_ checkpoint: SessionCheckpoint) throws
    /// The session has ended: the numbers are final.
    func end(_ result: SessionResult) throws
    /// The session did not begin, or found nothing to measure: remove its files.
    func discard()
}

/// By default every call does nothing.
extension Sink {
    func begin(_ start: SessionStart) throws {}
    func interval(_ interval: SessionInterval) throws {}
    func checkpoint(_ checkpoint: SessionCheckpoint) throws {}
    func end(_ result: SessionResult) throws {}
    func discard() {}
}

/// The targets of a session, and the way they are observed.
struct SessionStart {
    let targets: [SessionRecord.Target]
    /// Hook, frequency, duration and the like, as short phrases.
    let details: [String]
    /// The loaded BPF programs.
    let programs: () -> [LoadedProgram]
    /// Refusals by this kernel for which kiln has a substitute, a line each.
    let refusals: [String]
}

/// The results of one interval.
struct SessionInterval {
    /// With their present names.
    let targets: [SessionRecord.Target]
    /// Counts of this interval only.
    let counts: Snapshot
    /// The same counts as JSON lines, by target.
    let lines: [IntervalLines]
    /// The end of the interval.
    let time: WallTime
    /// kiln's own CPU time in the interval, and its peak memory (RSS, bytes) so far.
    let ownCPU: Nanoseconds
    let ownPeakRSS: UInt64
    /// At the end of the interval.
    let totals: SessionTotals
}

/// What a session has counted up to a moment.
struct SessionTotals {
    let time: WallTime
    let snapshot: Snapshot
    /// CPU time, by target.
    let cpu: [Nanoseconds]
}

/// Stacks of one kind as folded text.
struct FoldedTexts {
    let kind: StackKind
    let files: StackFiles
    /// A text for each target.
    var byTarget: [[UInt8]] = []
    /// The stacks by command, and of off-CPU stacks also the time between the sends of replies; empty if stacks have no labels.
    var byCommand: [[UInt8]] = []
}

/// Intermediate results. Either part may be missing.
struct SessionCheckpoint {
    /// A record for each target.
    var records: [SessionRecord] = []
    /// Folded stacks of each kind.
    var stacks: [FoldedTexts] = []
    /// By target.
    var samples: [SampleRecords] = []
    /// Makes records of what has happened since an earlier moment of the session.
    var since: (SessionTotals) -> [SessionRecord] = { _ in [] }
}

/// The final results of a session.
struct SessionResult {
    /// A record for each target.
    let records: [SessionRecord]
    /// Folded stacks of each kind that was recorded.
    let stacks: [FoldedTexts]
    /// By target; empty if no stacks were recorded.
    let samples: [SampleRecords]
    /// By target; nil unless stacks of slow and of fast calls were kept.
    let slowAgainstFast: [SlowAgainstFast?]
    /// The loaded BPF programs.
    let programs: () -> [LoadedProgram]
    /// Makes records of what has happened since an earlier moment of the session.
    var since: (SessionTotals) -> [SessionRecord] = { _ in [] }
}

/// Announces on standard error that a session has begun.
struct Announcement: Sink {
    /// More lines to print with the announcement.
    var remarks: () -> [String] = { [] }

    func begin(_ start: SessionStart) {
        let titles = start.targets.map(sessionTitle)
        say("kiln \(kilnVersion): attached to \(titles.joined(separator: ", ")); \(start.details.joined(separator: ", "))")
        for remark in remarks() { say("kiln: \(remark)") }
    }
}
