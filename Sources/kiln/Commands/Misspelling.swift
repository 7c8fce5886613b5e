import ArgumentParser

/// A subcommand or an option that doesn't exist, and those that have nearly the same name. What the parser says of it names neither.
struct Misspelling: Equatable, CustomStringConvertible {
    /// With its subcommands: `kiln trace`.
    var command: String
    /// An option with its hyphens, or a subcommand.
    var word: String
    var near: [String]

    var description: String {
        let what = word.hasPrefix("-") ? "option" : "subcommand"
        let names = near.map { "`\($0)`" }
        let question =
            names.isEmpty ? "" : " Did you mean \(names.count < 2 ? names[0] : names.dropLast().joined(separator: ", ") + " or " + names[names.count - 1])?"
        return "`\(command)` has no \(what) `\(word)`.\(question)"
    }

    /// The first one in these arguments; nil: all names exist.
    init?(in arguments: [String], of root: any ParsableCommand.Type) {
        var command = root, name = root.configuration.commandName ?? "", rest = arguments[...]
        while !command.configuration.subcommands.isEmpty, let word = rest.first, !word.hasPrefix("-") {
            let subcommands = command.configuration.subcommands + (command == root ? [HelpWord.self] : [])
            guard let next = subcommands.first(where: { $0.configuration.commandName == word }) else {
                let shown = subcommands.filter { $0.configuration.shouldDisplay }.compactMap { $0.configuration.commandName }
                self.init(command: name, word: word, near: nearNames(to: word, among: shown, atMost: 2))
                return
            }
            (command, rest) = (next, rest.dropFirst())
            name += " " + word
        }
        guard let catalog = try? OptionCatalog(of: command) else { return nil }
        let spellings = Set(catalog.options.flatMap(\.spellings) + ["--help", "--version", "-h"])
        let shown = catalog.options.filter(\.isShown).flatMap(\.spellings).filter { $0.hasPrefix("--") }
        while let word = rest.popFirst(), word != "--" {
            guard word.hasPrefix("--") else { continue }
            let option = String(word.prefix { $0 != "=" })
            guard spellings.contains(option) else {
                // kiln's own options are few, and subcommands have many: those of a subcommand are meant.
                if command == root, !shown.contains(where: { $0.hasPrefix(option) }) { return nil }
                self.init(command: name, word: option, near: nearNames(to: option, among: shown, atMost: 2))
                return
            }
            // The value of an option is no name.
            if let known = catalog.options.first(where: { $0.spellings.contains(option) }), !known.isFlag, option == word { rest = rest.dropFirst() }
        }
        return nil
    }

    private init(command: String, word: String, near: [String]) { (self.command, self.word, self.near) = (command, word, near) }
}

/// The subcommand that the parser adds.
private struct HelpWord: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "help")
}
