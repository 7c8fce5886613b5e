import ArgumentParser
import Dispatch
import Flamegraph
import Glibc
import KilnKernel
import KilnModel
import KilnTargets
import SystemPackage

/// One run of `kiln redis`: attach, poll, print, write.
struct RedisSession {
    private let options: RedisCommand
    private let found: [Target]
    private let names: [ProcessName]
    private let rows: CommandRows
    /// When kiln started, before it looked for its targets.
    private let began: Nanoseconds
    private let started = WallTime()
    private let events: SessionEvents
    private let directory: DirectorySink
    private let folding: StackFolding
    private let clocks: [ProcessCPUClock]
    private let sinks: [any Sink]
    private let unknown: UnknownTargets
    private let kernel = kernelRelease()

    /// Why a session ends that has nothing to measure.
    private static let notRESP = "not RESP"

    /// How often new stacks are taken off their ring, and new mappings of the targets handed to the unwinder.
    private static let drainEvery = Nanoseconds(200_000_000)

    /// Everything that can be refused without touching the kernel is refused here.
    init(_ options: RedisCommand, targets: [Target], rows: CommandRows, began: Nanoseconds) throws {
        guard targets.count <= WatchedProcesses.limit else {
            throw Failure("cannot watch \(targets.count) processes: a session takes \(WatchedProcesses.limit). Start a second one.")
        }
        try Output.requireStandardOutput()
        self.options = options
        found = targets
        names = targets.map { ProcessName(pid: $0.pid, comm: $0.comm, exe: $0.exe) }
        self.rows = rows
        self.began = began
        events = try SessionEvents()
        for target in targets { try events.watch(pid: target.pid) }
        clocks = try targets.map { try cpuClock(of: $0.pid) }
        folding = StackFolding(targets: options.sampling.frequency > 0 ? targets.map(\.pid) : [], options.sampling)
        directory = DirectorySink(directories: try Self.makeDirectories(options, targets, started))
        sinks = [
            Announcement(), directory,
            options.json ? JSONSink() : TableSink(histograms: options.histograms, directory: directory),
        ]
        // On the client's side no target is a server.
        unknown = UnknownTargets(options.client ? [] : found, began: began)
    }

    /// As they are called now.
    private var targets: [Target] {
        zip(found, names).map { target, name in
            var target = target
            (target.comm, target.exe) = (name.comm, name.exe)
            return target
        }
    }

    /// A session that fails before its first row leaves no directory behind, nor does one whose reader has gone.
    func run() throws {
        var begun = false
        defer {
            let hasReader = options.parent.map { $0 == getppid() } ?? true
            if !begun || !hasReader { directory.discard() }
        }
        try observe(&begun)
    }

    private func observe(_ begun: inout Bool) throws {
        // Told now, not when the first measurement is due.
        if options.maxCost != nil { try Capabilities.requireRunStatistics(for: "--max-cost") }
        let statistics = try options.programs.statistics()
        var probes = try Probes(targets, options, rows, folding, unknown)
        let attached = MonotonicClock.now() - began
        let cpuBefore = clocks.map { (try? $0.nanoseconds()) ?? 0 }
        let audit = try options.audit ? SessionAudit(targets, options) { try probes.snapshot() } : nil
        // After the server has been asked: what the command asks for belongs to the audit.
        let boundary = try options.command.isEmpty ? nil : startedCommand(options.command)
        defer { boundary?.end() }
        begun = true
        if let boundary { try events.watch(pid: boundary.pid) }
        let rate = options.sampling.frequency > 0 ? "\(options.sampling.frequency) Hz" : "no stacks"
        for sink in sinks {
            try sink.begin(SessionStart(
                titles: targets.map { sessionTitle($0) }, details: ["hook \(probes.commands.hook.rawValue)", rate, options.length.words(options.command)]
            ))
        }
        options.programs.tellBegin(probes.loadedPrograms(), refused: probes.refused)

        // Maps start at zero when they are attached: that is the first snapshot, and the first interval misses nothing.
        var progress = Progress(
            previous: Snapshot(time: probes.commands.attachedAt), targetCPU: [UInt64](repeating: 0, count: targets.count),
            expected: [ExpectedSamples](repeating: ExpectedSamples(frequency: options.sampling.frequency), count: targets.count)
        )
        progress.first = progress.previous.time
        progress.limit = options.maxCost.map {
            CostLimit(percent: $0, frequency: options.sampling.frequency, countsSyscalls: !options.noSyscalls, now: progress.first)
        }
        var failure: (any Error)?
        do {
            try poll(&probes, boundary, attached, cpuBefore, &progress)
        } catch is OutputClosed {
            progress.ended = "output closed"
            probes.stopSampling()
        } catch {
            failure = error
            progress.ended = "error"
            probes.stopSampling()
            // The interval that was broken off is part of the session.
            progress.previous = (try? probes.snapshot()) ?? progress.previous
        }
        guard progress.ended != Self.notRESP else {
            directory.discard()
            throw ExitCode(1)  // why has been told
        }
        // Whatever went wrong on the way, what is known is told.
        let audits = failure == nil ? audit?.end { try probes.snapshot() } : nil
        try finish(probes, attached, &progress, audits, failure)
        _ = consume statistics
        if progress.ended == "command ended" { try passOnStatus(of: boundary) }
    }

