import ArgumentParser
import Glibc
import PrintableText

/// The arguments of a subcommand, with those that its configuration file adds.
///
/// A file is turned into arguments, which are then parsed like any others. What the command line gives wins: an option that it names is left
/// out of the file, also one that can be repeated.
struct ConfiguredArguments {
    /// For the subcommand's parser: the file's first, then the command line's.
    let arguments: [String]
    /// Of the file, those that the command line doesn't give; empty without a file.
    let settings: [ConfigurationFile.Setting]
    private let path: String

    /// Reads the file that `--config FILE` names in the arguments, if they do. Throws a `Failure` of one line, which begins with
    /// `FILE:LINE:COLUMN: ` where a line of the file is at fault.
    ///
    /// - Parameters:
    ///   - commandLine: The words behind the subcommand's name.
    ///   - command: It has an option `--config`.
    init(_ commandLine: [String], of command: any ParsableCommand.Type) throws {
        let options = try OptionCatalog(of: command), given = options.given(in: commandLine)
        guard let path = given.last(where: { $0.option.name == "config" })?.value, !Self.asksForHelp(commandLine, of: command) else {
            self.init([], of: "", commandLine)
            return
        }
        let names = Set(given.map(\.option.name)), file = try ConfigurationFile(path: path, options: options)
        self.init(file.settings.filter { !names.contains($0.name) }, of: path, commandLine)
        try requireValid(commandLine, as: command)
    }

    init(_ settings: [ConfigurationFile.Setting], of path: String, _ commandLine: [String]) {
        arguments = settings.flatMap(\.values).flatMap(\.arguments) + commandLine
        self.settings = settings
        self.path = path
    }

    /// Help is printed whatever the file says.
    private static func asksForHelp(_ commandLine: [String], of command: any ParsableCommand.Type) -> Bool {
        do {
            _ = try command.parse(commandLine)
            return false
        } catch {
            return command.exitCode(for: error) == .success
        }
    }

    /// Throws the parser's error with the place in the file that is to blame, if one is. Other errors are left to the one who parses.
    private func requireValid(_ commandLine: [String], as command: any ParsableCommand.Type) throws {
        guard let message = Self.refusal(of: arguments, by: command), let place = place(blamedBy: message, commandLine, command) else { return }
        throw ConfigurationFile.failure(TextFault(place: place, reason: message), in: path)
    }

    /// The subcommand with these arguments. Throws a `Failure` of one line, unlike the parser.
    func parse<Command: ParsableCommand>(as command: Command.Type) throws -> Command {
        do {
            return try command.parse(arguments)
        } catch {
            throw Failure("\(path.printable): \(command.message(for: error).split(separator: "\n").joined(separator: " "))", status: EX_USAGE)
        }
    }

    /// Why arguments don't parse, in a line; nil if they do.
    private static func refusal(of arguments: [String], by command: any ParsableCommand.Type) -> String? {
        do {
            _ = try command.parse(arguments)
            return nil
        } catch {
            return command.message(for: error).split(separator: "\n").joined(separator: " ")
        }
    }

    /// Where the file has the option that the parser's message names, and without which the message is another: one of its values, if that
    /// value alone is to blame.
    private func place(blamedBy message: String, _ commandLine: [String], _ command: any ParsableCommand.Type) -> TextPlace? {
        func isRefused(without setting: String, _ isLeftOut: (Int) -> Bool) -> Bool {
            let rest = settings.map { kept in
                var kept = kept
                if kept.name == setting { kept.values = kept.values.enumerated().filter { !isLeftOut($0.offset) }.map(\.element) }
                return kept
            }
            return Self.refusal(of: ConfiguredArguments(rest, of: path, commandLine).arguments, by: command) == message
        }
        for setting in settings where setting.isNamed(in: message) && !isRefused(without: setting.name, { _ in true }) {
            let index = setting.values.indices.prefix(Self.trialLimit).first { index in !isRefused(without: setting.name) { $0 == index } }
            return index.map { setting.values[$0].place } ?? setting.place
        }
        return nil
    }

    /// Parsing takes a millisecond.
    private static let trialLimit = 100
}

extension ConfigurationFile.Setting {
    /// The message holds the option as a word: `--port`, but not `--port-range`.
    fileprivate func isNamed(in message: String) -> Bool {
        message.split { !($0.isLetter || $0.isNumber || $0 == "-") }.contains { $0 == "--" + name }
    }
}

/// What a configuration file that was read again has changed.
struct ConfigurationChanges: Equatable {
    /// Long names without hyphens, in alphabetical order.
    var taken: [String] = []
    /// The same, of options that keep their values until kiln is started again.
    var left: [String] = []

    /// The socket is bound, its token read and the kernel looked at once, and Prometheus needs a histogram's bounds to stay.
    static let fixed: Set<String> = ["listen", "token-file", "buckets", "untested-kernel"]

    /// For standard error.
    var lines: [String] {
        func these(_ names: [String], _ one: String, _ several: String) -> String { names.joined(separator: ", ") + (names.count == 1 ? one : several) }
        return (taken.isEmpty && left.isEmpty ? ["the configuration file has changed nothing"] : [])
            + (taken.isEmpty ? [] : [these(taken, " has", " have") + " changed"])
            + (left.isEmpty ? [] : [these(left, " keeps its value", " keep their values") + " until kiln is started again"])
    }

    /// An option that the command line gives has not changed, whatever the file says.
    ///
    /// - Parameters:
    ///   - old: What was read before.
    ///   - first: What kiln was started with, whose values of `fixed` are in force.
    init(from old: ConfiguredArguments, startedWith first: ConfiguredArguments? = nil, to new: ConfiguredArguments, fixed: Set<String> = Self.fixed) {
        let before = Self.values(of: old), start = Self.values(of: first ?? old), after = Self.values(of: new)
        for name in Set(before.keys).union(start.keys).union(after.keys).sorted() {
            if fixed.contains(name) {
                if start[name] != after[name] { left.append(name) }
            } else if before[name] != after[name] {
                taken.append(name)
            }
        }
    }

    /// A flag that is false, and an empty array, are as good as not given.
    private static func values(of configured: ConfiguredArguments) -> [String: [String]] {
        var values: [String: [String]] = [:]
        for setting in configured.settings where !setting.values.isEmpty { values[setting.name] = setting.values.flatMap(\.arguments) }
        return values
    }
}
