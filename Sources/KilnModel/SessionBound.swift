/// How long a session runs if nothing else ends it.
public enum SessionBound {
    /// The limit, in seconds, for a session whose output nobody sees.
    public static let withoutTerminal = 300.0

    /// The length in seconds; nil if only a signal or a process ends the session. `duration`: the requested length. `hasCommand`: a command
    /// behind `--` ends the session. `hasTerminal`: standard output or standard error is a terminal.
    public static func seconds(duration: Double?, hasCommand: Bool, hasTerminal: Bool) -> Double? {
        duration ?? (hasCommand || hasTerminal ? nil : withoutTerminal)
    }
}
