import ArgumentParser
import Glibc

/// The version of this build, as `kiln --version` prints it and session.json records it.
let kilnVersion = "0.1.0"

@main
struct Kiln: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "kiln",
        abstract: "Profiles a running server from inside the Linux kernel.",
        version: kilnVersion,
        subcommands: [
            RedisCommand.self, RecordCommand.self, FlamegraphCommand.self, CollapseCommand.self, DiffCommand.self, ReportCommand.self,
            CostCommand.self, DoctorCommand.self,
        ]
    )
}

/// The running kernel's, as `uname -r` prints it.
func kernelRelease() -> String {
    var names = utsname()
    uname(&names)
    return withUnsafeBytes(of: names.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
}
