import Flamegraph
import Glibc
import KilnKernel
import KilnModel
import KilnTargets
import SystemPackage

/// One run of `kiln redis`: attach, poll, print, write.
struct RedisSession {
    private let options: RedisCommand
    private let targets: [Target]
    /// When kiln started, before it looked for its targets.
    private let began: Nanoseconds
    private let started = WallTime()
    private let events: SessionEvents
    private let directories: [SessionDirectory]
    private let folding: StackFolding
    private let clocks: [ProcessCPUClock]
    private let printer: SessionPrinter
    private let kernel = kernelRelease()

    /// How often new stacks are taken off their ring, and new mappings of the targets handed to the unwinder.
    private static let drainEvery = Nanoseconds(200_000_000)

    /// Everything that can be refused without touching the kernel is refused here.
    init(_ options: RedisCommand, targets: [Target], began: Nanoseconds) throws {
        guard targets.count <= WatchedProcesses.limit else {
            throw Failure("cannot watch \(targets.count) processes: a session takes \(WatchedProcesses.limit). Start a second one.")
        }
        self.options = options
        self.targets = targets
        self.began = began
        events = try SessionEvents()
        for target in targets { try events.watch(pid: target.pid) }
        clocks = try targets.map { target in
            do { return try ProcessCPUClock(pid: target.pid) } catch {
                throw Failure("cannot read the CPU clock of pid \(target.pid): \(error). It may have exited; look with `ps -p \(target.pid)`.")
            }
        }
        folding = StackFolding(
            pids: options.frequency > 0 ? targets.map(\.pid) : [], expandsInlined: options.inline,
            demangling: !options.noDemangle
        )
        directories = try Self.makeDirectories(options, targets, started)
        printer = SessionPrinter(targets: targets, options: options)
    }

    /// A session that fails before its first row leaves no directory behind.
    func run() throws {
        var begun = false
        do {
            try observe(&begun)
        } catch {
            guard !begun else { throw error }
            for directory in directories.reversed() { directory.discard() }
            throw error
        }
    }

    private func observe(_ begun: inout Bool) throws {
        let statistics = options.bpfStatistics ? try RunStatistics() : nil
        var probes = try Probes(targets, options, folding)
        let boundary = try options.command.isEmpty ? nil : BoundingCommand(options.command)
        defer { boundary?.end() }
        let attached = Snapshot.now() - began
        let cpuBefore = clocks.map { (try? $0.nanoseconds()) ?? 0 }
        let audit = try options.audit ? SessionAudit(targets, options) { try probes.snapshot() } : nil
        begun = true
        if let boundary { try events.watch(pid: boundary.pid) }
        printer.begin(hook: probes.commands.hook, kernel: kernel, directories: directories.map(\.path))

        // Maps start at zero when they are attached: that is the first snapshot, and the first interval misses nothing.
        var progress = Progress(
            previous: Snapshot(time: probes.commands.attachedAt), targetCPU: [UInt64](repeating: 0, count: targets.count)
        )
        progress.first = progress.previous.time
        var failure: (any Error)?
        do {
            try poll(&probes, boundary, attached, cpuBefore, &progress)
        } catch is OutputClosed {
            progress.ended = "output closed"
        } catch {
            failure = error
            progress.ended = "error"
        }
        // Whatever went wrong on the way, what is known is written.
        let audits = failure == nil ? audit?.end { try probes.snapshot() } : nil
        try finish(probes, attached, &progress, audits, failure)
        _ = consume statistics
    }

    /// What moves while a session runs.
    private struct Progress {
        var previous: Snapshot
        var first = Nanoseconds.zero
        /// CPU time of each target since the session began, as last read.
        var targetCPU: [UInt64]
        var ended = "running"
        var cost = OwnCost.now()
    }

