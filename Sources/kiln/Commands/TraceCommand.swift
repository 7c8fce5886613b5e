import ArgumentParser

/// `kiln trace`: prints single events as they happen.
struct TraceCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "trace",
        abstract: "Prints single events, a line each: requests, executed programs.",
        subcommands: [TraceRedisCommand.self, TraceExecCommand.self]
    )
}
