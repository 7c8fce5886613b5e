/// How long a session runs by itself, before something else ends it.
public enum SessionBound {
    /// Seconds: what nobody looks at doesn't run for ever.
    public static let withoutTerminal = 300.0

    /// Seconds, or nil where only somebody or a process ends it. `duration`: what was asked for. `hasCommand`: a command behind `--`
    /// ends the session, however long that takes. `hasTerminal`: somebody can see what is printed or said.
    public static func seconds(duration: Double?, hasCommand: Bool, hasTerminal: Bool) -> Double? {
        duration ?? (hasCommand || hasTerminal ? nil : withoutTerminal)
    }
}
