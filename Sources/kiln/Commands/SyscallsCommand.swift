import ArgumentParser
import KilnKernel
import KilnModel

/// `kiln syscalls`: times the system calls of any process.
struct SyscallsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "syscalls",
        abstract: "Times system calls, by process and call.",
        discussion: """
            Of processes and what they start, of a command, of threads, control groups or users, or of the whole host: how often each call is made, \
            its errors by errno, and the distribution of its times. Prints a table every interval, and writes syscalls.jsonl and session.json. With --pid, a \
            command behind -- bounds the session; without an option that says whom, the command itself is observed:
              kiln syscalls -p 1234
              kiln syscalls -a --by comm --class file --failed
              kiln syscalls --call 'f*sync' --slower-than 1ms --stacks time -p 1234
              kiln syscalls -- make
            """
    )

    @OptionGroup var observation: ObservationOptions

    @Option(help: ArgumentHelp("Count by process, thread, comm (the name of a process) or cgroup.", valueName: "caller"))
    var by = Callers.process

    @OptionGroup var calls: SystemCallOptions

    @OptionGroup var debugFiles: DebugFileOptions

    @Flag(help: "Only calls that return an error.")
    var failed = false

    @Option(
        name: .customLong("slower-than"),
        help: ArgumentHelp("Only calls that take at least this long: milliseconds, or with a unit (50us, 2s).", valueName: "time"))
    var slowerThan: MillisecondsArgument?

    @Option(help: ArgumentHelp("Draw a flamegraph of where the calls come from, by their number (calls) or their time (time).", valueName: "weight"))
    var stacks: StackWeight?

    enum StackWeight: String, ExpressibleByArgument, CaseIterable { case calls, time }

    @Option(name: .shortAndLong, help: ArgumentHelp("Print and record an interval of this many seconds.", valueName: "seconds"))
    var interval: Double = 1

    @Option(name: .shortAndLong, help: ArgumentHelp("Write the session here instead of kiln-TARGET-TIME.", valueName: "dir"), completion: .directory)
    var output: String?

    @Option(help: ArgumentHelp("Print at most this many rows of a table; 0: all. Without it 20, or what fits the terminal.", valueName: "rows"))
    var top: Int?

    @Flag(help: "Print the full histogram of each row every interval.")
    var histograms = false

    @Flag(help: "Print JSON lines instead of tables.")
    var json = false

    @Argument(parsing: .postTerminator, help: ArgumentHelp("Run this command.", valueName: "command"), completion: .file())
    var command: [String] = []

    func validate() throws {
        try require("--interval", interval, in: 0.1...3600)
        if let top, top < 0 { throw ValidationError("--top \(top) makes no sense: give a number of rows, or 0 for all.") }
        try observation.requireSubject(command, to: "observe")
    }

    func run() throws { try reportingErrors { try observation.run(command, to: "observe", json: json, plan) } }

    /// Which calls are timed.
    private func selection() throws -> SyscallSelection {
        var selection = SyscallSelection()
        selection.callers = by
        selection.failedOnly = failed
        selection.slowerThan = slowerThan?.time ?? .zero
        selection.calls = try calls.chosen()
        return selection
    }

    private func plan(on whom: Whom, started: WallTime) throws -> Session.Plan {
        let inFlight = try stacks.map { _ in try InFlightCalls() }
        let folding = try stacks.map { _ in StackFolding(targets: whom.target.pids, try SamplingOptions.withoutSamples(debugFiles)) }
        var probes: [any Probe] = [SyscallTiming(of: whom.members, try selection(), inFlight: inFlight, descendants: whom.descendants)]
        if let stacks, let inFlight, let folding { probes.append(try sampling(whom, stacks, inFlight, folding)) }
        let directory = try DirectorySink(of: whom, at: output, started: started, rows: [.syscallTimes(ofTarget: false)])
        let printing: any Sink =
            json
            ? JSONSink()
            : CallTableSink(top: top == 0 ? .max : top, histograms: histograms, directory: directory) {
                SyscallText($0[SyscallTimes.self]?.named() ?? [], interval: $0.time, most: $1)
            }
        var plan = Session.Plan(
            targets: [whom.target], probes: probes, sinks: [directory, printing], rows: directory.rows, folding: folding,
            interval: Nanoseconds(UInt64(interval * 1e9))
        )
        plan.drainEvery = Nanoseconds(100_000_000)
        return plan
    }

    /// Stacks of the calls that are counted.
    private func sampling(_ whom: Whom, _ weight: StackWeight, _ inFlight: InFlightCalls, _ folding: StackFolding) throws -> StackSampling {
        let event = RecordedEvent(name: "system calls", fileName: "syscalls", every: 1, unit: weight == .time ? .nanoseconds : .events)
        return StackSampling(
            of: whom.members, try SamplingOptions.withoutSamples(debugFiles), folding: folding,
            known: { whom.knownCode(folding) },
            events: [Event(event, at: .countedCalls(inFlight, byTime: weight == .time))], descendants: whom.descendants,
            asOne: whom.target.pids.count > 1
        )
    }
}

extension Callers: ExpressibleByArgument {}
