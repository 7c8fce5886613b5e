import ArgumentParser
import KilnModel

/// How long a session runs. All subcommands share this rule.
struct LengthOptions: ParsableArguments {
    @Option(
        name: .shortAndLong, parsing: .unconditional,
        help: ArgumentHelp(
            "End after this many seconds, and end the command behind -- then. (default: \(Int(SessionBound.withoutTerminal)) if there is neither a terminal nor a command behind --)",
            valueName: "seconds"
        ))
    var duration: Double?

    func validate() throws {
        if let duration { try require("--duration", duration, in: 0.1...2_592_000) }
    }

    /// When a session that began at `start` ends by itself; nil if only something else ends it.
    func end(from start: Nanoseconds, _ command: [String]) -> Nanoseconds? {
        bound(command).map { start + Nanoseconds(UInt64($0 * 1e9)) }
    }

    /// The length as a phrase for the line that announces the session. `command`: the words behind --.
    func words(_ command: [String]) -> String {
        let unseen = duration == nil ? " (no terminal; --duration gives another length)" : ""
        return bound(command).map { "for \(significantSeconds($0))\(unseen)" } ?? (command.isEmpty ? "until Ctrl-C" : "until the command ends")
    }

    private func bound(_ command: [String]) -> Double? {
        let hasTerminal = Output.standardOutput.isTerminal || Output.standardError.isTerminal
        return SessionBound.seconds(duration: duration, hasCommand: !command.isEmpty, hasTerminal: hasTerminal)
    }
}
