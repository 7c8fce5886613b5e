import ArgumentParser
import KilnKernel
import KilnModel

/// `kiln trace syscalls`: prints one line for each system call.
struct TraceSyscallsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "syscalls",
        abstract: "Prints a line for each system call: its arguments as numbers, what it returned, and how long it took.",
        discussion: """
            A line appears when the call has returned; a call in which its thread ended (exit_group, a signal) returns `?`. The lines of a \
            thread are in the order of its calls. Unlike strace, kiln stops no process: a call takes a third of a \
            microsecond more. Filters work in the kernel. Calls that found no room are counted at the end; \
            calls that have not returned then have no line. Arguments are numbers as the call got them: what pointers lead to is not read.
              kiln trace syscalls -p 1234 'epoll_*' --slower-than 10
              kiln trace syscalls -a --class file --failed
              kiln trace syscalls -- ls
            """
    )

    @OptionGroup var observation: ObservationOptions

    @OptionGroup var choice: SystemCallOptions

    @Argument(help: ArgumentHelp("As --call; several names or patterns with commas between them.", valueName: "names"))
    var names: String?

    @Flag(help: "Only calls that returned an error.")
    var failed = false

    @Option(
        name: .customLong("slower-than"),
        help: ArgumentHelp("Only calls that took at least this long: milliseconds, or with a unit (50us, 2s).", valueName: "time"))
    var slowerThan: MillisecondsArgument?

    @Option(parsing: .unconditional, help: ArgumentHelp("End after this many lines, and end the command behind -- then.", valueName: "lines"))
    var limit: Int?

    @Flag(help: "Print JSON lines; the last one, {\"summary\": ...}, has the losses.")
    var json = false

    @Argument(parsing: .postTerminator, help: ArgumentHelp("Run this command; the trace ends when it does.", valueName: "command"), completion: .file())
    var command: [String] = []

    func validate() throws {
        try observation.requireSubject(command, to: "trace")
        if let limit, limit <= 0 { throw ValidationError("--limit \(limit) makes no sense: give a positive number of lines.") }
        _ = try calls()
    }

    func run() throws { try reportingErrors { try observation.run(command, to: "trace", plan) } }

    private func plan(on whom: Whom, started: WallTime) throws -> Session.Plan {
        var filter = CallFilter()
        filter.calls = try calls()
        filter.failed = failed
        filter.slowerThan = slowerThan?.time ?? .zero
        let sink = CallSink(json: json, limit: limit)
        let probe = CallTracing(whom.members, descendants: whom.descendants, filter, deliver: sink.write)
        var plan = Session.Plan(
            targets: [whom.target], probes: [probe], sinks: [sink])
        // The ring of 32 MiB holds the 20 ms of 13 million calls a second.
        plan.drainEvery = Nanoseconds(20_000_000)
        return plan
    }

    private func calls() throws -> [SystemCall]? { try choice.chosen(and: names.map { [$0] } ?? []).map { Array($0) } }
}
