import ArgumentParser
import Glibc
import KilnKernel
import KilnModel
import KilnTargets
import SystemPackage

/// `kiln redis`: profiles Redis servers.
struct RedisCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "redis",
        abstract: "Profiles running Redis servers: latency of each command, system calls, stacks.",
        discussion: """
            Attaches to unmodified servers and prints a table every interval. The session ends with Ctrl-C, after --duration, or \
            when the server ends; then a directory holds the numbers, folded stacks and flamegraph.svg. Without --pid and --port, \
            kiln takes the one redis-server, valkey-server, redict-server or keydb-server that runs. A command behind -- bounds the \
            session:
              kiln redis --port 6379 -- sleep 10
            """
    )

    @OptionGroup var target: TargetOptions

    @Flag(help: "Watch clients of Redis: the time of each command from the send of the request to the read of its reply.")
    var client = false

    @Option(help: ArgumentHelp("With --client: watch the running processes of this name; repeat for several.", valueName: "name"))
    var comm: [String] = []

    @OptionGroup var length: LengthOptions

    @Option(name: .shortAndLong, help: ArgumentHelp("Print and record an interval of this many seconds.", valueName: "seconds"))
    var interval: Double = 1

    @Option(name: .shortAndLong, help: ArgumentHelp("Write the session here instead of kiln-TARGET-TIME.", valueName: "dir"), completion: .directory)
    var output: String?

    @Flag(name: .customLong("no-syscalls"), help: "Don't count system calls: this lowers the overhead.")
    var noSyscalls = false

    @Flag(name: .customLong("syscall-latency"), help: "Time system calls, too: this costs more than counting them.")
    var syscallLatency = false

    @Flag(name: .customLong("no-tls"), help: "Don't follow encrypted connections: following them costs the most.")
    var noTLS = false

    @OptionGroup var sampling: SamplingOptions

    @OptionGroup var event: EventOptions

    @OptionGroup var push: SessionPushOptions

    @OptionGroup(title: "Stacks of some calls") var calls: CallOptions

    @Flag(help: "Print the full histogram of each command every interval.")
    var histograms = false

    @Option(help: ArgumentHelp("At the end, print so many functions of each command, 0 to \(topLimit).", valueName: "number"))
    var top = SessionText.top

    private static let topLimit = SessionRecord.WorkRow.functionLimit

    @Flag(help: "Print JSON lines instead of tables.")
    var json = false

    @OptionGroup var budget: BudgetOptions

    @OptionGroup var programs: ProgramOptions

    @Flag(
        help: ArgumentHelp(
            "Compare kiln's counts with the server's own INFO at the end.",
            discussion: """
                kiln connects to the server as a client. A password is taken from the environment variable REDISCLI_AUTH or from \
                --audit-password-file, never from the command line.
                """))
    var audit = false

    @Option(name: .customLong("audit-user"), help: ArgumentHelp("Authenticate as this user.", valueName: "name"))
    var auditUser: String?

    @Option(
        name: .customLong("audit-password-file"), help: ArgumentHelp("Authenticate with the first line of this file.", valueName: "file"), completion: .file())
    var auditPasswordFile: String?

    /// The pid of `kiln cost`, which reads the session's directory and removes it. Without that parent nobody needs the directory.
    @Option(help: .hidden)
    var parent: Int32?

    @Argument(parsing: .postTerminator, help: ArgumentHelp("Run this command; the session ends when it does.", valueName: "command"), completion: .file())
    var command: [String] = []

    func validate() throws {
        try require("--interval", interval, in: 0.1...3600)
        if let option = budget.option, client { throw ValidationError("\(option) is for the server's side: give it without --client.") }
        if let option = budget.option, audit {
            throw ValidationError("--audit compares all commands, and \(option) may leave some out: give one of the two.")
        }
        guard (0...Self.topLimit).contains(top) else { throw ValidationError("--top \(top) makes no sense: give 0 to \(Self.topLimit) functions.") }
        guard client || comm.isEmpty else { throw ValidationError("--comm names clients of Redis: give --client, too.") }
        guard !client || !(target.pid.isEmpty && comm.isEmpty) else {
            throw ValidationError("--client needs a program to watch: give its --pid, or --comm NAME.")
        }
        if noSyscalls && syscallLatency { throw ValidationError("--no-syscalls and --syscall-latency exclude each other: give one.") }
        if budget.maxCost != nil && syscallLatency {
            throw ValidationError("--syscall-latency costs more than a budget gives it: give it without --max-cost.")
        }
        if event.lists { throw ValidationError("`kiln record -e list` lists the events.") }
        let selection = calls.selection
        guard selection.keepsAll || ((sampling.recordsStacks || !event.names.isEmpty) && !client) else {
            throw ValidationError(
                "--slower-than, --command, --client-address and --errors choose stacks of servers: "
                    + (client ? "leave them out with --client." : "give --frequency of at least 1, --off-cpu or --event.")
            )
        }
        guard push.options.push == nil || sampling.recordsStacks || !event.names.isEmpty else {
            throw ValidationError("--push sends stacks: give --frequency of at least 1, --off-cpu or --event.")
        }
        guard !client || (target.port.isEmpty && !audit) else {
            throw ValidationError("--port and --audit apply to servers: leave them out with --client.")
        }
    }

    func run() throws {
        let began = MonotonicClock.now()
        try reportingErrors {
            let commandRows = CommandRows()
            let named = try comm.flatMap { try processes(named: $0) }
            try session(on: try target.targets(and: named), commandRows: commandRows, began: began)
        }
    }

    /// Checks everything that needs no kernel first.
    private func session(on found: [Target], commandRows: CommandRows, began: Nanoseconds) throws {
        let watched = try WatchedProcesses(found, for: "a session"), pids = found.map(\.pid)
        try Output.requireStandardOutput()
        try programs.validateForKernel()
        try budget.validateForKernel()
        let started = WallTime(), events = try SessionEvents()
        let targets = try found.map { try SessionTarget($0) }
        let (places, sampling) = try event.events(beside: sampling, pids: pids)
        let samples = sampling.recordsStacks || !places.isEmpty
        let push = try push.session()
        let login = try audit ? RedisAudit.Login(user: auditUser, passwordFile: auditPasswordFile) : nil
        let rows: [RowFile] = [.commands] + (noSyscalls ? [] : [syscallLatency ? .syscallTimes(ofTarget: true) : .syscalls])
        var directory = try DirectorySink(of: found, at: output, started: started, rows: rows)
        directory.writesPage = true
        let turns = try Turns(), work = samples && !client ? try WorkMaps(keepingStacksOf: calls.selection) : nil
        let requests = RequestProbe(
            .redis, found, watched: watched, side: client ? .client : .server, hook: target.hook, followsTLS: !noTLS, rows: commandRows, turns: turns,
            work: work, watchVaries: budget.option != nil, began: began,
            isSolePurpose: command.isEmpty && !sampling.isAskedFor && places.isEmpty
        )
        let folding = samples ? StackFolding(targets: pids, sampling) : nil
        var probes: [any Probe] = [requests]
        if !noSyscalls {
            probes.append(
                syscallLatency
                    ? SyscallTiming(servers: watched, turns: turns)
                    : SyscallCounting(watched: watched, turns: turns, waits: budget.maxCost != nil))
        }
        if let folding { probes.append(StackSampling(of: Members(watched), sampling, folding: folding, events: places, work: work, turns: turns)) }
        if let login { probes.append(RedisAudit(of: requests, found, login)) }
        let printing: any Sink = json ? JSONSink() : TableSink(histograms: histograms, side: client ? .client : .server, top: top, directory: directory)
        var plan = Session.Plan(
            targets: targets, probes: probes, sinks: [Announcement()] + programs.sinks(printingLosses: json) + [directory, printing], length: length,
            began: began, started: started, folding: folding, interval: Nanoseconds(UInt64(interval * 1e9))
        )
        plan.rows = directory.rows
        plan.showsIdle = sampling.idle
        plan.words = command
        plan.command = try command.isEmpty ? nil : waitingCommand(command)
        plan.details = samples ? [] : ["no stacks"]
        plan.keepsRunStatistics = programs.bpfStatistics
        plan.push = push
        plan.budget = budget.budget(of: requests, frequency: samples ? sampling.frequency : 0)
        // A session whose parent has ended leaves no directory.
        defer { if let parent, parent != getppid() { directory.discard() } }
        try Session(plan, events: events).run()
    }

    /// Running processes with this name, as ps shows it.
    private func processes(named name: String) throws -> [Int32] {
        let procfs = ProcFS()
        let pids = try procfs.pids().filter { pid in
            guard let process = try? procfs.process(pid), let comm = try? process.comm() else { return false }
            return comm == name
        }
        guard !pids.isEmpty else { throw Failure("no process is named \(name). Look with `ps -e -o pid,comm`, or give --pid.") }
        return pids
    }
}
