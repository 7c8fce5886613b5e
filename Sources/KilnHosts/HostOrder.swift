/// What kiln on another host is to run.
public struct HostOrder: Codable, Equatable, Sendable {
    /// The subcommand and its arguments, without `--output`.
    public var arguments: [String]
    /// The subcommand writes a session directory: it gets an `--output`.
    public var writesSession: Bool
    /// The session directory stays on that host.
    public var keeps: Bool
    /// The host as it was named here.
    public var host: String
    /// The rows of the terminal here; nil: standard output here is no terminal.
    public var terminalRows: Int?
    /// Bold text may be used.
    public var hasBold: Bool

    public init(arguments: [String], writesSession: Bool, keeps: Bool, host: String = "", terminalRows: Int?, hasBold: Bool) {
        self.arguments = arguments
        self.writesSession = writesSession
        self.keeps = keeps
        self.host = host
        self.terminalRows = terminalRows
        self.hasBold = hasBold
    }
}
