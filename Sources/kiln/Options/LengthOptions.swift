import ArgumentParser
import KilnModel

/// How long a session runs: one rule for all of them.
struct LengthOptions: ParsableArguments {
    @Option(name: .shortAndLong, help: ArgumentHelp(
        "End after this many seconds; without it, a terminal and a command behind --, after \(Int(SessionBound.withoutTerminal)).",
        valueName: "seconds"
    ))
    var duration: Double?

    func validate() throws {
        if let duration { try require("--duration", duration, in: 0.1...2_592_000) }
    }

    /// When a session that began at `start` ends by itself; nil: something else has to end it.
    func end(from start: Nanoseconds, _ command: [String]) -> Nanoseconds? {
        bound(command).map { start + Nanoseconds(UInt64($0 * 1e9)) }
    }

    /// What is said of it when everything is attached. `command`: what stands behind --.
    func words(_ command: [String]) -> String {
        let unseen = duration == nil ? " (no terminal; --duration gives another length)" : ""
        return bound(command).map { "for \(significantSeconds($0))\(unseen)" } ?? (command.isEmpty ? "until Ctrl-C" : "until the command ends")
    }

    private func bound(_ command: [String]) -> Double? {
        let hasTerminal = Output.standardOutput.isTerminal || Output.standardError.isTerminal
        return SessionBound.seconds(duration: duration, hasCommand: !command.isEmpty, hasTerminal: hasTerminal)
    }
}
