import ArgumentParser
import Glibc
import KilnKernel
import KilnModel
import KilnSymbols

/// `kiln functions`: counts calls of functions.
struct FunctionsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "functions", abstract: "Counts and times calls of functions.")

    @OptionGroup var whom: WhomOptions
    @OptionGroup var options: FunctionSessionOptions
    @OptionGroup var length: LengthOptions
    @OptionGroup var programs: ProgramOptions
    @OptionGroup var kernel: KernelOptions
    @Argument var patterns: [String] = []
    /// A word of the command behind `--`.
    @Option(name: .customLong("command-word"), help: .hidden) var command: [String] = []

    /// The parser takes no command behind `--` beside a list of other words, so each of its words becomes an option.
    static func separatingCommand(in arguments: [String]) -> [String] {
        guard arguments.first == configuration.commandName, let terminator = arguments.firstIndex(of: "--") else { return arguments }
        return arguments[..<terminator] + arguments[arguments.index(after: terminator)...].map { "--command-word=\($0)" }
    }

    func run() throws {
        let began = MonotonicClock.now()
        try reportingErrors {
            try requireLimits()
            try kernel.require()
            let whom = try Whom(whom, command, to: "count functions of", children: options.children)
            let path = patterns[0]
            let places = try ProbePlaces(of: path)
            var functions: [SessionFunction] = []
            for name in places.functionNames.sorted() where patterns.dropFirst().contains(where: { fnmatch($0, name, 0) == 0 }) {
                for place in places.functions(named: name) where !place.isIndirect {
                    functions.append(
                        SessionFunction(recorded: RecordedFunction(name: name, file: path), site: FunctionSite(name: name, file: path, entry: place.offset)))
                }
            }
            do {
                try FunctionSession(options: options, length: length, programs: programs, command: command)
                    .session(on: whom, functions, refused: [], began: began).run()
            } catch {
                whom.child?.end()
                throw error
            }
        }
    }
}
