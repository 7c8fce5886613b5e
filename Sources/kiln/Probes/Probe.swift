import KilnKernel
import KilnModel

/// One kind of observation: requests, system calls, stacks. A session has a list of probes and uses them only through this protocol.
///
/// The session calls them in this order:
///
///     load        all probes at once, on two threads
///     attach      one after the other, in the order of the list
///     begin       everything is attached
///     drain, read, intervalEnds, describe, follow     again and again
///     stop        one after the other
///     drain       until nothing is left
///     read, finish, describe
///     conclude    the sinks have the result
///     detach
///
/// `load`, `attach` and `read` are required; the rest have defaults. To add a probe, write a class and add it to the list of a subcommand.
protocol Probe: AnyObject {
    /// What the probe needs of the host beside `Capabilities.host`; `kiln doctor` tries it.
    static var needs: [Capabilities.Entry] { get }
    /// Creates the maps and loads the programs, which the kernel verifies. Attaches nothing. May be called on another thread than the rest.
    func load() throws(KernelError)
    /// Attaches the programs. Returns the time from which the probe counts.
    func attach() throws -> Nanoseconds
    /// How the probe observes, as short phrases (`hook socket`, `99 Hz`), after `attach`.
    var details: [String] { get }
    /// Refusals by this kernel for which the probe has a substitute, a line each.
    var refusals: [String] { get }
    /// All probes are attached: the session begins.
    func begin() throws
    /// A file descriptor that becomes readable when the session should call `drain` at once.
    var attention: Int32? { get }
    /// Reads what the kernel has sent, and updates what the kernel needs; several times a second. Returns whether there is more to read.
    ///
    /// May throw `EndOfSession`.
    func drain() throws -> Bool
    /// Adds the numbers since `attach` to a snapshot.
    func read(into snapshot: inout Snapshot) throws
    /// An interval of this length has ended, at `time`; `read` was called for it.
    func intervalEnds(at time: WallTime, length: Nanoseconds) throws
    /// The kinds of stacks that it records.
    var stackKinds: [StackKind] { get }
    /// The events among these kinds, by their index.
    var events: [RecordedEvent] { get }
    /// All stacks so far; nil if the probe samples none.
    func stacks() throws -> StackTable?
    /// The commands by the rows that labels of stacks hold; nil if the probe gives stacks no labels.
    func commandNames() throws -> [Int: CommandName]?
    /// Adds the probe's results to a target's record. All probes have read `moment.snapshot` before.
    func describe(_ record: inout SessionRecord, at moment: SessionMoment)
    /// Where a program's cost is counted (`--max-cost`); nil: nowhere.
    func costKind(of program: String) -> WritableKeyPath<Budget.Reading, ProgramCounts>?
    /// Takes as many samples, and counts system calls, as this level says (`--max-cost`). What is watched of the requests is the budget's own matter.
    ///
    /// - Parameter cpu: The CPU time of each target since the session began.
    func follow(_ level: WatchLevel, at cpu: [Nanoseconds]) throws
    /// The session has ended: take no more samples and records, so that all results are of the same time. Counters may continue.
    func stop()
    /// The last snapshot has been read. Not called if an error ended the session.
    func finish()
    /// The results are written. Throws if the probe did not find what it was asked for.
    func conclude(_ total: Snapshot) throws
    /// Detaches everything. Counts stay readable.
    func detach()
    /// The loaded programs, each with the kernel's run-time statistics.
    func loadedPrograms() -> [LoadedProgram]
}

/// The kinds of observation that there are, for `kiln doctor`.
var probeTypes: [any Probe.Type] {
    [
        RequestProbe.self, SyscallCounting.self, SyscallTiming.self, StackSampling.self, FunctionCounting.self, RedisAudit.self, CallTracing.self,
        ExecTracing.self,
    ]
}

extension Probe {
    static var needs: [Capabilities.Entry] { [] }
    var details: [String] { [] }
    var refusals: [String] { [] }
    func begin() throws {}
    var attention: Int32? { nil }
    func drain() throws -> Bool { false }
    func intervalEnds(at time: WallTime, length: Nanoseconds) throws {}
    var stackKinds: [StackKind] { [] }
    var events: [RecordedEvent] { [] }
    func stacks() throws -> StackTable? { nil }
    func commandNames() throws -> [Int: CommandName]? { nil }
    func describe(_ record: inout SessionRecord, at moment: SessionMoment) {}
    func costKind(of program: String) -> WritableKeyPath<Budget.Reading, ProgramCounts>? { nil }
    func follow(_ level: WatchLevel, at cpu: [Nanoseconds]) throws {}
    func stop() {}
    func finish() {}
    func conclude(_ total: Snapshot) throws {}
    func detach() {}
    func loadedPrograms() -> [LoadedProgram] { [] }
}

/// The data for a target's record.
struct SessionMoment {
    /// Growth since the session began, or since a later moment.
    let snapshot: Snapshot
    /// The index of the target in the session.
    let process: Int
    /// The target's CPU time since the session began: from the beginning of what `snapshot` has to its end.
    let cpu: ClosedRange<Nanoseconds>
}

/// Thrown by a probe or a sink to end a session without an error.
struct EndOfSession: Error {
    let ending: SessionEnding

    init(_ ending: SessionEnding) { self.ending = ending }
}
