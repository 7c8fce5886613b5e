import ArgumentParser
import KilnSymbols

/// `kiln functions`: what can be probed.
struct FunctionsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "functions",
        abstract: "Lists the functions of a program or library that can be probed (--list).",
        discussion: """
            Functions without a symbol are found by call frame information and have the name FILE+0xSTART. What can't be probed is listed \
            with the reason.
              kiln functions --list /usr/bin/redis-server '*Command'
              kiln functions --list -p 1234 --lib libc 'mem*' --exclude '*chk'
              kiln functions --list 'kernel:tcp_*'
            """
    )

    @OptionGroup var patterns: FunctionPatternOptions

    @OptionGroup var whom: WhomOptions

    @Flag(help: "List the functions, and do nothing else.")
    var list = false

    @Flag(help: "Print JSON lines, one a function.")
    var json = false

    @Option(
        parsing: .remaining, help: ArgumentHelp("Functions of this command's program; all words behind it. The same as --.", valueName: "command"))
    var command: [String] = []

    /// The parser takes no second list of words behind a list of names: so `--` becomes `--command`.
    static func withCommandOption(_ arguments: [String]) -> [String] {
        guard arguments.first == configuration.commandName, let terminator = arguments.firstIndex(of: "--") else { return arguments }
        return arguments[..<terminator] + ["--command"] + arguments[(terminator + 1)...]
    }

    func validate() throws {
        guard list else { throw ValidationError("nothing to do: give --list.") }
        if whom.all || !whom.tid.isEmpty || !whom.cgroup.isEmpty || !whom.user.isEmpty {
            throw ValidationError("--list reads files: give a PATH, --pid, --comm, or a command behind --.")
        }
    }

    func run() throws {
        try reportingErrors {
            let pids = whom.pid + (try FunctionPatternOptions.pids(named: whom.comm))
            let chosen = try ChosenFunctions(patterns, pids: pids, program: command.first)
            try FunctionListing(chosen: chosen).write(to: .standardOutput, json: json)
        }
    }
}
