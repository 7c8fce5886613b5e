import ArgumentParser
import KilnHosts

/// The options of kiln itself, before the subcommand: where it runs.
struct HostOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Run the subcommand on this host, through ssh; repeat for several.",
            discussion: """
                [user@]HOST, or ssh://[user@]HOST[:PORT]. Names, keys and jump hosts are those of ssh and its configuration. kiln of the same \
                version is used if it is there; otherwise this one is sent, and removed at the end. Options that name files name those of the \
                other host; only --output is a place here. With several hosts ssh asks nothing.
                """, valueName: "host"))
    var host: [HostArgument] = []

    @Flag(help: "With --host: become root there by sudo. A password is asked for once.")
    var sudo = false

    @Flag(help: "With --host: leave the session's files on the other host as well.")
    var keep = false

    @Option(name: .customLong("ssh-config"), help: ArgumentHelp("With --host: the configuration file of ssh (its option -F).", valueName: "file"))
    var sshConfig: String?

    @Option(
        help: ArgumentHelp("With --host: send this static kiln instead of the one that runs here.", valueName: "file"))
    var binary: String?

    func validate() throws {
        guard host.isEmpty else { return }
        if sudo || keep || sshConfig != nil || binary != nil {
            throw ValidationError("--sudo, --keep, --ssh-config and --binary are for other hosts: give --host, too.")
        }
    }
}

struct HostArgument: ExpressibleByArgument {
    let name: HostName

    init?(argument: String) {
        guard let name = HostName(argument) else { return nil }
        self.name = name
    }
}

/// `kiln --host HOST SUBCOMMAND …`, taken apart.
struct HostedArguments: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "kiln")

    @OptionGroup var hosts: HostOptions

    @Argument(parsing: .captureForPassthrough, help: ArgumentHelp(valueName: "subcommand"))
    var words: [String] = []

    private static let options = ["--host", "--sudo", "--keep", "--ssh-config", "--binary"]

    /// Nil if the arguments name no other host.
    static func parsed(_ arguments: [String]) throws -> HostedArguments? {
        guard let word = arguments.prefix(while: { $0 != "--" }).first(where: { word in options.contains { word == $0 || word.hasPrefix($0 + "=") } }) else {
            return nil
        }
        // The parser would take it anywhere, and this host would be observed.
        guard arguments.first == word else { throw ValidationError("\(word.prefix { $0 != "=" }) stands before the subcommand: kiln --host HOST redis.") }
        return try parse(arguments)
    }
}
