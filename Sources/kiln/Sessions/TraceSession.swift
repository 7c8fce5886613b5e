import ArgumentParser
import Glibc
import KilnKernel
import KilnModel
import KilnTargets

/// One run of `kiln trace redis`: attach, take records off the ring, print.
struct TraceSession {
    private let options: TraceRedisCommand
    private let targets: [Target]
    private let events: SessionEvents
    private let output = Output.standardOutput
    /// When kiln started.
    private let began = MonotonicClock.now()

    /// How often the ring is looked at: it holds 8 MiB, which is a million requests a second and more.
    private static let drainEvery = Nanoseconds(20_000_000)

    init(_ options: TraceRedisCommand, targets: [Target]) throws {
        guard targets.count <= WatchedProcesses.limit else {
            throw Failure("cannot watch \(targets.count) processes: a trace takes \(WatchedProcesses.limit). Start a second one.")
        }
        try Output.requireStandardOutput()
        self.options = options
        self.targets = targets
        events = try SessionEvents()
        for target in targets { try events.watch(pid: target.pid) }
    }

    func run() throws {
        guard let watched = WatchedProcesses(pids: targets.map(\.pid), knownServers: targets.filter(\.role.speaksRESP).map(\.pid)) else {
            throw Failure("a trace takes 1 to \(WatchedProcesses.limit) processes.")
        }
        let statistics = try options.programs.statistics()
        var encrypted = EncryptedConnections(targets, follows: true)
        var refused: [String] = []
        var probe = try TraceProbe.attach(
            watching: watched, forced: options.target.hook, filter: options.filter, tls: encrypted.libraries,
            openSockets: { try targets.flatMap { try $0.openSockets() } },
            refused: { refused.append(refusal(of: $0, $1)) },
            refusedTLS: { refused.append(encrypted.refusal(of: $0, $1)) }
        )
        refused += refusal(ofPreemptionOff: probe.refusedPreemptionOff)
        let boundary = try options.command.isEmpty ? nil : startedCommand(options.command)
        defer { boundary?.end() }
        if let boundary { try events.watch(pid: boundary.pid) }
        Announcement().begin(SessionStart(
            titles: targets.map { sessionTitle($0) }, details: ["hook \(probe.hook.rawValue)", options.length.words(options.command)]
        ))
        options.programs.tellBegin(probe.loadedPrograms(), refused: refused)
        var progress = Progress()
        var failure: (any Error)?
        do {
            try poll(&probe, boundary, &progress)
        } catch is OutputClosed {} catch let told as ExitCode { throw told } catch { failure = error }
        options.programs.tellEnd(probe.loadedPrograms())
        do { try tellEnd(probe, &encrypted, lines: progress.lines) } catch { failure = failure ?? error }
        _ = consume statistics
        if let failure { throw failure }
        if progress.commandEnded { try passOnStatus(of: boundary) }
    }

    /// What moves while a trace runs.
    private struct Progress {
        /// Printed.
        var lines = 0
        var commandEnded = false
    }

    private func poll(_ probe: inout TraceProbe, _ boundary: ChildCommand?, _ progress: inout Progress) throws {
        let end = options.length.end(from: probe.attachedAt, options.command)
        let text = TraceText(options, targets: targets)
        let unknown = UnknownTargets(targets, began: began)
        var alive = Set(targets.map(\.pid))
        var running = true, more = false
        while running {
            let due = MonotonicClock.now() + (more ? .zero : Self.drainEvery)
            switch events.next(until: min(due, end ?? due)) {
            case .deadline, .attention: break
            case .signal: running = false
            case .ended(let pid) where pid == boundary?.pid:
                running = false
                progress.commandEnded = true
            case .ended(let pid):
                alive.remove(pid)
                running = !alive.isEmpty
            }
            let now = MonotonicClock.now()
            if let end, now >= end { running = false }
            if running, try unknown.tell(at: now, attachedAt: probe.attachedAt, { try snapshot(of: probe) }), boundary == nil { throw ExitCode(1) }
            if !running { probe.stop() }
            repeat {
                let requests = try probe.drain()
                more = requests.count >= TraceProbe.batch
                let wanted = requests.prefix(options.limit.map { $0 - progress.lines } ?? requests.count)
                if !wanted.isEmpty { try text.write(wanted, to: output) }
                progress.lines += wanted.count
                if let limit = options.limit, progress.lines >= limit { return }
            } while !running && more
        }
    }

    private func snapshot(of probe: borrowing TraceProbe) throws -> Snapshot {
        var snapshot = Snapshot(time: MonotonicClock.now())
        try probe.read(into: &snapshot)
        return snapshot
    }

    /// What is missing, with its name, on standard error: lines are lines of requests. In JSON it is their last line, too: who reads
    /// them may see nothing else.
    private func tellEnd(_ probe: borrowing TraceProbe, _ encrypted: inout EncryptedConnections, lines: Int) throws {
        let snapshot = try snapshot(of: probe)
        encrypted.tellUnseen(in: snapshot)
        let calls = snapshot.commands.values.reduce(UInt64(0)) { $0 + $1.calls }
        let text = IntervalText(interval: snapshot, isTotal: true, tableRows: Output.standardOutput.tableRows)
        say("\(grouped(UInt64(lines))) lines, \(grouped(calls)) requests read; \(text.lostText)")
        for name in snapshot.losses.keys.sorted() { say("  \(name): \(lossMeaning(name) ?? "")") }
        if options.json {
            let end = TraceEnd(
                duration: snapshot.time - probe.attachedAt, traced: UInt64(lines), requests: calls, lost: snapshot.losses
            )
            do { try output.write(jsonLines([end])) } catch is OutputClosed {}
        }
    }
}
