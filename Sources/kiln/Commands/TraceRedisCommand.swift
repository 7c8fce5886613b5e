import ArgumentParser
import KilnKernel
import KilnModel
import KilnTargets

/// `kiln trace redis`: prints one line for each request.
struct TraceRedisCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "redis",
        abstract: "Prints a line for each request to running Redis servers: the request, the reply, and the latency.",
        discussion: """
            A line appears when its reply has been sent; lines of one connection are in the order of the replies. Filters work in the \
            kernel: a request that they leave out costs next to nothing. Requests that kiln could not trace are counted by name at \
            the end. The values of AUTH, HELLO, ACL, CONFIG, MIGRATE and SENTINEL never leave the kernel; those of other commands \
            are shown unless --no-arguments is given.
              kiln trace redis --slower-than 10 --port 6379
            """
    )

    @OptionGroup var target: TargetOptions

    @OptionGroup var length: LengthOptions

    @Option(parsing: .unconditional, help: ArgumentHelp("End after this many lines, and end the command behind -- then.", valueName: "lines"))
    var limit: Int?

    @Option(
        name: .customLong("slower-than"),
        help: ArgumentHelp("Only requests whose service, from the read to the send of the reply, took at least this long.", valueName: "ms"))
    var slowerThan: Double?

    @Option(help: ArgumentHelp("Only this client: an address, address:port, [address]:port, or unix; repeat for several.", valueName: "client"))
    var client: [String] = []

    @OptionGroup var requests: RequestFilterOptions

    @Flag(name: .customLong("no-arguments"), help: "Keep arguments and the values of replies in the kernel.")
    var noArguments = false

    @Option(name: .customLong("argument-bytes"), help: ArgumentHelp("Capture at most this much of a request, framing included.", valueName: "bytes"))
    var argumentBytes: Int = TraceFilter.requestLimit / 2

    @Flag(help: "Print time, command and latency only.")
    var brief = false

    @Flag(help: "Print JSON lines; the last one, {\"summary\": ...}, has the losses.")
    var json = false

    @OptionGroup var programs: ProgramOptions

    @Argument(parsing: .postTerminator, help: ArgumentHelp("Run this command; the trace ends when it does.", valueName: "command"), completion: .file())
    var command: [String] = []

    func validate() throws {
        if let slowerThan { try require("--slower-than", slowerThan, in: 0...86_400_000, unit: "milliseconds") }
        try require("--argument-bytes", Double(argumentBytes), in: 16...Double(TraceFilter.requestLimit), unit: "bytes")
        if let limit, limit <= 0 { throw ValidationError("--limit \(limit) makes no sense: give a positive number of lines.") }
        try require("--client", clients: client)
        guard !(brief && json) else { throw ValidationError("--brief and --json are two forms of the same line: give one.") }
    }

    func run() throws {
        try reportingErrors {
            try session(on: try target.targets()).run()
        }
    }

    private func session(on targets: [Target]) throws -> Session {
        let watched = try WatchedProcesses(targets, for: "a trace")
        try Output.requireStandardOutput()
        try programs.validateForKernel()
        let began = MonotonicClock.now(), events = try SessionEvents()
        let sink = TraceSink(.init(json: json, brief: brief, withoutArguments: noArguments, limit: limit), pids: targets.map(\.pid), .redis)
        let probe = RequestProbe(
            .redis, targets, watched: watched, hook: target.hook, trace: .init(filter: filter, deliver: sink.write), began: began,
            isSolePurpose: command.isEmpty
        )
        var plan = Session.Plan(
            targets: try targets.map { try SessionTarget($0) }, probes: [probe], sinks: [Announcement()] + programs.sinks() + [sink], length: length,
            began: began
        )
        // The ring buffer of 8 MiB holds 20 ms of more than a million requests a second.
        plan.drainEvery = Nanoseconds(20_000_000)
        plan.words = command
        plan.command = try command.isEmpty ? nil : waitingCommand(command)
        plan.keepsRunStatistics = programs.bpfStatistics
        return Session(plan, events: events)
    }

    /// Which requests the kernel emits.
    var filter: TraceFilter {
        var filter = TraceFilter()
        filter.slowerThan = Nanoseconds(UInt64(saturating: (slowerThan ?? 0) * 1e6))
        filter.errorsOnly = requests.errors
        filter.withoutArguments = noArguments
        filter.requestBytes = argumentBytes
        filter.commands = requests.commands
        filter.clients = client.compactMap { TraceFilter.Client($0) }
        return filter
    }
}
