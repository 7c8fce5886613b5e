import ArgumentParser
import KilnKernel
import KilnModel
import KilnTargets

/// `kiln cost`: measures the overhead of a session on this server.
struct CostCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cost",
        abstract: "Measures the overhead of a session for the server, with the traffic that it has.",
        discussion: """
            Windows with a session alternate with windows without one, and the server's CPU time per command in both is compared. \
            kiln sends nothing but INFO between windows (a password is taken from REDISCLI_AUTH). Where INFO is not available, CPU \
            time is divided by the calls of read and write that the kernel counts, or by seconds. Options of the session follow \
            behind --:
              kiln cost --port 6379 -- --no-syscalls
            The exit status is 1 if the traffic is too uneven for a result.
            """
    )

    @Option(name: .shortAndLong, help: ArgumentHelp("Measure on this process.", valueName: "pid"))
    var pid: Int32?

    @Option(help: ArgumentHelp("Measure on the process that listens on this port.", valueName: "port"))
    var port: UInt16?

    @Option(name: .shortAndLong, help: ArgumentHelp("Measure for about this many seconds.", valueName: "seconds"))
    var duration: Double = 60

    @Option(help: ArgumentHelp("Length of a window.", valueName: "seconds"))
    var window: Double = 1

    @Option(help: ArgumentHelp("Accept a result that is known to this many percentage points, or to a quarter of itself.", valueName: "points"))
    var precision: Double = 2

    @Option(
        help: ArgumentHelp(
            "Divide by: \(CostUnit.allCases.map(\.rawValue).joined(separator: ", ")); without this option, by the first that can be counted.", valueName: "unit"
        ))
    var unit: CostUnit?

    @Flag(help: "Send PING 100 times a second, and compare the round trips. This adds load to the server.")
    var ping = false

    @Option(
        help: ArgumentHelp(
            "Measure this program instead of a session. It prints `: attached to` on standard error, and SIGINT ends it. `none` measures no program.",
            valueName: "command"), completion: .file())
    var observer: String?

    @Flag(help: "Print JSON, with every window.")
    var json = false

    @Argument(parsing: .postTerminator, help: ArgumentHelp("Options of `kiln redis`.", valueName: "session options"))
    var options: [String] = []

    /// The time of a block outside its windows, in seconds: a session attaches and ends, with some reserve.
    private static let secondsBesideWindows = 0.6

    func validate() throws {
        guard (0.1...60).contains(window) else { throw ValidationError("--window \(window) makes no sense: give 0.1 to 60 seconds.") }
        guard (0.01...100).contains(precision) else { throw ValidationError("--precision \(precision) makes no sense: give 0.01 to 100 points.") }
        guard (1...86_400).contains(duration) else { throw ValidationError("--duration \(duration) makes no sense: give 1 to 86400 seconds.") }
        if let pid, pid <= 0 { throw ValidationError("--pid \(pid) is no process: give a positive number.") }
        if port == 0 { throw ValidationError("--port 0 is no port: give 1 to 65535.") }
        if pid != nil, port != nil { throw ValidationError("--pid and --port both select the process: give one of them.") }
        let session = try sessionOptions()
        guard session.target.pid == [1], session.target.port.isEmpty, session.output == nil, session.length.duration == nil, session.command.isEmpty else {
            throw ValidationError("options behind -- can't set the session's target, length or directory: leave them out.")
        }
        if observer != nil, !options.isEmpty { throw ValidationError("--observer measures a program, not a session: leave out the options behind --.") }
    }

    func run() throws {
        try reportingErrors {
            try Output.requireStandardOutput()
            try requireLimits()
            if observer == nil { try sessionOptions().target.kernel.require() }
            let discovery = TargetDiscovery()
            let targets = try discovery.targets(pids: pid.map { [$0] } ?? [], ports: port.map { [$0] } ?? [])
            guard let target = targets.first else { throw Failure("no target was found.") }
            let blocks = max(CostEstimate.leastBlocks, Int(duration / blockSeconds))
            let server = try connection(to: target)
            let measurement = try CostMeasurement(target, observer: observer(of: target, []), window: window, server: server, pings: ping)
            let title = sessionTitle(comm: target.comm, pid: target.pid, ports: target.ports, container: nil)
            say(
                "kiln \(kilnVersion): measuring on \(title); \(blocks) blocks of \(CostEstimate.order.count) windows of \(significantSeconds(window)), for about \(significantSeconds(Double(blocks) * blockSeconds))"
            )
            try measurement.run(blocks: blocks) { block in
                if Output.standardError.isTerminal { _ = try? Output.standardError.write(progress: "block \(block + 1) of \(blocks)") }
            }
            if Output.standardError.isTerminal { say("") }
            try conclude(measurement, account(measurement, target), name: observer(of: target, []).name)
        }
    }

    /// A session with BPF run-time statistics. Nil if the kernel keeps none; a line on standard error gives the reason, and the measurement
    /// stands.
    private func account(_ measurement: CostMeasurement, _ target: Target) -> SessionRecord? {
        guard observer == nil, !measurement.isInterrupted else { return nil }
        do {
            try Capabilities.requireRunStatistics(for: "it")
            return try measurement.account(observer(of: target, ["--bpf-statistics"]))
        } catch {
            say("kiln: without BPF run-time statistics: ", error)
            return nil
        }
    }

    private var blockSeconds: Double { Double(CostEstimate.order.count) * window + Self.secondsBesideWindows }

    /// Prints the result, or throws with the reason why there is none.
    private func conclude(_ measurement: CostMeasurement, _ accounted: SessionRecord?, name: String) throws {
        let windows = measurement.windows, least = CostEstimate.leastBlocks
        guard windows.count >= least * CostEstimate.order.count else {
            throw Failure(
                "no conclusion: interrupted after \(windows.count) windows. \(least * CostEstimate.order.count) are needed, which take \(significantSeconds(Double(least) * blockSeconds))."
            )
        }
        guard let unit = unit ?? windows.bestUnit, let cost = windows.cost(per: unit) else {
            throw Failure(
                "no conclusion: there was too little traffic, fewer than \(Int(CostUnit.leastAmount)) commands in a window of \(significantSeconds(window)). Measure while clients are active, or give longer windows (--window)."
            )
        }
        let report = CostReport(
            name: name, measurement: measurement, accounted: accounted, unit: unit, cost: cost, window: window, precision: precision,
            blockSeconds: blockSeconds
        )
        try json ? Output.standardOutput.write(report.json()) : Output.standardOutput.write(report.lines)
        guard cost.isConclusive(precision: precision / 100) else { throw Failure("no conclusion: \(report.doubt)") }
    }

    private func observer(of target: Target, _ more: [String]) -> any CostObserver {
        if let observer {
            return observer == "none" ? NoObserver() : ObservingProgram(observer.split(separator: " ").map(String.init))
        }
        // Two windows, attaching and ending.
        return ObservingProgram(session: options + more, of: target, longest: 2 * window + 30)
    }

    /// Nil if INFO is not needed or not available.
    private func connection(to target: Target) throws -> ServerConnection? {
        guard ping || unit == nil || unit == .command else { return nil }
        do {
            let session = try sessionOptions()
            let login = try RedisAudit.Login(user: session.auditUser, passwordFile: session.auditPasswordFile)
            return try ServerConnection(target, user: login.user, password: login.password, for: "its INFO")
        } catch {
            guard unit == nil, !ping else { throw error }
            say("kiln: CPU time can't be divided by commands: ", error)
            return nil
        }
    }

    /// Parsed by `kiln redis`, which needs some target.
    private func sessionOptions() throws -> RedisCommand {
        do { return try RedisCommand.parse(["--pid", "1"] + options) } catch {
            throw ValidationError("options behind -- are those of `kiln redis`. \(RedisCommand.message(for: error))")
        }
    }
}

extension CostUnit: ExpressibleByArgument {}
