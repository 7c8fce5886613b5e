import ArgumentParser
import KilnKernel
import KilnModel

/// The options that all subcommands share which observe any process: whom, for how long, and what they report of their programs.
struct ObservationOptions: ParsableArguments {
    @OptionGroup var whom: WhomOptions

    @Flag(help: "With --pid: observe the running descendants of the process, too. Later ones are always observed.")
    var children = false

    @OptionGroup var length: LengthOptions

    @OptionGroup var programs: ProgramOptions

    @OptionGroup var kernel: KernelOptions

    func validate() throws {
        if children && whom.pid.isEmpty { throw ValidationError("--children needs --pid: give it, or leave --children out.") }
    }

    /// Throws unless options, or the command behind `--`, say whom to observe.
    ///
    /// - Parameter verb: For the error: `trace`.
    func requireSubject(_ command: [String], to verb: String) throws {
        guard whom.isGiven || !command.isEmpty else {
            throw ValidationError("nothing to \(verb): give --pid, --all, --tid, --comm, --cgroup or --user, or a command behind --.")
        }
    }

    /// Checks what every session needs, finds whom to observe, and runs a session.
    ///
    /// - Parameters:
    ///   - command: The words behind `--`.
    ///   - purpose: A verb for errors: `trace`.
    ///   - json: Standard output gets JSON lines instead of tables.
    ///   - makePlan: Makes the plan of the session, whose start it gets, with its own probes and sinks. What these options say is added to it.
    func run(_ command: [String], to purpose: String, json: Bool = false, _ makePlan: (Whom, WallTime) throws -> Session.Plan) throws {
        try requireLimits()
        try kernel.require()
        try Output.requireStandardOutput()
        try programs.validateForKernel()
        let began = MonotonicClock.now(), started = WallTime(), events = try SessionEvents()
        let whom = try Whom(whom, command, to: purpose, children: children)
        do {
            var plan = try makePlan(whom, started)
            let remarks = plan.remarks
            plan.sinks = [Announcement { whom.leftOut + remarks }] + programs.sinks(printingLosses: json) + plan.sinks
            plan.length = length
            plan.threads = whom.members.threads.tids
            plan.began = began
            plan.started = started
            plan.words = command
            plan.command = whom.child
            plan.keepsRunStatistics = programs.bpfStatistics
            try Session(plan, events: events).run()
        } catch {
            whom.child?.end()
            throw error
        }
    }
}
