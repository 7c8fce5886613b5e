import ArgumentParser
import KilnKernel
import KilnTargets

/// `kiln record`: stacks of anything.
struct RecordCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "record",
        abstract: "Samples on-CPU stacks: of a process and what it starts, of a command, or of the whole host.",
        discussion: """
            Writes stacks.folded, flamegraph.svg and session.json. Processes that start, execute another program, load libraries \
            or exit meanwhile are followed. With --pid, a command behind -- bounds the session; alone, it is what is recorded:
              kiln record -p 1234 -d 10
              kiln record -p 1234 --children -- sleep 10
              kiln record -- make
              kiln record -a -d 10
            """
    )

    @Option(name: .shortAndLong, help: ArgumentHelp("Record this process and what it starts.", valueName: "pid"))
    var pid: Int32?

    @Flag(name: [.customShort("a"), .customLong("all")], help: "Record every process of the host.")
    var all = false

    @Flag(help: "With --pid: record what the process has started before, too; what it starts later always is.")
    var children = false

    @OptionGroup var length: LengthOptions

    @Option(name: .shortAndLong, help: ArgumentHelp("Write the session here instead of kiln-TARGET-TIME.", valueName: "dir"))
    var output: String?

    @OptionGroup var sampling: SamplingOptions

    @OptionGroup var programs: ProgramOptions

    @OptionGroup var kernel: KernelOptions

    @Argument(parsing: .postTerminator, help: ArgumentHelp("Run this command.", valueName: "command"))
    var command: [String] = []

    func validate() throws {
        if let pid, pid <= 0 { throw ValidationError("--pid \(pid) is no process: give a positive number.") }
        if pid != nil && all { throw ValidationError("--pid and --all exclude each other: give one.") }
        if children && pid == nil { throw ValidationError("--children are those of --pid: give it, or leave --children out.") }
        if pid == nil && !all && command.isEmpty { throw ValidationError("nothing to record: give --pid, --all, or a command behind --.") }
        if sampling.frequency == 0 { throw ValidationError("--frequency 0 records nothing: give 1 to 10000 samples a second.") }
    }

    func run() throws {
        try reportingErrors {
            try requireLimits()
            try kernel.require()
            let discovery = TargetDiscovery()
            try discovery.requireInitialPIDNamespace()
            let target = try pid.map { try discovery.targets(pids: [$0], ports: [])[0] }
            let session = try RecordSession(self, target: target)
            try session.run()
        }
    }
}
