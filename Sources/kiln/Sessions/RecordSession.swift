import Glibc
import KilnKernel
import KilnModel
import KilnTargets
import SystemPackage

/// One run of `kiln record`: attach, follow, name, write.
struct RecordSession {
    private let options: RecordCommand
    private let began = MonotonicClock.now()
    private let started = WallTime()
    private let events: SessionEvents
    private let directory: DirectorySink
    private let sinks: [any Sink]
    private let folding: StackFolding
    /// The command behind `--`; it waits until everything is attached.
    private let child: ChildCommand?
    /// Nil where every process is recorded.
    private let clock: ProcessCPUClock?
    private let pid: Int32
    private let ports: [UInt16]
    private let container: String?
    /// Of the process or command; "all processes" for the host.
    private let name: ProcessName

    /// How often new stacks are taken off their ring, and new processes and mappings handed to the unwinder.
    private static let drainEvery = Nanoseconds(100_000_000)
    private static let writeEvery = Nanoseconds(1_000_000_000)

    /// `process`: what --pid says.
    init(_ options: RecordCommand, target process: Target?) throws {
        try Output.requireStandardOutput()
        self.options = options
        events = try SessionEvents()
        child = try options.command.isEmpty ? nil : waitingCommand(options.command)
        pid = process?.pid ?? (options.all ? 0 : child?.pid ?? 0)
        ports = process?.ports ?? []
        container = process?.container.map { String(describing: $0) }
        if let process {
            name = ProcessName(pid: process.pid, comm: process.comm, exe: process.exe)
        } else {
            let command = options.all ? "all processes" : FilePath(options.command[0]).lastComponent?.string ?? options.command[0]
            // As the kernel names what is executed.
            name = ProcessName(pid: pid, comm: String(decoding: command.utf8.prefix(15), as: UTF8.self))
        }
        clock = try pid == 0 ? nil : cpuClock(of: pid)
        folding = StackFolding(targets: pid == 0 ? [] : [pid], options.sampling)
        if let process { try events.watch(pid: process.pid) }
        if let child { try events.watch(pid: child.pid) }
        directory = DirectorySink(directories: [try SessionDirectory(
            SessionPlace(options.output, target: fileNamePart(name.comm), started: started), withCommands: false, withSyscalls: false
        )])
        sinks = [Announcement(), directory, SampleTableSink(directory: directory)]
    }

    /// As it is called now.
    private var target: SessionRecord.Target {
        var target = SessionRecord.Target(pid: pid, exe: name.exe, comm: name.comm, ports: ports, container: container)
        target.commAtStart = name.formerComm
        return target
    }

    func run() throws {
        var begun = false
        defer { if !begun { directory.discard() } }
        do { try observe(&begun) } catch {
            child?.end()
            throw error
        }
    }

    private func observe(_ begun: inout Bool) throws {
        let watched = pid == 0 ? nil : WatchedProcesses(pids: [pid])
        let statistics = try options.programs.statistics()
        var stacks = try StackProbe(
            watching: watched, byThread: options.sampling.threads, known: options.all ? folding.code(ofProcesses: (try? ProcFS().pids()) ?? []) : [],
            mappings: folding.mappings
        )
        let children = try stacks.attach(
            frequency: options.sampling.frequency, withDescendants: options.children ? { ProcFS().descendants(of: pid) } : nil
        )
        let attached = MonotonicClock.now(), cpuBefore = (try? clock?.nanoseconds()) ?? 0
        if let child { try start(child, options.command) }
        begun = true
        let who = pid == 0 ? name.comm : sessionTitle(comm: name.comm, pid: pid, ports: ports, container: container)
        let descendants = options.children ? ", with \(children) processes that it has started before" : ""
        for sink in sinks {
            try sink.begin(SessionStart(
                titles: [who + descendants], details: ["\(options.sampling.frequency) Hz", options.length.words(options.command)]
            ))
        }
        sayWhoIsLeftOut()
        options.programs.tellBegin(stacks.loadedPrograms(), refused: [])

        var progress = Progress(attached: attached, attachTime: attached - began, written: attached)
        var failure: (any Error)?
        do { try poll(&stacks, cpuBefore, &progress) } catch {
            failure = error
            progress.ended = "error"
        }
        stacks.stop()
        // Whatever went wrong on the way, what is known is written and told.
        try finish(stacks, progress, failure)
        options.programs.tellEnd(stacks.loadedPrograms())
        _ = consume statistics
        if progress.ended == "command ended" { try passOnStatus(of: child) } else { child?.end() }
    }

