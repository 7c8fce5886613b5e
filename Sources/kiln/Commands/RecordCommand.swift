import ArgumentParser
import KilnKernel
import KilnModel
import KilnTargets
import SystemPackage

/// `kiln record`: samples stacks of any process.
struct RecordCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "record",
        abstract: "Records stacks, on the CPU and with --off-cpu off it, of a process and its descendants, of a command, or of the whole host.",
        discussion: """
            Writes stacks.folded, flamegraph.svg and session.json. kiln follows processes that start, execute another program, load \
            libraries or exit during the session. With --pid, a command behind -- bounds the session; without --pid, the command itself is recorded:
              kiln record -p 1234 -d 10
              kiln record -p 1234 --children -- sleep 10
              kiln record -- make
              kiln record -a -d 10
            """
    )

    @Option(name: .shortAndLong, help: ArgumentHelp("Record this process and the processes that it starts.", valueName: "pid"))
    var pid: Int32?

    @Flag(name: [.customShort("a"), .customLong("all")], help: "Record every process of the host.")
    var all = false

    @Flag(help: "With --pid: record the running descendants of the process, too. Later ones are always recorded.")
    var children = false

    @OptionGroup var length: LengthOptions

    @Option(name: .shortAndLong, help: ArgumentHelp("Write the session here instead of kiln-TARGET-TIME.", valueName: "dir"))
    var output: String?

    @OptionGroup var sampling: SamplingOptions

    @OptionGroup var programs: ProgramOptions

    @OptionGroup var kernel: KernelOptions

    @Argument(parsing: .postTerminator, help: ArgumentHelp("Run this command.", valueName: "command"))
    var command: [String] = []

    func validate() throws {
        if let pid, pid <= 0 { throw ValidationError("--pid \(pid) is no process: give a positive number.") }
        if pid != nil && all { throw ValidationError("--pid and --all exclude each other: give one.") }
        if children && pid == nil { throw ValidationError("--children needs --pid: give it, or leave --children out.") }
        if pid == nil && !all && command.isEmpty { throw ValidationError("nothing to record: give --pid, --all, or a command behind --.") }
        if !sampling.recordsStacks { throw ValidationError("--frequency 0 records nothing: give 1 to 10000 samples a second, or --off-cpu.") }
    }

    func run() throws {
        try reportingErrors {
            try requireLimits()
            try kernel.require()
            let discovery = TargetDiscovery()
            try discovery.requireInitialPIDNamespace()
            let target = try pid.map { try discovery.targets(pids: [$0], ports: [])[0] }
            try session(on: target).run()
        }
    }

    /// `process`: the process of --pid.
    private func session(on process: Target?) throws -> Session {
        try Output.requireStandardOutput()
        try programs.validateForKernel()
        let began = MonotonicClock.now(), started = WallTime(), events = try SessionEvents()
        let child = try command.isEmpty ? nil : waitingCommand(command)
        do {
            let target = try sessionTarget(process, child)
            let watched = all ? nil : WatchedProcesses(pids: [target.pid])
            let folding = StackFolding(targets: all ? [] : [target.pid], sampling)
            let directory = DirectorySink(directories: [
                try SessionDirectory(
                    SessionPlace(output, target: fileNamePart(target.name.comm), started: started), withCommands: false, withSyscalls: false
                )
            ])
            let stacks = StackSampling(
                watched: watched, sampling, folding: folding,
                known: {
                    all
                        ? folding.code(ofProcesses: (try? ProcFS().pids()) ?? [])
                        : children ? folding.code(ofProcesses: ProcFS().descendants(of: target.pid)) : []
                },
                descendants: children ? { ProcFS().descendants(of: target.pid) } : nil, startsTarget: child != nil && !all
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

    private func sessionTarget(_ process: Target?, _ child: ChildCommand?) throws -> SessionTarget {
        if let process { return try SessionTarget(process, roots: .everyProcess) }
        guard let child, !all else { return try SessionTarget(pid: 0, name: "all processes") }
        let program = FilePath(command[0]).lastComponent?.string ?? command[0]
        // The kernel names a process after the first 15 bytes of its program.
        return try SessionTarget(pid: child.pid, name: String(decoding: program.utf8.prefix(15), as: UTF8.self))
    }

    /// A line for running descendants that the session leaves out.
    private func leftOut(of target: SessionTarget) -> [String] {
        guard pid != nil, !children else { return [] }
        let count = ProcFS().descendants(of: target.pid).count
        guard count > 0 else { return [] }
        return [
            "pid \(target.pid) (\(target.name.comm)) has \(count == 1 ? "a descendant" : "\(count) descendants") that the session leaves out. --children records them, too."
        ]
    }
}