    /// What moves while a session runs.
    private struct Progress {
        var previous: Snapshot
        var first = Nanoseconds.zero
        /// CPU time of each target since the session began, as last read.
        var targetCPU: [UInt64]
        var ended = "running"
        var cost = OwnCost.now()
        /// When session.json was last written.
        var recorded: Nanoseconds?
        var folding = FoldingTimes()
        /// Where --max-cost was given.
        var limit: CostLimit?
        var expected: [ExpectedSamples]
    }

    private func poll(
        _ probes: inout Probes, _ boundary: ChildCommand?, _ attached: Nanoseconds, _ cpuBefore: [UInt64],
        _ progress: inout Progress
    ) throws {
        let interval = Nanoseconds(UInt64(options.interval * 1e9))
        let end = options.length.end(from: progress.first, options.command)
        var due = progress.first + interval
        var alive = Set(targets.map(\.pid))
        events.watch(attention: probes.stacks?.attention())
        defer { events.watch(attention: nil) }
        while progress.ended == "running" {
            let wanted = min(due, end ?? due, progress.limit?.due ?? due)
            switch events.next(until: min(wanted, MonotonicClock.now() + Self.drainEvery)) {
            case .deadline, .attention: break
            case .signal(let number): progress.ended = number == SIGINT ? "interrupted" : "terminated"
            case .ended(let pid) where pid == boundary?.pid: progress.ended = "command ended"
            case .ended(let pid):
                alive.remove(pid)
                if alive.isEmpty { progress.ended = "target exited" }
            }
            for (index, clock) in clocks.enumerated() where alive.contains(targets[index].pid) {
                // Gone with the process: the last reading stands.
                if let cpu = try? clock.nanoseconds(), cpu >= cpuBefore[index] { progress.targetCPU[index] = cpu - cpuBefore[index] }
            }
            for name in names { name.refresh() }
            try thin(&probes, &progress)
            try probes.stacks?.drain()
            try probes.stacks?.follow(folding.mappings)
            let now = MonotonicClock.now()
            if let end, now >= end, progress.ended == "running" { progress.ended = "duration" }
            if progress.ended == "running", try unknown.tell(at: now, attachedAt: probes.commands.attachedAt, { try probes.snapshot() }), boundary == nil, !options.sampling.isAskedFor {
                progress.ended = Self.notRESP
                return
            }
            if progress.ended == "running", options.sampling.frequency > 0, progress.folding.isDue { try writeStacks(probes, &progress) }
            guard now >= due || progress.ended != "running" else { continue }
            if progress.ended != "running" { probes.stopSampling() }
            try report(probes, attached, &progress)
            probes.encrypted.tellUnseen(in: progress.previous)
            while due <= now { due = due + interval }
        }
    }

    /// Give up what --max-cost forbids.
    private func thin(_ probes: inout Probes, _ progress: inout Progress) throws {
        let step = try progress.limit?.measure(began: progress.first) {
            CostLimit.Reading(programs: probes.runTime, targets: Nanoseconds(progress.targetCPU.reduce(0, &+)))
        }
        switch step {
        case nil: break
        case .frequency(_, let frequency):
            try probes.sample(at: frequency)
            for index in progress.expected.indices { progress.expected[index].change(to: frequency, at: Nanoseconds(progress.targetCPU[index])) }
        case .withoutSyscalls: try probes.stopSyscalls()
        case .end: if progress.ended == "running" { progress.ended = "cost limit" }
        }
    }

    /// How old session.json may be while the session goes on, or an interval where that is longer. Writing it took a quarter of kiln's own
    /// time when each interval did.
    private static let recordEvery = Nanoseconds(10_000_000_000)

