import Glibc
import KilnKernel
import KilnModel
import KilnTargets
import SystemPackage

/// One run of `kiln record`: attach, follow, name, write.
struct RecordSession {
    private let options: RecordCommand
    private let began = Snapshot.now()
    private let started = WallTime()
    private let events: SessionEvents
    private let directory: SessionDirectory
    private let folding: StackFolding
    /// The command behind `--`; it waits until everything is attached.
    private let child: ChildCommand?
    /// Nil where every process is recorded.
    private let clock: ProcessCPUClock?
    private let target: SessionRecord.Target
    private let output = Output.standardOutput

    /// How often new stacks are taken off their ring, and new processes and mappings handed to the unwinder.
    private static let drainEvery = Nanoseconds(100_000_000)
    private static let writeEvery = Nanoseconds(1_000_000_000)

    /// `process`: what --pid says.
    init(_ options: RecordCommand, target process: Target?) throws {
        self.options = options
        events = try SessionEvents()
        child = try options.command.isEmpty ? nil : waitingCommand(options.command)
        if let process {
            target = SessionRecord.Target(
                pid: process.pid, exe: process.exe, comm: process.comm, ports: process.ports,
                container: process.container.map { String(describing: $0) }
            )
        } else {
            let name = options.all ? "all processes" : FilePath(options.command[0]).lastComponent?.string ?? options.command[0]
            target = SessionRecord.Target(pid: options.all ? 0 : child?.pid ?? 0, exe: nil, comm: name, ports: [], container: nil)
        }
        clock = try target.pid == 0 ? nil : cpuClock(of: target.pid)
        folding = StackFolding(targets: target.pid == 0 ? [] : [target.pid], options.sampling)
        if let process { try events.watch(pid: process.pid) }
        if let child { try events.watch(pid: child.pid) }
        let name = String(target.comm.map { $0.isLetter || $0.isNumber || $0 == "-" ? $0 : "_" })
        directory = try SessionDirectory(
            SessionPlace(options.output, target: name, started: started), withCommands: false, withSyscalls: false
        )
    }

    func run() throws {
        var begun = false
        do {
            try observe(&begun)
        } catch {
            child?.end()
            if !begun { directory.discard() }
            throw error
        }
    }

    private func observe(_ begun: inout Bool) throws {
        let watched = target.pid == 0 ? nil : WatchedProcesses(pids: [target.pid])
        let statistics = try options.programs.statistics()
        var stacks = try StackProbe(
            watching: watched, byThread: options.sampling.threads, known: options.all ? folding.code(ofProcesses: (try? ProcFS().pids()) ?? []) : [],
            mappings: folding.mappings
        )
        try stacks.attach(frequency: options.sampling.frequency)
        let attached = Snapshot.now(), cpuBefore = (try? clock?.nanoseconds()) ?? 0
        if let child { try start(child, options.command) }
        begun = true
        let who = target.pid == 0 ? target.comm : sessionTitle(comm: target.comm, pid: target.pid, ports: target.ports, container: target.container)
        say("kiln \(kilnVersion): attached to \(who); \(options.sampling.frequency) Hz, \(options.length.words(options.command))")

        options.programs.tellBegin(stacks.loadedPrograms(), refused: [])

        var progress = Progress(attached: attached, attachTime: attached - began, written: attached)
        let end = options.length.end(from: attached, options.command)
        events.watch(attention: stacks.attention())
        defer { events.watch(attention: nil) }
        while progress.ended == "running" {
            let drainAt = Snapshot.now() + Self.drainEvery
            switch events.next(until: min(end ?? drainAt, drainAt)) {
            case .deadline, .attention: break
            case .signal(let number): progress.ended = number == SIGINT ? "interrupted" : "terminated"
            case .ended(let pid): progress.ended = pid == child?.pid ? "command ended" : "target exited"
            }
            // Gone with the process: the last reading stands.
            if let cpu = try? clock?.nanoseconds(), cpu >= cpuBefore { progress.targetCPU = Nanoseconds(cpu - cpuBefore) }
            try stacks.drain()
            try stacks.follow(folding.mappings)
            let now = Snapshot.now()
            if let end, now >= end, progress.ended == "running" { progress.ended = "duration" }
            if now - progress.written >= Self.writeEvery, progress.ended == "running" {
                try directory.write(try record(stacks, progress))
                progress.written = now
            }
        }
        stacks.stop()
        try finish(stacks, progress)
        options.programs.tellEnd(stacks.loadedPrograms())
        _ = consume statistics
        if let status = child?.end(), status != 0, progress.ended == "command ended" {
            say("kiln: the command ended with status \(status)")
        }
    }

    /// What moves while a session runs.
    private struct Progress {
        let attached: Nanoseconds
        let attachTime: Nanoseconds
        var written: Nanoseconds
        var targetCPU = Nanoseconds.zero
        var ended = "running"
    }

    private func record(_ stacks: borrowing StackProbe, _ progress: Progress) throws -> SessionRecord {
        var snapshot = Snapshot(time: Snapshot.now() - progress.attached)
        try stacks.read(into: &snapshot)
        if target.pid == 0 {
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
        if target.pid == 0 { record.samples.onCPU.expected = nil }
        return record
    }

    private func finish(_ stacks: borrowing StackProbe, _ progress: Progress) throws {
        let table = try stacks.stacks()
        var record = try record(stacks, progress)
        let began = Snapshot.now()
        let (folded, names) = folding.folded(table) { comm(of: $0, in: table) }
        record.samples.onCPU.names = names
        record.samples.onCPU.processes = table.samples.map { number, samples in
            .init(pid: table.processes[number]?.pid ?? target.pid, comm: comm(of: number, in: table), samples: samples)
        }.sorted { ($1.samples, $0.pid) < ($0.samples, $1.pid) }
        record.cost.symbolizeS = (Snapshot.now() - began).seconds
        try directory.write(folded, to: "stacks.folded")
        try directory.write(sessionPicture(folded, record), to: "flamegraph.svg")
        try directory.write(record)
        let text = SessionText(record, output: output)
        let files = "wrote \(directory.path)/: session.json, stacks.folded, flamegraph.svg"
        do {
            try output.write((text.sampleLines + text.losses + [files]).joined(separator: "\n") + "\n")
        } catch is OutputClosed {}
    }

    private func comm(of process: Int, in table: StackTable) -> String { table.processes[process]?.comm ?? target.comm }
}
