import ArgumentParser
import Glibc
import KilnKernel
import KilnModel
import KilnTargets

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

    @OptionGroup var observation: ObservationOptions

    @OptionGroup var event: EventOptions

    @Option(name: .shortAndLong, help: ArgumentHelp("Write the session here instead of kiln-TARGET-TIME.", valueName: "dir"), completion: .directory)
    var output: String?

    @OptionGroup var sampling: SamplingOptions

    @OptionGroup var push: SessionPushOptions

    @Flag(name: .customShort("g"), help: .hidden)
    var callGraph = false

    @Option(name: .customLong("call-graph"), help: .hidden)
    var callGraphBy: String?

    @Argument(parsing: .postTerminator, help: ArgumentHelp("Run this command.", valueName: "command"), completion: .file())
    var command: [String] = []

    func validate() throws {
        if event.lists { return }
        try observation.requireSubject(command, to: "record")
        if !sampling.recordsStacks && event.names.isEmpty {
            throw ValidationError("--frequency 0 records nothing: give 1 to 10000 samples a second, --off-cpu, or --event.")
        }
    }

    func run() throws {
        try reportingErrors {
            if event.lists { return try list() }
            let push = try push.session()
            try observation.run(command, to: "record") { whom, started in
                var plan = try self.plan(on: whom, started: started)
                plan.push = push
                return plan
            }
        }
    }

    private func list() throws {
        let lines = try EventList(pattern: event.pattern).lines()
        if lines.isEmpty, let pattern = event.pattern { throw Failure("no event matches \(pattern). `kiln record -e list` lists all.") }
        try Output.standardOutput.write(lines.map { Line($0) })
    }

    private func plan(on whom: Whom, started: WallTime) throws -> Session.Plan {
        let target = whom.target, pids = target.pids
        let (places, sampling) = try event.events(beside: sampling, pids: pids)
        if callGraph || callGraphBy != nil { say("kiln: stacks are always whole; -g and --call-graph change nothing") }
        let folding = StackFolding(targets: pids, sampling)
        let stacks = StackSampling(
            of: whom.members, sampling, folding: folding,
            known: { whom.knownCode(folding) },
            events: places, descendants: whom.descendants,
            // A command that is recorded gives its own status.
            asOne: pids.count > 1, empty: whom.isCommand ? .told : .failed, sampleInterval: Nanoseconds(100_000_000)
        )
        var directory = try DirectorySink(of: whom, at: output, started: started)
        directory.writesPage = true
        var plan = Session.Plan(
            targets: [target], probes: [stacks], sinks: [directory, SampleTableSink(directory: directory)], folding: folding,
            interval: Nanoseconds(1_000_000_000)
        )
        plan.showsIdle = sampling.idle
        plan.recordEvery = Nanoseconds(1_000_000_000)
        plan.drainEvery = Nanoseconds(100_000_000)
        return plan
    }
}