    /// One interval: rows, then the screen.
    private func report(_ probes: borrowing Probes, _ attached: Nanoseconds, _ progress: inout Progress) throws {
        let snapshot = try probes.snapshot()
        let interval = snapshot.since(progress.previous)
        let time = WallTime(), cost = OwnCost.now(), ownCPU = cost.cpu - progress.cost.cpu
        // Whether it can be printed or not: totals are what the rows add up to.
        progress.previous = snapshot
        progress.cost = cost
        let targets = targets
        // Intervals are never as long to the microsecond.
        if progress.recorded.map({ snapshot.time + Nanoseconds(interval.time.count / 2) >= $0 + Self.recordEvery }) ?? true {
            let records = targets.indices.map { record($0, probes, snapshot, attached, progress) }
            for sink in sinks { try sink.checkpoint(SessionCheckpoint(records: records)) }
            progress.recorded = snapshot.time
        }
        let lines = try targets.enumerated().map { try IntervalLines(interval, time: time, target: $1, process: $0) }
        for sink in sinks {
            try sink.interval(SessionInterval(
                targets: targets, counts: interval, lines: lines, time: time, ownCPU: ownCPU, ownPeakRSS: cost.peakRSSBytes
            ))
        }
    }

    /// What a session that is killed leaves of its stacks.
    private func writeStacks(_ probes: borrowing Probes, _ progress: inout Progress) throws {
        let began = MonotonicClock.now(), table = try probes.stacks?.stacks() ?? StackTable()
        let stacks = found.indices.map { process in folding.folded(table) { root(of: $0, in: table, target: process) }.text }
        for sink in sinks { try sink.checkpoint(SessionCheckpoint(stacks: stacks)) }
        progress.folding.done(since: began)
    }

    /// Stacks, picture and totals; `failure` is what ended the session early. What can be written still is.
    private func finish(
        _ probes: borrowing Probes, _ attached: Nanoseconds, _ progress: inout Progress, _ audits: [Audit?]?, _ failure: (any Error)?
    ) throws {
        var attempts = Attempts(failure)
        var stacks = StackTable()
        attempts.run { stacks = try probes.stacks?.stacks() ?? stacks }
        var records = found.indices.map { process in
            var record = record(process, probes, progress.previous, attached, progress)
            record.audit = audits?[process]?.record
            return record
        }
        // Names take their time.
        for sink in sinks { attempts.run { try sink.checkpoint(SessionCheckpoint(records: records)) } }
        var folded: [[UInt8]] = []
        for process in records.indices where options.sampling.frequency > 0 {
            let began = MonotonicClock.now()
            let (text, names) = folding.folded(stacks) { root(of: $0, in: stacks, target: process) }
            records[process].samples.onCPU.names = names
            records[process].cost.symbolizeS = (MonotonicClock.now() - began).seconds
            folded.append(text)
        }
        // Without JSON losses are printed with the session.
        let losses = options.json ? records.first.map { SessionText($0).losses } : nil
        options.programs.tellEnd(probes.loadedPrograms(), losses: losses ?? [])
        for sink in sinks {
            do { try sink.end(SessionResult(records: records, stacks: folded)) } catch is OutputClosed {} catch { attempts.run { throw error } }
        }
        try attempts.throwFirst()
        if unknown.tellEnd(progress.previous) { throw ExitCode(1) }
        for (process, target) in targets.enumerated() where options.client && !progress.previous.commands.keys.contains(where: { $0.process == process }) {
            throw Failure("pid \(target.pid) (\(target.comm)) sent no Redis command. Give the --pid of a program that asks Redis, or watch longer.")
        }
    }

    private func record(
        _ process: Int, _ probes: borrowing Probes, _ snapshot: Snapshot, _ attached: Nanoseconds, _ progress: Progress
    ) -> SessionRecord {
        var total = snapshot
        total.time = snapshot.time - progress.first
        let own = OwnCost.now(), target = targets[process]
        let calls = total.commands.values.reduce(UInt64(0)) { $0 + $1.calls }
        var described = SessionRecord.Target(
            pid: target.pid, exe: target.exe, comm: target.comm, ports: target.ports,
            container: target.container.map { String(describing: $0) }
        )
        described.commAtStart = names[process].formerComm
        let cost = SessionRecord.Cost(
            statistics: options.programs.bpfStatistics ? (total.programs, probes.commandPrograms, calls) : nil, ownCPU: own.cpu,
            ownPeakRSS: own.peakRSSBytes, targetCPU: Nanoseconds(progress.targetCPU[process]), attach: attached
        )
        var record = SessionRecord(
            version: kilnVersion, kernel: kernel, hook: probes.commands.hook.rawValue, side: probes.commands.side,
            started: started.rfc3339,
            interval: options.interval, ended: progress.ended, target: described, process: process, snapshot: total,
            frequency: options.sampling.frequency, syscallName: options.noSyscalls ? nil : { syscallName($0) },
            tlsLibrary: probes.commands.tlsLibraries[process], cost: cost
        )
        record.costLimit = progress.limit?.record
        record.samples.onCPU.expected = progress.expected[process].count(at: Nanoseconds(progress.targetCPU[process]))
        return record
    }

