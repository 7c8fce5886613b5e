import ArgumentParser
import KilnKernel
import KilnModel

/// `kiln trace exec`: prints one line for each program that is executed.
struct TraceExecCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "exec",
        abstract: "Prints a line for each program that is executed: by whom, with which arguments, and how it ended.",
        discussion: """
            A line appears when its program has ended, so that it says how long it ran and its exit status or signal; --now prints it when \
            the program begins. Programs that still run when the session ends are printed then. Executions that fail, as each try of a \
            search through PATH does, are printed only with --failed, or with --with-failed besides the others: to see them, kiln needs a \
            program at the return of every system call of the host. Of a script the line has what was asked for, and what runs it. \
            Whatever could not be traced is counted by name at the end.
              kiln trace exec -a
              kiln trace exec -p 1234 --with-failed
              kiln trace exec -- make
            """
    )

    @OptionGroup var observation: ObservationOptions

    @Flag(help: "Only executions that failed, with the error.")
    var failed = false

    @Flag(name: .customLong("with-failed"), help: "Executions that failed, too.")
    var withFailed = false

    @Flag(help: "Print each program when it begins, without how it ends.")
    var now = false

    @Option(parsing: .unconditional, help: ArgumentHelp("End after this many lines, and end the command behind -- then.", valueName: "lines"))
    var limit: Int?

    @Option(
        name: .customLong("argument-bytes"),
        help: ArgumentHelp("Capture at most this much of the arguments of each program; what is cut is said in its line.", valueName: "bytes"))
    var argumentBytes: Int = ExecutionFilter().argumentBytes

    @Flag(help: "Print JSON lines; the last one, {\"summary\": ...}, has the losses.")
    var json = false

    @Argument(parsing: .postTerminator, help: ArgumentHelp("Run this command; the trace ends when it does.", valueName: "command"), completion: .file())
    var command: [String] = []

    func validate() throws {
        try observation.requireSubject(command, to: "trace")
        if failed && withFailed { throw ValidationError("--failed prints failed executions only, --with-failed all: give one.") }
        if failed && now { throw ValidationError("a failed execution begins no program: leave --now out.") }
        if let limit, limit <= 0 { throw ValidationError("--limit \(limit) makes no sense: give a positive number of lines.") }
        try require("--argument-bytes", Double(argumentBytes), in: 16...Double(ExecutionFilter.argumentLimit), unit: "bytes")
    }

    func run() throws { try reportingErrors { try observation.run(command, to: "trace", plan) } }

    private func plan(on whom: Whom, started: WallTime) throws -> Session.Plan {
        var running: () -> Set<UInt64> = { [] }
        let sink = ExecSink(.init(json: json, atOnce: now, limit: limit)) { running() }
        let probe = ExecTracing(whom.members, descendants: whom.descendants, filter, deliver: sink.write)
        running = { probe.running }
        var plan = Session.Plan(
            targets: [whom.target], probes: [probe], sinks: [sink])
        // The ring of 16 MiB holds 3,500 executions with 4 KiB of arguments each.
        plan.drainEvery = Nanoseconds(20_000_000)
        return plan
    }

    private var filter: ExecutionFilter {
        var filter = ExecutionFilter()
        filter.succeeded = !failed
        filter.failed = failed || withFailed
        filter.ends = !now
        filter.argumentBytes = argumentBytes
        return filter
    }
}
