import ArgumentParser
import KilnKernel
import KilnMetrics
import KilnModel
import KilnTargets

/// `kiln serve`: watches Redis servers until it is ended, for programs that pull metrics and profiles.
struct ServeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve",
        abstract: "Watches Redis servers all day: metrics for Prometheus, profiles for pprof, pages for people.",
        discussion: """
            Runs until Ctrl-C or SIGTERM, follows restarts of the servers, and waits for those that come later. Without --pid, --port and \
            --comm, all redis-server, valkey-server, redict-server and keydb-server processes are watched, up to \(WatchedProcesses.limit). \
            With --pid alone, kiln ends when these processes have ended.
              http://127.0.0.1:9494/metrics                          Prometheus
              http://127.0.0.1:9494/debug/pprof/profile?seconds=30   stacks on the CPU; off_cpu, and command/GET
              http://127.0.0.1:9494/                                 the servers, and their last minutes
            """
    )

    @Option(help: ArgumentHelp("Read options from this file, too, and again at each SIGHUP; the command line wins.", valueName: "file"), completion: .file())
    var config: String?

    @Option(help: ArgumentHelp("Listen here. Other hosts can only be let in with --token-file.", valueName: "host:port"))
    var listen = ListenAddress.standard

    @Option(
        name: .customLong("token-file"),
        help: ArgumentHelp("Ask all clients for the first line of this file, as bearer token.", valueName: "file"), completion: .file())
    var tokenFile: String?

    @Option(name: .shortAndLong, help: ArgumentHelp("Watch this process; repeat for several.", valueName: "pid"))
    var pid: [Int32] = []

    @Option(help: ArgumentHelp("Watch whatever listens on this port; repeat for several.", valueName: "port"))
    var port: [UInt16] = []

    @Option(help: ArgumentHelp("Watch the processes of this name; repeat for several.", valueName: "name"))
    var comm: [String] = []

    @Option(help: ArgumentHelp("Where requests are observed: \(CommandHook.allCases.map(\.rawValue).joined(separator: " or ")).", valueName: "hook"))
    var hook: CommandHook?

    @Option(name: .shortAndLong, help: ArgumentHelp("Count in intervals of this many seconds.", valueName: "seconds"))
    var interval = 1.0

    @Option(
        help: ArgumentHelp(
            "Upper bounds of the histograms' buckets, in seconds, separated by commas. (default: 1, 2 and 5 of each power of ten, 1e-6 to 10)",
            valueName: "seconds"))
    var buckets: BucketBounds?

    @Option(
        name: [.customShort("F"), .customLong("frequency")],
        help: ArgumentHelp("Stack samples per second of CPU time, or max; 0 takes none.", valueName: "hz"))
    var frequency = FrequencyArgument(hertz: 99)

    @Flag(name: .customLong("off-cpu"), help: "Always record where threads wait, too. Otherwise it is recorded while somebody pulls it.")
    var offCPU = false

    @Flag(name: .customLong("no-syscalls"), help: "Don't count system calls: this lowers the overhead.")
    var noSyscalls = false

    @Flag(name: .customLong("no-tls"), help: "Don't follow encrypted connections: following them costs the most.")
    var noTLS = false

    @OptionGroup var budget: BudgetOptions

    @OptionGroup var kernel: KernelOptions

    func validate() throws {
        for pid in pid where pid <= 0 { throw ValidationError("--pid \(pid) is no process: give a positive number.") }
        for port in port where port == 0 { throw ValidationError("--port 0 is no port: give 1 to 65535.") }
        try require("--interval", interval, in: 0.1...60)
        guard (0...FrequencyArgument.most).contains(frequency.hertz) else {
            throw ValidationError("--frequency \(frequency.hertz) makes no sense: give 0 to \(FrequencyArgument.most) samples a second.")
        }
        if offCPU, frequency.hertz == 0 { throw ValidationError("--off-cpu records stacks, and --frequency 0 none: leave one of the two out.") }
        guard listen.isLoopback || tokenFile != nil else {
            throw ValidationError("--listen \(listen) lets other hosts in: give --token-file, too, or listen on 127.0.0.1.")
        }
    }

    func run() throws {
        try reportingErrors {
            try requireLimits()
            try kernel.require()
            try budget.validateForKernel()
            try TargetDiscovery().requireInitialPIDNamespace()
            let token = try tokenFile.map(bearerToken)
            let supervisor = try Supervisor(options, choice, bounds: buckets ?? .standard, reread: try config.map { _ in try rereading() })
            try supervisor.run(listening: listen, token: token)
        }
    }

    private var options: Supervisor.Options {
        var options = Supervisor.Options()
        options.interval = Nanoseconds(UInt64(interval * 1e9))
        options.hook = hook
        options.frequency = frequency.hertz
        options.offCPU = offCPU
        options.countsSyscalls = !noSyscalls
        options.followsTLS = !noTLS
        options.budget = budget
        return options
    }

    private var choice: ServedTargets.Choice { .init(pids: pid, ports: port, names: comm) }

    /// Reads the configuration file again.
    private func rereading() throws -> () throws -> Supervisor.Reread {
        let commandLine = Array(CommandLine.arguments.dropFirst(2))
        let first = try ConfiguredArguments(commandLine, of: Self.self)
        var last = first
        return {
            let now = try ConfiguredArguments(commandLine, of: Self.self), command = try now.parse(as: Self.self)
            try command.budget.validateForKernel()
            let changes = ConfigurationChanges(from: last, startedWith: first, to: now)
            return .init(options: command.options, choice: command.choice, hasChanged: !changes.taken.isEmpty) {
                last = now
                say(changes.lines.map { Line("kiln: " + $0) })
            }
        }
    }
}

/// `127.0.0.1:9494`, `[::1]:9494`, `localhost:9494`; `:9494` is every IPv4 address.
struct ListenAddress: ExpressibleByArgument, CustomStringConvertible {
    static let standard = ListenAddress(host: "127.0.0.1", port: 9494)

    let host: String
    let port: Int

    private init(host: String, port: Int) { (self.host, self.port) = (host, port) }

    init?(argument: String) {
        guard let colon = argument.lastIndex(of: ":"), let port = UInt16(argument[argument.index(after: colon)...]) else { return nil }
        var host = argument[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() } else if host.contains(":") { return nil }
        self.init(host: host.isEmpty ? "0.0.0.0" : String(host), port: Int(port))
    }

    var description: String { Self.text(host, port) }

    static func text(_ host: String, _ port: Int) -> String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

    /// Only this host can connect there.
    var isLoopback: Bool {
        if host == "localhost" { return true }
        guard let address = IPAddress(host) else { return false }
        return address.bytes.count == 4 ? address.bytes[0] == 127 : address.bytes == [UInt8](repeating: 0, count: 15) + [1]
    }
}

extension BucketBounds: ExpressibleByArgument {
    public init?(argument: String) {
        let numbers = argument.split(separator: ",", omittingEmptySubsequences: false).map { Double($0.filter { $0 != " " }) }
        self.init(seconds: numbers.compactMap(\.self).count == numbers.count ? numbers.compactMap(\.self) : [])
    }

    public var defaultValueDescription: String { seconds.map { "\($0)" }.joined(separator: ",") }
}