    private func poll(
        _ probes: inout Probes, _ boundary: BoundingCommand?, _ attached: Nanoseconds, _ cpuBefore: [UInt64],
        _ progress: inout Progress
    ) throws {
        let interval = Nanoseconds(UInt64(options.interval * 1e9))
        let end = options.duration.map { progress.first + Nanoseconds(UInt64($0 * 1e9)) }
        var due = progress.first + interval
        var alive = Set(targets.map(\.pid))
        events.watch(attention: probes.stacks?.attention())
        defer { events.watch(attention: nil) }
        while progress.ended == "running" {
            let wanted = min(due, end ?? due)
            switch events.next(until: min(wanted, Snapshot.now() + Self.drainEvery)) {
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
            try probes.stacks?.drain()
            try probes.stacks?.follow { folding.mappings(ofProcess: $0) }
            let now = Snapshot.now()
            if let end, now >= end, progress.ended == "running" { progress.ended = "duration" }
            guard now >= due || progress.ended != "running" else { continue }
            if progress.ended != "running" { probes.stopSampling() }
            try report(probes, attached, &progress)
            while due <= now { due = due + interval }
        }
    }

    /// One interval: rows, then the screen.
    private func report(_ probes: borrowing Probes, _ attached: Nanoseconds, _ progress: inout Progress) throws {
        let snapshot = try probes.snapshot()
        let interval = snapshot.since(progress.previous)
        let time = WallTime(), cost = OwnCost.now()
        for (process, directory) in directories.enumerated() {
            let rows = IntervalRows(interval, time: time, target: targets[process], process: process)
            try directory.append(rows.commands)
            try directory.append(rows.syscalls)
            try directory.write(record(process, probes, snapshot, attached, progress))
        }
        try printer.interval(interval, time: time, ownCPU: cost.cpu - progress.cost.cpu, ownRSS: cost.peakRSSBytes)
        progress.previous = snapshot
        progress.cost = cost
    }

    /// Stacks, picture and totals; `failure` is what ended the session early. What can be written still is.
    private func finish(
        _ probes: borrowing Probes, _ attached: Nanoseconds, _ progress: inout Progress, _ audits: [Audit?]?, _ failure: (any Error)?
    ) throws {
        var failure = failure
        let stacks = try probes.stacks?.stacks() ?? StackTable()
        var records: [SessionRecord] = []
        for (process, directory) in directories.enumerated() {
            var record = record(process, probes, progress.previous, attached, progress)
            record.audit = audits?[process]?.record
            do {
                try directory.write(record)
                if options.frequency > 0 {
                    let began = Snapshot.now()
                    let (folded, names) = folding.folded(stacks, process: process, comm: targets[process].comm)
                    record.samples.onCPU.names = names
                    record.cost.symbolizeS = (Snapshot.now() - began).seconds
                    try directory.write(folded, to: "stacks.folded")
                    try directory.write(flamegraph(folded, targets[process], record), to: "flamegraph.svg")
                    try directory.write(record)
                }
            } catch {
                failure = failure ?? error
            }
            records.append(record)
        }
        if let failure { throw failure }
        do {
            try printer.end(records, directories: directories.map(\.path))
        } catch is OutputClosed {}
        for (process, target) in targets.enumerated() where target.server == nil && !showsRedis(progress.previous, process: process) {
            throw Failure("pid \(target.pid) (\(target.comm)) is not a known Redis server and no Redis command reached it. Give the server's --pid or --port.")
        }
    }

    /// Whether commands of Redis were seen. A web server gets inline commands too: methods and header names.
    private func showsRedis(_ total: Snapshot, process: Int) -> Bool {
        let methods: Set = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE"]
        let names = total.commands.keys.lazy.filter { $0.process == process }.map(\.name.description)
        let isWeb = names.contains { $0.hasSuffix(":") }
        return names.contains { !isWeb || !($0.hasSuffix(":") || methods.contains($0)) }
    }

    private func record(
        _ process: Int, _ probes: borrowing Probes, _ snapshot: Snapshot, _ attached: Nanoseconds, _ progress: Progress
    ) -> SessionRecord {
        var total = snapshot
        total.time = snapshot.time - progress.first
        let own = OwnCost.now(), target = targets[process]
        let calls = total.commands.values.reduce(UInt64(0)) { $0 + $1.calls }
        let described = SessionRecord.Target(
            pid: target.pid, exe: target.exe, comm: target.comm, ports: target.ports,
            container: target.container.map { String(describing: $0) }
        )
        let cost = SessionRecord.Cost(
            statistics: options.bpfStatistics ? (total.programs, probes.commandPrograms, calls) : nil, ownCPU: own.cpu,
            ownPeakRSS: own.peakRSSBytes, targetCPU: Nanoseconds(progress.targetCPU[process]), attach: attached
        )
        return SessionRecord(
            version: kilnVersion, kernel: kernel, hook: probes.commands.hook.rawValue, started: started.rfc3339,
            interval: options.interval, ended: progress.ended, target: described, process: process, snapshot: total,
            frequency: options.frequency, syscallName: options.noSyscalls ? nil : { syscallName($0) }, cost: cost
        )
    }

    private func flamegraph(_ folded: [UInt8], _ target: Target, _ record: SessionRecord) -> [UInt8] {
        let stacks = FoldedStacks(parsing: folded)
        let place = target.ports.first.map { " · port \($0)" } ?? ""
        let lost = record.lost.isEmpty
            ? "lost: nothing" : "lost: " + record.lost.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }.joined(separator: ", ")
        return renderSVG(stacks, FlamegraphOptions(
            title: "\(target.comm) · on-CPU",
            subtitle: "pid \(target.pid)\(place) · \(record.started) · \(significantSeconds(record.durationS)) at \(options.frequency) Hz",
            countName: "samples",
            notes: [
                "kiln \(kilnVersion), Linux \(kernel), hook \(record.hook)",
                "\(record.samples.onCPU.recorded) of \(record.samples.onCPU.expected) expected samples recorded; \(record.samples.onCPU.complete) stacks whole; \(lost)",
            ]
        ))
    }

