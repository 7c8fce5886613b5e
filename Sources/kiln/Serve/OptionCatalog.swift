import ArgumentParser
import FoundationEssentials

/// The options of a subcommand, as swift-argument-parser describes them: a new option is known here without a line of code.
struct OptionCatalog {
    struct Option {
        /// The first of its long names.
        var name: String
        /// With their hyphens: `--port`, `-p`.
        var spellings: [String]
        /// It takes no value.
        var isFlag: Bool
        var repeats: Bool
        /// Hidden options are for kiln itself.
        var isShown: Bool
    }

    /// Those with a long name.
    let options: [Option]

    init(of command: any ParsableCommand.Type) throws {
        // The text of --experimental-dump-help.
        let description = try JSONDecoder().decode(CommandDescription.self, from: Data(command._dumpHelp().utf8))
        options = (description.command.arguments ?? []).compactMap(Option.init)
    }

    /// - Parameter name: A long name without its hyphens.
    subscript(name: String) -> Option? { options.first { $0.spellings.contains("--" + name) } }

    /// The names of the options that these arguments give, up to `--`, and their values.
    ///
    /// Only what the parser will accept has to be told right: everything else ends in its error.
    func given(in arguments: some Sequence<String>) -> [(option: Option, value: String?)] {
        var given: [(Option, String?)] = [], rest = arguments.makeIterator()
        while let argument = rest.next(), argument != "--" {
            let parts = argument.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            for spelling in argument.hasPrefix("--") ? [parts[0]] : Self.shortSpellings(in: parts[0]) {
                guard let option = options.first(where: { $0.spellings.contains(spelling) }) else { continue }
                given.append((option, option.isFlag ? nil : parts.count > 1 ? parts[1] : rest.next()))
            }
        }
        return given
    }

    /// `-ab` stands for `-a -b`; empty for what is no option.
    private static func shortSpellings(in argument: String) -> [String] { argument.hasPrefix("-") ? argument.dropFirst().map { "-\($0)" } : [] }
}

extension OptionCatalog.Option {
    fileprivate init?(_ argument: CommandDescription.Argument) {
        guard argument.kind != "positional", let name = argument.names?.first(where: { $0.kind == "long" }) else { return nil }
        self.name = name.name
        spellings = (argument.names ?? []).map { ($0.kind == "long" ? "--" : "-") + $0.name }
        isFlag = argument.kind == "flag"
        repeats = argument.isRepeating
        isShown = argument.shouldDisplay
    }
}

/// A part of swift-argument-parser's ToolInfoV0.
private struct CommandDescription: Decodable {
    struct Command: Decodable { var arguments: [Argument]? }

    struct Argument: Decodable {
        struct Name: Decodable {
            var kind: String
            var name: String
        }
        var kind: String
        var shouldDisplay: Bool
        var isRepeating: Bool
        var names: [Name]?
    }

    var command: Command
}
