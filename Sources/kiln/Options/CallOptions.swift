import ArgumentParser
import KilnKernel
import KilnModel

/// Which requests: the options that a trace and the stacks of some calls share.
struct RequestFilterOptions: ParsableArguments {
    @Option(name: .customLong("command"), help: ArgumentHelp("Only this command; repeat for several.", valueName: "name"))
    var commands: [String] = []

    @Flag(help: "Only requests that were answered with an error.")
    var errors = false

    func validate() throws {
        guard commands.count <= TraceFilter.commandLimit else { throw ValidationError("--command is taken \(TraceFilter.commandLimit) times at most.") }
        for name in commands where name.isEmpty || name.utf8.count > 64 {
            throw ValidationError("--command '\(name)' is no command's name: give 1 to 64 bytes.")
        }
    }
}

/// Throws if one of the clients is none, or if they are too many.
func require(_ option: String, clients: [String]) throws {
    guard clients.count <= TraceFilter.clientLimit else { throw ValidationError("\(option) is taken \(TraceFilter.clientLimit) times at most.") }
    for text in clients where TraceFilter.Client(text) == nil {
        throw ValidationError("\(option) '\(text)' is no client: give an IP address, address:port, [address]:port, or unix.")
    }
}

/// The calls whose stacks `kiln redis` keeps.
struct CallOptions: ParsableArguments {
    @Option(
        name: .customLong("slower-than"),
        help: ArgumentHelp(
            "Only stacks of calls whose service took at least this time (10ms, 500us, 1s), or this percentile of their command's (p99, p99.9).",
            valueName: "time"
        ))
    var slowerThan: ThresholdArgument?

    @Flag(name: .customLong("compare-slow"), help: "With --slower-than: keep the stacks of faster calls, too, and draw where slow ones spend more.")
    var compareSlow = false

    // `--client` is the side that is watched.
    @Option(name: .customLong("client-address"), help: ArgumentHelp("Only this client: an address, or unix; repeat for several.", valueName: "client"))
    var clients: [String] = []

    @OptionGroup var requests: RequestFilterOptions

    var selection: CallSelection {
        var selection = CallSelection()
        selection.threshold = slowerThan?.threshold ?? .none
        selection.keepsFast = compareSlow
        selection.commands = requests.commands
        selection.clients = clients.map { TraceFilter.Client($0)?.text ?? $0 }
        selection.errorsOnly = requests.errors
        return selection
    }

    func validate() throws {
        try require("--client-address", clients: clients)
        for text in clients where TraceFilter.Client(text)?.hasPort == true {
            throw ValidationError("--client-address \(text) has a port, but chooses all connections of a client: give the address alone.")
        }
        if selection.threshold == .fixed(.zero) { throw ValidationError("--slower-than 0 leaves no call out: give more, or leave it out.") }
        guard !compareSlow || slowerThan != nil else {
            throw ValidationError("--compare-slow needs a threshold: give --slower-than, a time like 10ms or a percentile like p99.")
        }
    }
}

/// A time with its unit (`10ms`), or a percentile (`p99`).
struct ThresholdArgument: ExpressibleByArgument {
    let threshold: CallSelection.Threshold

    init?(argument: String) {
        if let time = TimeArgument(argument: argument) {
            threshold = .fixed(time.time)
            return
        }
        guard argument.hasPrefix("p"), let percent = Double(argument.dropFirst()), percent > 0, percent < 100 else { return nil }
        threshold = .percentile(percent / 100)
    }
}