    /// Below which name the stacks of a process stand in a target's picture; nil: they are of another one. What the server
    /// forks (BGSAVE) runs its functions too, and must not look like it.
    private func root(of process: Int, in stacks: StackTable, target: Int) -> String? {
        if process == target { return names[target].comm }
        guard let sampled = stacks.processes[process], sampled.family == target else { return nil }
        return "\(sampled.comm) (child)"
    }

    private static func makeDirectories(
        _ options: RedisCommand, _ targets: [Target], _ started: WallTime
    ) throws -> [SessionDirectory] {
        let names = targets.map { fileNamePart($0.comm) }
        let place = try SessionPlace(options.output, target: names[0], started: started)
        guard targets.count > 1 else { return [try SessionDirectory(place, withSyscalls: !options.noSyscalls)] }
        var made: [SessionDirectory] = []
        do {
            for (target, name) in zip(targets, names) {
                let directory = place.path.appending("\(name)-\(target.pid)")
                made.append(try SessionDirectory(directory, within: place, withSyscalls: !options.noSyscalls))
            }
        } catch {
            for directory in made.reversed() { directory.discard() }
            throw error
        }
        return made
    }
}

/// What is attached during a session. Detached when it goes.
private struct Probes: ~Copyable {
    let commands: CommandProbe
    private let unknown: UnknownTargets
    var encrypted: EncryptedConnections
    /// What this kernel didn't allow, and why.
    let refused: [String]
    var syscalls: SyscallProbe?
    var stacks: StackProbe?

    init(_ targets: [Target], _ options: RedisCommand, _ rows: CommandRows, _ folding: StackFolding, _ unknown: UnknownTargets) throws {
        self.unknown = unknown
        guard let watched = WatchedProcesses(pids: targets.map(\.pid), knownServers: targets.filter(\.role.speaksRESP).map(\.pid)) else {
            throw Failure("a session takes 1 to \(WatchedProcesses.limit) processes.")
        }
        let encrypted = EncryptedConnections(targets, follows: !options.noTLS)
        // Loading takes a hundred milliseconds, most of it in the verifier, attaching a few: all is loaded before anything counts. Objects by two
        // threads, not by more: while one is loaded it takes some 10 MB, for the kernel's types. The probes of TLS are verified by a third, and
        // a fourth gives the unwinder its tables, and waits most of the time.
        let queue = DispatchQueue(label: "loading")
        let loadingStacks = Meanwhile(on: queue) { () throws(KernelError) -> StackProbe? in
            options.sampling.frequency > 0
                ? try StackProbe(watching: watched, byThread: options.sampling.threads, mappings: folding.mappings) : nil
        }
        let turns = try Turns()
        let loadingSyscalls = Meanwhile(on: queue) { () throws(KernelError) -> SyscallProbe? in
            options.noSyscalls ? nil : try SyscallProbe(watching: watched, turns: turns)
        }
        var refused: [String] = []
        let commands = try CommandProbe.attach(
            watching: watched, side: options.client ? .client : .server, forced: options.target.hook, tls: encrypted.libraries,
            beside: queue, rows: rows, turns: turns,
            openSockets: { try targets.flatMap { try $0.openSockets() } },
            refused: { refused.append(refusal(of: $0, $1)) },
            refusedTLS: { refused.append(encrypted.refusal(of: $0, $1)) }
        )
        refused += refusal(ofPreemptionOff: commands.refusedPreemptionOff)
        var syscalls = try loadingSyscalls.outcome(), stacks = try loadingStacks.outcome()
        try syscalls?.attach()
        try stacks?.attach(frequency: options.sampling.frequency)
        self.commands = commands
        self.encrypted = encrypted
        self.refused = refused
        self.syscalls = syscalls
        self.stacks = stacks
    }

    /// No more samples: what is read afterwards belongs together.
    mutating func stopSampling() { stacks?.stop() }

    /// From now on so many samples a second.
    mutating func sample(at frequency: Int) throws { try stacks?.sample(at: frequency) }

    mutating func stopSyscalls() throws { try syscalls?.detach() }

    var commandPrograms: [String] { commands.programNames }

    func loadedPrograms() -> [LoadedProgram] {
        commands.loadedPrograms() + (syscalls?.loadedPrograms() ?? []) + (stacks?.loadedPrograms() ?? [])
    }

    /// Of all programs, by the kernel's statistics, where they are on.
    var runTime: Nanoseconds {
        var programs = Array(commands.programs().values)
        if let more = syscalls?.programs() { programs += more.values }
        if let more = stacks?.programs() { programs += more.values }
        return programs.reduce(.zero) { $0 + $1.runTime }
    }

    func snapshot() throws -> Snapshot {
        var snapshot = Snapshot(time: MonotonicClock.now())
        try commands.read(into: &snapshot)
        try syscalls?.read(into: &snapshot)
        try stacks?.read(into: &snapshot)
        unknown.leaveOutOtherProtocols(of: &snapshot)
        return snapshot
    }
}
