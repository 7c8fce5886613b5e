import ArgumentParser
import Glibc
import KilnKernel
import KilnModel
import KilnTargets
import SystemPackage

/// `kiln record`: samples stacks of any process.
struct RecordCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "record",
        abstract: "Records stacks: on the CPU, off it (--off-cpu), and at events (--event).",
        discussion: """
            Of processes and what they start, of a command, of threads, control groups or users, or of the whole host. Writes \
            stacks.folded, flamegraph.svg and session.json. kiln follows processes that start, execute another program, load \
            libraries or exit during the session. With --pid, a command behind -- bounds the session; without an option that says whom, the command itself is recorded:
              kiln record -p 1234 -d 10
              kiln record -p 1234 --children -- sleep 10
              kiln record -- make
              kiln record -a -d 10
              kiln record -e page-faults -e sched:sched_switch -p 1234
              kiln record -e list 'sched:*'
            """
    )

    @OptionGroup var whom: WhomOptions

    @OptionGroup var event: EventOptions

    @Flag(help: "With --pid: record the running descendants of the process, too. Later ones are always recorded.")
    var children = false

    @OptionGroup var length: LengthOptions

    @Option(name: .shortAndLong, help: ArgumentHelp("Write the session here instead of kiln-TARGET-TIME.", valueName: "dir"))
    var output: String?

    @OptionGroup var sampling: SamplingOptions

    @Flag(name: .customShort("g"), help: .hidden)
    var callGraph = false

    @Option(name: .customLong("call-graph"), help: .hidden)
    var callGraphBy: String?

    @OptionGroup var programs: ProgramOptions

    @OptionGroup var kernel: KernelOptions

    @Argument(parsing: .postTerminator, help: ArgumentHelp("Run this command.", valueName: "command"))
    var command: [String] = []

    func validate() throws {
        if event.lists { return }
        if children && whom.pid.isEmpty { throw ValidationError("--children needs --pid: give it, or leave --children out.") }
        if !whom.isGiven && command.isEmpty {
            throw ValidationError("nothing to record: give --pid, --all, --tid, --comm, --cgroup or --user, or a command behind --.")
        }
        if !sampling.recordsStacks && event.names.isEmpty {
            throw ValidationError("--frequency 0 records nothing: give 1 to 10000 samples a second, --off-cpu, or --event.")
        }
    }

    func run() throws {
        try reportingErrors {
            if event.lists { return try list() }
            try requireLimits()
            try kernel.require()
            let discovery = TargetDiscovery()
            try discovery.requireInitialPIDNamespace()
            let targets = whom.pid.isEmpty ? [] : try discovery.targets(pids: whom.pid, ports: [])
            try session(on: targets).run()
        }
    }

    private func list() throws {
        let lines = try EventList(pattern: event.pattern).lines()
        if lines.isEmpty, let pattern = event.pattern { throw Failure("no event matches \(pattern). `kiln record -e list` lists all.") }
        try Output.standardOutput.write(lines.map { Line($0) })
    }

    /// `processes`: those of --pid.
    private func session(on processes: [Target]) throws -> Session {
        try Output.requireStandardOutput()
        try programs.validateForKernel()
        let pids = processes.map(\.pid), filter = try whom.filter()
        let (places, sampling) = try event.events(beside: sampling, pids: pids)
        if callGraph || callGraphBy != nil { say("kiln: stacks are always whole; -g and --call-graph change nothing") }
        let began = MonotonicClock.now(), started = WallTime(), events = try SessionEvents()
        let child = try command.isEmpty ? nil : waitingCommand(command)
        do {
            let target = try sessionTarget(processes, child), isWatched = !target.pids.isEmpty
            let watched = isWatched ? try watched(target.pids) : nil
            let folding = StackFolding(targets: target.pids, sampling)
            let directory = DirectorySink(directories: [
                try SessionDirectory(
                    SessionPlace(output, target: fileNamePart(target.name.comm), started: started), withCommands: false, withSyscalls: false
                )
            ])
            let stacks = StackSampling(
                watched: watched, sampling, folding: folding,
                known: {
                    if !isWatched { return folding.code(ofProcesses: (try? ProcFS().pids()) ?? []) }
                    // Of a command, the C library and the loader, which the shell that started kiln has as a rule.
                    if processes.isEmpty { return folding.code(ofProcesses: [getpid(), getppid()]) }
                    return children ? folding.code(ofProcesses: target.pids.flatMap { ProcFS().descendants(of: $0) }) : []
                },
                events: places, only: filter, descendants: children ? { target.pids.flatMap { ProcFS().descendants(of: $0) } } : nil,
                commandStack: child != nil && isWatched && processes.isEmpty ? (try? ProcFS().selfProcess().stat().startStack) ?? 0 : nil,
                // A command that is recorded gives its own status.
                asOne: target.pids.count > 1, empty: child != nil && !whom.isGiven ? .told : .failed
            )
            var plan = Session.Plan(
                targets: [target], probes: [stacks],
                sinks: [Announcement { leftOut(of: target) }] + programs.sinks() + [directory, SampleTableSink(directory: directory)],
                length: length, began: began, started: started, folding: folding, interval: Nanoseconds(1_000_000_000)
            )
            plan.showsIdle = sampling.idle
            plan.recordEvery = Nanoseconds(1_000_000_000)
            plan.drainEvery = Nanoseconds(100_000_000)
            plan.words = command
            plan.command = child
            plan.keepsRunStatistics = programs.bpfStatistics
            return try Session(plan, events: events)
        } catch {
            child?.end()
            throw error
        }
    }

    private func watched(_ pids: [Int32]) throws -> WatchedProcesses {
        guard let watched = WatchedProcesses(pids: pids) else {
            throw Failure("cannot record \(pids.count) processes: a session takes 1 to \(WatchedProcesses.limit). Give --all with --comm or --cgroup.")
        }
        return watched
    }

    private func sessionTarget(_ processes: [Target], _ child: ChildCommand?) throws -> SessionTarget {
        if !processes.isEmpty { return try SessionTarget(processes, roots: .everyProcess) }
        guard let child, !whom.isGiven else { return try SessionTarget(pid: 0, name: whom.words) }
        let program = FilePath(command[0]).lastComponent?.string ?? command[0]
        // The kernel names a process after the first 15 bytes of its program.
        return try SessionTarget(pid: child.pid, name: String(decoding: program.utf8.prefix(15), as: UTF8.self))
    }

    /// A line for running descendants that the session leaves out.
    private func leftOut(of target: SessionTarget) -> [String] {
        guard !children else { return [] }
        return whom.pid.compactMap { pid in
            let count = ProcFS().descendants(of: pid).filter { !whom.pid.contains($0) }.count
            guard count > 0 else { return nil }
            let who = target.pids.count == 1 ? "pid \(pid) (\(target.name.comm))" : "pid \(pid)"
            return "\(who) has \(count == 1 ? "a descendant" : "\(count) descendants") that the session leaves out. --children records them, too."
        }
    }
}
