import ArgumentParser
import Glibc
import KilnKernel
import KilnModel
import KilnTargets
import SystemPackage

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

    @OptionGroup var whom: WhomOptions

    @Flag(help: "With --pid: observe the running descendants of the process, too. Later ones are always observed.")
    var children = false

    @Option(help: ArgumentHelp("Count by process, thread, comm (the name of a process) or cgroup.", valueName: "caller"))
    var by = Callers.process

    @Option(
        name: .customLong("call"),
        help: ArgumentHelp("Only calls with this name, or with names like this pattern ('epoll_*'); repeat for several.", valueName: "name"))
    var calls: [String] = []

    @Option(
        name: .customLong("class"),
        help: ArgumentHelp(
            "Only calls of this class, or of several with commas between them: \(SystemCallClass.allCases.map(\.rawValue).joined(separator: ", ")).",
            valueName: "class"))
    var classes: [String] = []

    @Flag(help: "Only calls that return an error.")
    var failed = false

    @Option(name: .customLong("slower-than"), help: ArgumentHelp("Only calls that take at least this time (50us, 1ms, 2s).", valueName: "time"))
    var slowerThan: TimeArgument?

    @Option(help: ArgumentHelp("Draw a flamegraph of where the calls come from, by their number (calls) or their time (time).", valueName: "weight"))
    var stacks: StackWeight?

    enum StackWeight: String, ExpressibleByArgument, CaseIterable { case calls, time }

    @OptionGroup var length: LengthOptions

    @Option(name: .shortAndLong, help: ArgumentHelp("Print and record an interval of this many seconds.", valueName: "seconds"))
    var interval: Double = 1

    @Option(name: .shortAndLong, help: ArgumentHelp("Write the session here instead of kiln-TARGET-TIME.", valueName: "dir"))
    var output: String?

    @Flag(help: "Print the full histogram of each row every interval.")
    var histograms = false

    @Flag(help: "Print JSON lines instead of tables.")
    var json = false

    @OptionGroup var programs: ProgramOptions

    @OptionGroup var kernel: KernelOptions

    @Argument(parsing: .postTerminator, help: ArgumentHelp("Run this command.", valueName: "command"))
    var command: [String] = []

    func validate() throws {
        try require("--interval", interval, in: 0.1...3600)
        if children && whom.pid.isEmpty { throw ValidationError("--children needs --pid: give it, or leave --children out.") }
        if !whom.isGiven && command.isEmpty {
            throw ValidationError("nobody to observe: give --pid, --all, --tid, --comm, --cgroup or --user, or a command behind --.")
        }
        _ = try selection()
    }

    /// Which calls are timed.
    private func selection() throws -> SyscallSelection {
        var selection = SyscallSelection()
        selection.callers = by
        selection.failedOnly = failed
        selection.slowerThan = slowerThan?.time ?? .zero
        var chosen: Set<SystemCall>?
        for name in calls {
            let matching = SystemCall.matching(name)
            guard !matching.isEmpty else { throw ValidationError("no system call is named \(name).\(near(name, SystemCall.named.map(\.name)))") }
            chosen = (chosen ?? []).union(matching)
        }
        for name in classes.flatMap({ $0.split(separator: ",").map(String.init) }) {
            guard let found = SystemCallClass(rawValue: name) else {
                throw ValidationError("no class of system calls is named \(name): give \(SystemCallClass.allCases.map(\.rawValue).joined(separator: ", ")).")
            }
            chosen = (chosen ?? []).union(found.calls)
        }
        selection.calls = chosen
        return selection
    }

    private func near(_ name: String, _ names: [String]) -> String {
        let near = nearNames(to: name, among: Set(names))
        return near.isEmpty ? "" : " Similar: \(near.joined(separator: ", "))."
    }

    func run() throws {
        try reportingErrors {
            try requireLimits()
            try kernel.require()
            try Output.requireStandardOutput()
            try programs.validateForKernel()
            let whom = try Whom(whom, command, to: "observe", children: children)
            do { try session(on: whom).run() } catch {
                whom.child?.end()
                throw error
            }
        }
    }

    private func session(on whom: Whom) throws -> Session {
        let began = MonotonicClock.now(), started = WallTime(), events = try SessionEvents()
        let rows = [RowFile.syscallTimes(ofTarget: false)]
        let directory = DirectorySink(directories: [
            try SessionDirectory(SessionPlace(output, target: fileNamePart(whom.target.name.comm), started: started), rows: rows)
        ])
        let inFlight = try stacks.map { _ in try InFlightCalls() }
        let folding = try stacks.map { _ in try StackFolding(targets: whom.target.pids, SamplingOptions.parse(["--frequency", "0"])) }
        var probes: [any Probe] = [SyscallTiming(of: whom.members, try selection(), inFlight: inFlight, descendants: whom.descendants)]
        if let stacks, let inFlight, let folding { probes.append(try sampling(whom, stacks, inFlight, folding)) }
        let printing: any Sink = json ? JSONSink() : SyscallTableSink(histograms: histograms, directory: directory)
        var plan = Session.Plan(
            targets: [whom.target], probes: probes, sinks: [Announcement { whom.leftOut }] + programs.sinks(printingLosses: json) + [directory, printing],
            rows: rows, length: length, began: began, started: started, folding: folding, interval: Nanoseconds(UInt64(interval * 1e9))
        )
        plan.drainEvery = Nanoseconds(100_000_000)
        plan.words = command
        plan.command = whom.child
        plan.keepsRunStatistics = programs.bpfStatistics
        return try Session(plan, events: events)
    }

    /// Stacks of the calls that are counted.
    private func sampling(_ whom: Whom, _ weight: StackWeight, _ inFlight: InFlightCalls, _ folding: StackFolding) throws -> StackSampling {
        let event = RecordedEvent(name: "system calls", fileName: "syscalls", every: 1, unit: weight == .time ? .nanoseconds : .events)
        return StackSampling(
            of: whom.members, try SamplingOptions.parse(["--frequency", "0"]), folding: folding,
            known: {
                if whom.target.pids.isEmpty { return folding.code(ofProcesses: (try? ProcFS().pids()) ?? []) }
                if whom.isCommand { return folding.code(ofProcesses: [getpid(), getppid()]) }
                return folding.code(ofProcesses: whom.descendants?() ?? [])
            },
            events: [Event(event, at: .countedCalls(inFlight, byTime: weight == .time))], descendants: whom.descendants,
            asOne: whom.target.pids.count > 1
        )
    }
}

extension Callers: ExpressibleByArgument {}