    private static func makeDirectories(
        _ options: RedisCommand, _ targets: [Target], _ started: WallTime
    ) throws -> [SessionDirectory] {
        let names = targets.map { target in target.comm.map { $0.isLetter || $0.isNumber || $0 == "-" ? $0 : "_" } }
            .map { String($0) }
        let base = FilePath(options.output ?? "kiln-\(names[0])-\(started.fileName)")
        guard targets.count > 1 else { return [try SessionDirectory(base, withSyscalls: !options.noSyscalls)] }
        var made: [SessionDirectory] = []
        do {
            for (target, name) in zip(targets, names) {
                let directory = base.appending("\(name)-\(target.pid)")
                made.append(try SessionDirectory(directory, withSyscalls: !options.noSyscalls))
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
    let syscalls: SyscallProbe?
    var stacks: StackProbe?

    init(_ targets: [Target], _ options: RedisCommand, _ folding: StackFolding) throws {
        guard let watched = WatchedProcesses(pids: targets.map(\.pid)) else {
            throw Failure("a session takes 1 to \(WatchedProcesses.limit) processes.")
        }
        // Loading takes tens of milliseconds, attaching a few: all is loaded before anything counts.
        var syscalls = options.noSyscalls ? nil : try SyscallProbe(watching: watched)
        var stacks = options.frequency > 0
            ? try StackProbe(watching: watched, byThread: options.threads) { folding.mappings(ofProcess: $0) } : nil
        let commands = try CommandProbe.attach(
            watching: watched, forced: options.target.hook,
            openSockets: { try targets.flatMap { try $0.openSockets() } },
            refused: { hook, error in say("kiln: hook \(hook.rawValue) is not to be had here: \(error)") }
        )
        try syscalls?.attach()
        try stacks?.attach(frequency: options.frequency)
        self.commands = commands
        self.syscalls = syscalls
        self.stacks = stacks
    }

    /// No more samples: what is read afterwards belongs together.
    mutating func stopSampling() { stacks?.stop() }

    var commandPrograms: [String] { commands.hook.programs }

    func snapshot() throws -> Snapshot {
        var snapshot = Snapshot(time: Snapshot.now())
        try commands.read(into: &snapshot)
        try syscalls?.read(into: &snapshot)
        try stacks?.read(into: &snapshot)
        return snapshot
    }
}

private func kernelRelease() -> String {
    var names = utsname()
    uname(&names)
    return withUnsafeBytes(of: names.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
}

/// `10.0 s`
func significantSeconds(_ seconds: Double) -> String { "\((seconds * 10).rounded() / 10) s" }
