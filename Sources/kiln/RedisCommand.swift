import ArgumentParser
import KilnKernel
import KilnModel
import KilnTargets
import SystemPackage

/// `kiln redis`: the main job.
struct RedisCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "redis",
        abstract: "Profiles running Redis servers: each command's latency, system calls, on-CPU stacks.",
        discussion: """
            Attaches to unmodified servers and prints every interval; after Ctrl-C, --duration or the end of the server \
            a directory holds the numbers, the folded stacks and flamegraph.svg. Without --pid and --port it takes the \
            one redis-server, valkey-server or keydb-server that runs. A command behind -- bounds the session:
              kiln redis --port 6379 -- sleep 10
            """
    )

    @OptionGroup var target: TargetOptions

    @Option(name: .shortAndLong, help: ArgumentHelp("End after this many seconds.", valueName: "seconds"))
    var duration: Double?

    @Option(name: .shortAndLong, help: ArgumentHelp("Print and record every so many seconds.", valueName: "seconds"))
    var interval: Double = 1

    @Option(name: [.customShort("F"), .long], help: ArgumentHelp("Stack samples a second of CPU time; 0: none.", valueName: "hz"))
    var frequency: Int = 99

    @Option(name: .shortAndLong, help: ArgumentHelp("Write the session here instead of kiln-TARGET-TIME.", valueName: "dir"))
    var output: String?

    @Flag(name: .customLong("no-syscalls"), help: "Don't count system calls: watching then costs least.")
    var noSyscalls = false

    @Flag(help: "Show inlined functions as frames of their own, where debugging information tells of them.")
    var inline = false

    @Flag(help: "Show each thread's name as a frame below its stacks.")
    var threads = false

    @Flag(name: .customLong("no-demangle"), help: "Leave the names of C++, Rust and Swift functions as linkers know them.")
    var noDemangle = false

    @Flag(help: "Print the full histogram of each command every interval.")
    var histograms = false

    @Flag(help: "Print JSON lines instead of tables.")
    var json = false

    @Flag(name: .customLong("bpf-statistics"), help: "Switch on the kernel's run-time statistics of BPF programs (system-wide, costs time).")
    var bpfStatistics = false

    @Flag(help: ArgumentHelp("Hold kiln's counts against the server's own INFO at the end.", discussion: """
        kiln connects to the server as a client. A password is taken from the environment variable REDISCLI_AUTH or from \
        --audit-password-file, never from the command line.
        """))
    var audit = false

    @Option(name: .customLong("audit-user"), help: ArgumentHelp("Authenticate as this user.", valueName: "name"))
    var auditUser: String?

    @Option(name: .customLong("audit-password-file"), help: ArgumentHelp("Authenticate with the first line of this file.", valueName: "file"))
    var auditPasswordFile: String?

    @Argument(parsing: .postTerminator, help: ArgumentHelp("Run this command; the session ends when it does.", valueName: "command"))
    var command: [String] = []

    func validate() throws {
        try require("--interval", interval, in: 0.1...3600, unit: "seconds")
        if let duration { try require("--duration", duration, in: 0.1...2_592_000, unit: "seconds") }
        guard (0...10_000).contains(frequency) else {
            throw ValidationError("--frequency \(frequency) makes no sense: give 0 to 10000 samples a second.")
        }
    }

    func run() throws {
        let began = Snapshot.now()
        try reportingErrors {
            let session = try RedisSession(self, targets: try target.targets(), began: began)
            try session.run()
        }
    }
}
