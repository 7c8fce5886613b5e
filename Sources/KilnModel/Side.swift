/// The side of the connections that a session watches.
public enum Side: String, Codable, Sendable {
    /// The targets send requests.
    case client
    /// The targets send replies.
    case server
}

/// A command sent to one server.
public struct ServedCommandKey: Hashable, Sendable {
    /// Index of the process among the session's targets.
    public var process: Int
    /// `127.0.0.1:6379`, `unix`, or `other` for servers without a row of their own.
    public var server: String
    public var name: CommandName

    public init(process: Int, server: String, name: CommandName) {
        self.process = process
        self.server = server
        self.name = name
    }
}
