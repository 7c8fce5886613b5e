import ArgumentParser

/// `kiln trace`: prints single events as they happen.
struct TraceCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "trace",
        abstract: "Prints single events, a line each: requests, system calls, executed programs.",
        subcommands: [TraceRedisCommand.self, TraceSyscallsCommand.self, TraceExecCommand.self]
    )
}
