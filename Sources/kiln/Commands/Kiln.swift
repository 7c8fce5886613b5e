import ArgumentParser
import Flamegraph
import Glibc
import KilnKernel
import KilnProfiles
import PrintableText

/// The version of this build, as session.json records it.
let kilnVersion = "0.1.0"

/// What `kiln --version` prints. The first line says whether two kilns are the same version (`Bootstrap`).
let versionText = """
    kiln \(kilnVersion)
    hooks: \(CommandHook.allCases.map(\.rawValue).joined(separator: ", "))
    kiln export writes: \(ExportFormat.all.map(\.name).joined(separator: ", "))
    kiln collapse reads: \((CollapseFormat.all.map(\.name) + ["pprof", "otlp"]).joined(separator: ", "))
    """

@main
struct Kiln: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "kiln",
        abstract: "Profiles a running server from inside the Linux kernel.",
        version: versionText,
        subcommands: [
            RedisCommand.self, ServeCommand.self, RecordCommand.self, SyscallsCommand.self, FunctionsCommand.self, TraceCommand.self, FlamegraphCommand.self,
            CollapseCommand.self, DiffCommand.self,
            ReportCommand.self, ExportCommand.self, CostCommand.self, DoctorCommand.self, RemoteSession.self,
        ]
    )

    @OptionGroup(title: "Another host") var hosts: HostOptions

    /// Without a subcommand.
    func run() throws { try reportingErrors { try Output.standardOutput.write(Overview.ofThisHost().lines) } }

    static func main() {
        Output.occupyClosedDescriptors()
        // A write beyond the file size limit (ulimit -f) must fail with an error, not end kiln by a signal.
        signal(SIGXFSZ, SIG_IGN)
        // Where whoever starts kiln ignores it, the statuses of kiln's own children are lost.
        signal(SIGCHLD, SIG_DFL)
        // The Swift runtime reads the arguments from /proc.
        guard !CommandLine.arguments.isEmpty else {
            say("kiln: cannot read its own arguments in /proc. kiln needs the proc file system: mount -t proc proc /proc")
            Glibc.exit(1)
        }
        var arguments = Array(CommandLine.arguments.dropFirst())
        do {
            if let hosted = try HostedArguments.parsed(arguments) {
                arguments = hosted.words
                return try HostedRun(options: hosted.hosts, words: hosted.words).run()
            }
            arguments = try withConfiguration(FunctionsCommand.withCommandOption(arguments))
            var command = try parseAsRoot(arguments)
            try command.run()
        } catch let failure as Failure {
            say("kiln: ", failure)
            Glibc.exit(failure.status)
        } catch {
            let code = exitCode(for: error)
            // A closed pipe while help is printed is not an error.
            if !(error is ExitCode) { _ = try? (code == .success ? Output.standardOutput : .standardError).write(message(for: error, arguments)) }
            Glibc.exit(code.rawValue)
        }
    }

    /// Adds the arguments of a configuration file, if the subcommand has one and the arguments name it.
    private static func withConfiguration(_ arguments: [String]) throws -> [String] {
        guard arguments.contains(where: { $0.hasPrefix("--config") }),
            let command = configuration.subcommands.first(where: { $0.configuration.commandName == arguments.first })
        else { return arguments }
        return try arguments.prefix(1) + ConfiguredArguments(Array(arguments.dropFirst()), of: command).arguments
    }

    /// Help, or what is wrong with the arguments. The message may quote arguments, and a file name may hold control characters: so the
    /// message is made from the arguments in printable form. If those parse without an error, the message has one line.
    private static func message(for error: any Error, _ arguments: [String]) -> [Line] {
        var error = error
        let shown = arguments.map(\.printable)
        if shown != arguments {
            do {
                _ = try parseAsRoot(shown)
                return [Line(fullMessage(for: error))]
            } catch let same {
                error = same
            }
        }
        var lines = fullMessage(for: error).split(separator: "\n", omittingEmptySubsequences: false).map { Line(String($0)) }
        let isUnknown = ["Error: Unexpected argument", "Error: Unknown option"].contains { lines[0].text.hasPrefix($0) }
        if isUnknown, let misspelling = Misspelling(in: shown, of: Kiln.self) { lines[0] = "Error: \(misspelling)" }
        return lines
    }
}

/// The running kernel's release, as `uname -r` prints it.
func kernelRelease() -> String {
    var names = utsname()
    uname(&names)
    return withUnsafeBytes(of: names.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
}
