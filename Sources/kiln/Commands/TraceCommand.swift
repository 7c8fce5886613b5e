import ArgumentParser

/// `kiln trace`: prints single events as they happen.
struct TraceCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "trace",
        abstract: "Prints one line a request, or only the slow or failed ones.",
        subcommands: [TraceRedisCommand.self]
    )
}
