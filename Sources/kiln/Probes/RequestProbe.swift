import ArgumentParser
import KilnKernel
import KilnModel
import KilnTargets

/// Observes requests of the targets: counts, latencies and waits by command; with a trace, each request.
final class RequestProbe: Probe {
    /// A trace: a filter for the requests to emit, and a function that receives them in batches.
    struct Trace {
        let filter: TraceFilter
        let deliver: ([TracedRequest]) throws -> Void
    }

    static let needs = Capabilities.hooks + [Capabilities.singleRequests, Capabilities.clientSide]

    private let wire: WireProtocol
    private let targets: [Target]
    private let watched: WatchedProcesses
    private let side: Side
    private let hook: CommandHook?
    private let rows: CommandRows?
    private let turns: Turns?
    private let work: WorkMaps?
    private let trace: Trace?
    /// A part of the requests may be left out.
    private let watchVaries: Bool
    private let unknown: UnknownTargets
    /// The session ends if there are no requests to measure.
    private let isSolePurpose: Bool
    private var encrypted: EncryptedConnections
    private var probe: CommandProbe?
    private var records: TraceRecords?
    private(set) var refusals: [String] = []

    /// - Parameters:
    ///   - hook: The only hook to use; nil: the first one that this kernel allows.
    ///   - followsTLS: False ignores encrypted connections; they are counted as lost.
    ///   - rows: The map of histograms, if it was created already.
    ///   - turns: Shared with the probe that counts system calls.
    ///   - work: Shared with the probe of stacks.
    ///   - watchVaries: A part of the requests may be left out.
    ///   - began: The time of kiln's start.
    ///   - isSolePurpose: The session ends early if no target speaks the protocol.
    init(
        _ wire: WireProtocol, _ targets: [Target], watched: WatchedProcesses, side: Side = .server, hook: CommandHook?, followsTLS: Bool = true,
        rows: CommandRows? = nil,
        turns: Turns? = nil, work: WorkMaps? = nil, trace: Trace? = nil, watchVaries: Bool = false, began: Nanoseconds,
        isSolePurpose: Bool
    ) {
        self.wire = wire
        self.targets = targets
        self.watched = watched
        self.side = side
        self.hook = hook
        self.rows = rows
        self.turns = turns
        self.work = work
        self.trace = trace
        self.watchVaries = watchVaries
        self.isSolePurpose = isSolePurpose
        encrypted = EncryptedConnections(targets, follows: followsTLS)
        // On the client's side the targets are not servers.
        unknown = UnknownTargets(wire, side == .client ? [] : targets, began: began)
    }

    var details: [String] { (probe?.hook).map { ["hook \($0.rawValue)"] } ?? [] }

    func load() throws(KernelError) { try load(firstOf: hook.map { [$0] } ?? CommandHook.allCases) }

    private func load(firstOf hooks: [CommandHook]) throws(KernelError) {
        let loaded = try CommandProbe.load(
            watching: watched, objects: wire.objects, side: side, firstOf: hooks, trace: trace?.filter, tls: encrypted.libraries, rows: rows, turns: turns,
            work: work, watchVaries: watchVaries, refused: { refusals.append(refusal(of: $0, $1)) },
            refusedTLS: { refusals.append(encrypted.refusal(of: $0, $1)) }
        )
        if let trace { records = try TraceRecords(of: loaded, requestBytes: trace.filter.requestBytes, payload: wire.payload) }
        probe = consume loaded
    }

    /// Attaches the hook. If a hook loads but can't be attached, the next one is used.
    func attach() throws -> Nanoseconds {
        let targets = targets
        while let attempt = probe?.hook {
            do {
                try probe?.attach(openSockets: { try targets.flatMap { try $0.openSockets() } }) { refusals.append(encrypted.refusal(of: $0, $1)) }
                break
            } catch let error as KernelError {
                let rest = CommandHook.allCases.drop { $0 != attempt }.dropFirst()
                guard hook == nil, !rest.isEmpty else { throw error }
                refusals.append(refusal(of: attempt, error))
                probe = nil
                try load(firstOf: Array(rest))
            }
        }
        refusals += refusal(ofPreemptionOff: probe?.refusedPreemptionOff ?? nil)
        return probe?.attachedAt ?? .zero
    }

    func drain() throws -> Bool {
        if try unknown.report(at: MonotonicClock.now(), attachedAt: probe?.attachedAt ?? .zero, { try snapshot() }), isSolePurpose {
            throw EndOfSession(.nothingToMeasure)
        }
        guard let trace, let requests = try records?.drain() else { return false }
        if !requests.isEmpty { try trace.deliver(requests) }
        return requests.count >= TraceRecords.batch
    }

    private func snapshot() throws -> Snapshot {
        var snapshot = Snapshot(time: MonotonicClock.now())
        try read(into: &snapshot)
        return snapshot
    }

    func read(into snapshot: inout Snapshot) throws {
        try probe?.read(into: &snapshot)
        if let work { try probe?.set(work.selection.thresholds(of: snapshot)) }
        unknown.leaveOutOtherProtocols(of: &snapshot)
        encrypted.reportUnseen(in: snapshot)
    }

    func commandNames() throws -> [Int: CommandName]? { work == nil ? nil : try probe?.rowNames() }

    func costKind(of program: String) -> WritableKeyPath<Budget.Reading, ProgramCounts>? { \.requests }

    // ---- a part of the requests

    /// Begins a slice, see `CommandProbe.beginSlice`.
    func beginSlice(_ level: WatchLevel) { probe?.beginSlice(share: level.share, isSampled: !level.isExact) }

    /// Receives are watched from now on. Returns when that was.
    func open() throws -> Nanoseconds {
        let now = MonotonicClock.now()
        try turns?.watch(from: now)
        probe?.open()
        return now
    }

    /// No more receives are watched.
    func close() throws {
        probe?.close()
        try turns?.watch(from: nil)
    }

    func pause() { probe?.pause() }

    func unpause() throws { try probe?.unpause() }

    /// Nothing is left out any more, or never was.
    func watchThroughout() throws { try turns?.watch(from: .zero) }

    func commands() throws -> [CommandKey: CommandCounts] { try snapshot().commands }

    // ----

    func describe(_ record: inout SessionRecord, at moment: SessionMoment) {
        guard let hook = probe?.hook, let programs = probe?.programNames else { return }
        record.addRequests(
            of: moment.snapshot, process: moment.process, hook: hook.rawValue, side: side, tlsLibrary: probe?.tlsLibraries[moment.process],
            programs: programs
        )
        record.addKeptCalls(work?.selection ?? CallSelection(), of: moment.snapshot, process: moment.process)
    }

    /// The counters of a session without a trace go on, because the audit compares them with the server's.
    func stop() { if trace != nil { detach() } }

    func conclude(_ total: Snapshot) throws {
        if unknown.reportAtEnd(total) { throw ExitCode(1) }  // the reason is printed
        for (process, target) in targets.enumerated() where side == .client && !total.commands.keys.contains(where: { $0.process == process }) {
            throw Failure("pid \(target.pid) (\(target.comm)) sent no \(wire.title) command. Give the --pid of a client of \(wire.title), or watch longer.")
        }
    }

    func detach() { probe?.detach() }

    func loadedPrograms() -> [LoadedProgram] { probe?.loadedPrograms() ?? [] }
}
