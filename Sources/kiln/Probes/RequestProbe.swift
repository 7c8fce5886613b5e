import ArgumentParser
import KilnKernel
import KilnModel
import KilnTargets

/// Requests of the targets: counts, latencies and waits by command; with a trace, each request.
final class RequestProbe: Probe {
    /// Single requests: which are sent, and who gets them, a batch at a time.
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
    private let trace: Trace?
    private let unknown: UnknownTargets
    /// Whether a session ends that has no request to measure.
    private let isSolePurpose: Bool
    private var encrypted: EncryptedConnections
    private var probe: CommandProbe?
    private var records: TraceRecords?
    private(set) var refusals: [String] = []

    /// - Parameters:
    ///   - hook: The only hook that may be taken; nil: the first that this kernel allows.
    ///   - followsTLS: false leaves encrypted connections alone; they are counted as unseen.
    ///   - rows: The map of the histograms, made already.
    ///   - turns: Shared with the probe that counts system calls.
    ///   - began: When kiln started.
    ///   - isSolePurpose: The session ends early where no target turns out to speak the protocol.
    init(
        _ wire: WireProtocol, _ targets: [Target], watched: WatchedProcesses, side: Side = .server, hook: CommandHook?, followsTLS: Bool = true, rows: CommandRows? = nil,
        turns: Turns? = nil, trace: Trace? = nil, began: Nanoseconds, isSolePurpose: Bool
    ) {
        self.wire = wire
        self.targets = targets
        self.watched = watched
        self.side = side
        self.hook = hook
        self.rows = rows
        self.turns = turns
        self.trace = trace
        self.isSolePurpose = isSolePurpose
        encrypted = EncryptedConnections(targets, follows: followsTLS)
        // On the client's side no target is a server.
        unknown = UnknownTargets(wire, side == .client ? [] : targets, began: began)
    }

    var details: [String] { (probe?.hook).map { ["hook \($0.rawValue)"] } ?? [] }

    func load() throws(KernelError) { try load(firstOf: hook.map { [$0] } ?? CommandHook.allCases) }

    private func load(firstOf hooks: [CommandHook]) throws(KernelError) {
        let loaded = try CommandProbe.load(
            watching: watched, objects: wire.objects, side: side, firstOf: hooks, trace: trace?.filter, tls: encrypted.libraries, rows: rows, turns: turns,
            refused: { refusals.append(refusal(of: $0, $1)) }, refusedTLS: { refusals.append(encrypted.refusal(of: $0, $1)) }
        )
        if let trace { records = try TraceRecords(of: loaded, requestBytes: trace.filter.requestBytes, payload: wire.payload) }
        probe = consume loaded
    }

    /// A hook may be loaded and not attached: then the next one is taken.
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
        if try unknown.tell(at: MonotonicClock.now(), attachedAt: probe?.attachedAt ?? .zero, { try snapshot() }), isSolePurpose {
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
        unknown.leaveOutOtherProtocols(of: &snapshot)
        encrypted.tellUnseen(in: snapshot)
    }

    func describe(_ record: inout SessionRecord, at moment: SessionMoment) {
        guard let hook = probe?.hook, let programs = probe?.programNames else { return }
        record.addRequests(
            of: moment.snapshot, process: moment.process, hook: hook.rawValue, side: side, tlsLibrary: probe?.tlsLibraries[moment.process],
            programs: programs
        )
    }

    /// Counters of a session that isn't a trace go on: the audit compares them with the server's.
    func stop() { if trace != nil { detach() } }

    func conclude(_ total: Snapshot) throws {
        if unknown.tellEnd(total) { throw ExitCode(1) }  // it has said why
        for (process, target) in targets.enumerated() where side == .client && !total.commands.keys.contains(where: { $0.process == process }) {
            throw Failure("pid \(target.pid) (\(target.comm)) sent no \(wire.title) command. Give the --pid of a program that asks \(wire.title), or watch longer.")
        }
    }

    func detach() { probe?.detach() }

    func loadedPrograms() -> [LoadedProgram] { probe?.loadedPrograms() ?? [] }
}
