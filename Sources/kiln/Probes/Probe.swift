import KilnKernel
import KilnModel

/// One kind of observation: requests, system calls, stacks. A session has a list of probes and knows nothing else of them.
///
/// The session calls them in this order:
///
///     load        all probes at once, on two threads
///     attach      one after the other, in the order of the list
///     begin       everything is attached
///     drain, read, describe, shed     again and again
///     stop        one after the other
///     drain       until nothing is left
///     read, finish, describe
///     conclude    the sinks have the result
///     detach
///
/// A probe implements what it needs. To add one, write a class and put it into the list of a subcommand.
protocol Probe: AnyObject {
    /// What it needs of the host beside `Capabilities.host`; `kiln doctor` tries it.
    static var needs: [Capabilities.Entry] { get }
    /// Make the maps and have the programs verified. Nothing is attached. May be called on another thread than the rest.
    func load() throws(KernelError)
    /// Attach. Returns the moment from which the probe counts.
    func attach() throws -> Nanoseconds
    /// How it observes, in short phrases (`hook socket`, `99 Hz`), once it is attached.
    var details: [String] { get }
    /// What this kernel refused while something else could be taken, a line each.
    var refusals: [String] { get }
    /// Every probe is attached: the session begins.
    func begin() throws
    /// Becomes readable when `drain` should not wait.
    var attention: Int32? { get }
    /// Take what the kernel has sent, and give the kernel what it needs; several times a second. Returns whether there is more.
    ///
    /// May throw `EndOfSession`.
    func drain() throws -> Bool
    /// Add the numbers since `attach` to a snapshot.
    func read(into snapshot: inout Snapshot) throws
    /// All stacks so far; nil from a probe that has none.
    func stacks() throws -> StackTable?
    /// Add to the record of a target what the probe knows of it. `moment.snapshot` has been read by all probes.
    func describe(_ record: inout SessionRecord, at moment: SessionMoment)
    /// Give something up, so that the session costs less (`--max-cost`). Returns what, as a phrase; nil: there is nothing left to give up.
    ///
    /// - Parameter cpu: The CPU time of each target since the session began.
    func shed(at cpu: [Nanoseconds]) throws -> String?
    /// The session has ended. No more samples and records: what is read from now on belongs together. Counters may go on.
    func stop()
    /// The last snapshot is read. Not called where an error has ended the session.
    func finish()
    /// The session is written. Throws if it did not find what it was asked for.
    func conclude(_ total: Snapshot) throws
    /// Detach everything. What was counted stays.
    func detach()
    /// The programs in the kernel, with the kernel's run-time statistics of each.
    func loadedPrograms() -> [LoadedProgram]
}

/// The kinds of observation that there are, for `kiln doctor`.
let probeTypes: [any Probe.Type] = [RequestProbe.self, SyscallCounting.self, StackSampling.self, RedisAudit.self]

extension Probe {
    static var needs: [Capabilities.Entry] { [] }
    var details: [String] { [] }
    var refusals: [String] { [] }
    func begin() throws {}
    var attention: Int32? { nil }
    func drain() throws -> Bool { false }
    func stacks() throws -> StackTable? { nil }
    func describe(_ record: inout SessionRecord, at moment: SessionMoment) {}
    func shed(at cpu: [Nanoseconds]) throws -> String? { nil }
    func stop() {}
    func finish() {}
    func conclude(_ total: Snapshot) throws {}
    func detach() {}
    func loadedPrograms() -> [LoadedProgram] { [] }
}

/// What a record of one target is made of.
struct SessionMoment {
    /// The growth of everything since the session began.
    let snapshot: Snapshot
    /// The index of the target in the session.
    let process: Int
    /// The target's CPU time since the session began.
    let cpu: Nanoseconds
}

/// Ends a session without an error, thrown by a probe or a sink.
struct EndOfSession: Error {
    let ending: SessionEnding

    init(_ ending: SessionEnding) { self.ending = ending }
}