    private func poll(_ stacks: inout StackProbe, _ cpuBefore: UInt64, _ progress: inout Progress) throws {
        let end = options.length.end(from: progress.attached, options.command)
        events.watch(attention: stacks.attention())
        defer { events.watch(attention: nil) }
        while progress.ended == "running" {
            let drainAt = MonotonicClock.now() + Self.drainEvery
            switch events.next(until: min(end ?? drainAt, drainAt)) {
            case .deadline, .attention: break
            case .signal(let number): progress.ended = number == SIGINT ? "interrupted" : "terminated"
            case .ended(let pid): progress.ended = pid == child?.pid ? "command ended" : "target exited"
            }
            // Gone with the process: the last reading stands.
            if let cpu = try? clock?.nanoseconds(), cpu >= cpuBefore { progress.targetCPU = Nanoseconds(cpu - cpuBefore) }
            if pid != 0 { name.refresh() }
            try stacks.drain()
            try stacks.follow(folding.mappings)
            let now = MonotonicClock.now()
            if let end, now >= end, progress.ended == "running" { progress.ended = "duration" }
            if now - progress.written >= Self.writeEvery, progress.ended == "running" {
                let record = try record(stacks, progress)
                for sink in sinks { try sink.checkpoint(SessionCheckpoint(records: [record])) }
                progress.written = now
            }
            if progress.folding.isDue, progress.ended == "running" {
                let began = MonotonicClock.now(), table = try stacks.stacks()
                let text = folding.folded(table) { comm(of: $0, in: table) }.text
                for sink in sinks { try sink.checkpoint(SessionCheckpoint(stacks: [text])) }
                progress.folding.done(since: began)
            }
        }
    }

    /// That what the target started before the session is left out, and how it isn't.
    private func sayWhoIsLeftOut() {
        guard options.pid != nil, !options.children else { return }
        let count = ProcFS().descendants(of: pid).count
        guard count > 0 else { return }
        say("kiln: pid \(pid) (\(name.comm)) has started \(count == 1 ? "a process" : "\(count) processes") before, which the session leaves out. --children records them, too.")
    }

    /// What moves while a session runs.
    private struct Progress {
        let attached: Nanoseconds
        let attachTime: Nanoseconds
        var written: Nanoseconds
        var folding = FoldingTimes()
        var targetCPU = Nanoseconds.zero
        var ended = "running"
    }

    private func record(_ stacks: borrowing StackProbe, _ progress: Progress) throws -> SessionRecord {
        var snapshot = Snapshot(time: MonotonicClock.now() - progress.attached)
        try stacks.read(into: &snapshot)
        if pid == 0 {
            snapshot.samples = snapshot.otherSamples
            snapshot.otherSamples = []
        }
        let own = OwnCost.now()
        var record = SessionRecord(
            version: kilnVersion, kernel: kernelRelease(), hook: "none", started: started.rfc3339,
            interval: Self.writeEvery.seconds, ended: progress.ended, target: target, process: 0, snapshot: snapshot,
            frequency: options.sampling.frequency, syscallName: nil,
            cost: SessionRecord.Cost(
                statistics: options.programs.bpfStatistics ? (snapshot.programs, [], 0) : nil, ownCPU: own.cpu, ownPeakRSS: own.peakRSSBytes,
                targetCPU: progress.targetCPU, attach: progress.attachTime
            )
        )
        if pid == 0 { record.samples.onCPU.expected = nil }
        return record
    }

    /// Stacks, picture and totals; `failure` is what ended the session early. What can be written still is.
    private func finish(_ stacks: borrowing StackProbe, _ progress: Progress, _ failure: (any Error)?) throws {
        var attempts = Attempts(failure)
        var table = StackTable()
        attempts.run { table = try stacks.stacks() }
        var record = try record(stacks, progress)
        let began = MonotonicClock.now()
        let (folded, names) = folding.folded(table) { comm(of: $0, in: table) }
        record.samples.onCPU.names = names
        record.samples.onCPU.processes = table.samples.map { number, samples in
            .init(pid: table.processes[number]?.pid ?? pid, comm: comm(of: number, in: table), samples: samples)
        }.sorted { ($1.samples, $0.pid) < ($0.samples, $1.pid) }
        record.cost.symbolizeS = (MonotonicClock.now() - began).seconds
        for sink in sinks {
            do { try sink.end(SessionResult(records: [record], stacks: [folded])) } catch is OutputClosed {} catch { attempts.run { throw error } }
        }
        try attempts.throwFirst()
    }

    private func comm(of process: Int, in table: StackTable) -> String { table.processes[process]?.comm ?? name.comm }
}
