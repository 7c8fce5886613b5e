/// Whose end of the connections a session watches.
public enum Side: String, Codable, Sendable {
    /// Of those who ask: what a process sends are requests.
    case client
    /// Of those who answer.
    case server
}

/// A command as asked of one server.
public struct ServedCommandKey: Hashable, Sendable {
    /// Index of the process among the session's targets.
    public var process: Int
    /// `127.0.0.1:6379`, `unix`, or `other` for those without a row of their own.
    public var server: String
    public var name: CommandName

    public init(process: Int, server: String, name: CommandName) {
        self.process = process
        self.server = server
        self.name = name
    }
}
