import ArgumentParser

/// The version of this build, as `kiln --version` prints it and session.json records it.
let kilnVersion = "0.1.0"

@main
struct Kiln: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "kiln",
        abstract: "Profiles a running server from inside the Linux kernel.",
        version: kilnVersion,
        subcommands: [RedisCommand.self, FlamegraphCommand.self, CollapseCommand.self, DiffCommand.self, ReportCommand.self, TraceCommand.self]
    )
}
