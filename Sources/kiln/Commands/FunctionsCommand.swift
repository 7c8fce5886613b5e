import ArgumentParser
import KilnSymbols

/// `kiln functions`: counts and times calls of functions, and lists what can be probed.
struct FunctionsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "functions",
        abstract: "Counts calls of functions, times them (--time), or lists those that can be probed (--list).",
        discussion: """
            Functions of a process's program or libraries (--lib), of a command's program, or of a file in every process that runs it. Functions \
            without a symbol are found by call frame information and have the name FILE+0xSTART; static probes (USDT) \
            usdt:PROVIDER:NAME, functions of the kernel kernel:NAME; these two are counted without times. Each call of a probed function costs the target about a \
            microsecond, in many virtual machines ten: where probes take more than --max-cost, the functions whose probes cost most are no longer counted. Of one --pid, only the \
            process itself is trapped and counted, unless --children is given.
              kiln functions -p 1234 '*Command' -i 10
              kiln functions -p 1234 --time 'dict*' --exclude '*Safe*' -d 10
              kiln functions -p 1234 --lib libc malloc free
              kiln functions /usr/bin/redis-server 'zset*' -d 60
              kiln functions '*' --time -- ./program
              kiln functions -p 1234 'usdt:python:*'
              kiln functions -p 1234 'kernel:tcp_*'
              kiln functions --list /usr/bin/redis-server '*Command'
              kiln functions --list 'kernel:tcp_*'
            """
    )

    @OptionGroup var patterns: FunctionPatternOptions

    @OptionGroup var observation: ObservationOptions

    @Flag(help: "List the functions, and do nothing else.")
    var list = false

    @OptionGroup var options: FunctionSessionOptions

    @Option(
        parsing: .remaining, help: ArgumentHelp("Functions of this command's program; all words behind it. The same as --.", valueName: "command"),
        completion: .file())
    var command: [String] = []

    /// The parser takes no second list of words behind a list of names: so `--` becomes `--command`.
    static func withCommandOption(_ arguments: [String]) -> [String] {
        guard arguments.first == configuration.commandName, let terminator = arguments.firstIndex(of: "--") else { return arguments }
        return arguments[..<terminator] + ["--command"] + arguments[(terminator + 1)...]
    }

    func validate() throws {
        let whom = observation.whom
        if list, whom.all || !whom.tid.isEmpty || !whom.cgroup.isEmpty || !whom.user.isEmpty {
            throw ValidationError("--list reads files: give a PATH, --pid, --comm, or a command behind --.")
        }
    }

    func run() throws {
        try reportingErrors {
            let whom = observation.whom, pids = try whom.pid + FunctionPatternOptions.pids(named: whom.comm)
            let program = whom.isGiven ? nil : command.first
            if list {
                return try FunctionListing(chosen: ChosenFunctions(patterns, pids: pids, program: program)).write(to: .standardOutput, json: options.json)
            }
            try observation.run(command, to: "count functions of", json: options.json) { whom, started in
                let functions = try SessionFunctions(ChosenFunctions(patterns, pids: pids, program: program), timing: options.timing)
                return try FunctionSession(options: options, observation: observation).plan(on: whom, functions, started: started)
            }
        }
    }
}
