// Which processes are Redis and its relatives, and which only look like them.

/// A server whose protocol kiln reads.
public enum KnownServer: String, Hashable, Sendable, CaseIterable {
    case redis = "redis-server"
    case valkey = "valkey-server"
    case keydb = "keydb-server"
}

/// What a process is, judged by its names alone.
///
/// No single name is enough. The exe link of Debian's redis-server reads redis-check-rdb, upstream's
/// redis-sentinel and redis-check-rdb are links to redis-server, and a forked child keeps comm and exe.
public enum ProcessRole: Hashable, Sendable {
    case server(KnownServer)
    /// redis-sentinel, or redis-server --sentinel: watches servers and holds no data.
    case sentinel
    /// A fork that writes a snapshot or rewrites the log; the word is its title, such as "redis-rdb-bgsave".
    case serverChild(title: String)
    case other

    /// - Parameters:
    ///   - comm: of the thread-group leader.
    ///   - exe: the link's target; nil where it can't be read.
    ///   - arguments: the command line, which may have been replaced by a title.
    public init(comm: String, exe: String?, arguments: [String]) {
        let exeName = exe?.droppingSuffix(" (deleted)").baseName
        // A script takes its own name as comm: a wrapper called redis-server is a shell.
        if let exeName, Self.interpreters.contains(exeName) { self = .other; return }
        // Blanks: a title is one argument, "redis-server unixsocket:/run/x.sock", whose last slash is not its own.
        let title = arguments.first?.split(separator: " ").first.map { String($0).baseName }
        // What the process calls itself comes before the name of a file that it may share with other programs.
        let ownNames = [title, comm].compactMap { $0 }

        if let title, Self.isChildTitle(title) {
            self = .serverChild(title: title)
        } else if ownNames.contains(where: Self.isSentinel) || arguments.first?.hasSuffix("[sentinel]") == true {
            self = .sentinel
        } else if ownNames.contains(where: Self.isTool) {
            self = .other
        } else if let server = (ownNames + [exeName].compactMap { $0 }).lazy.compactMap({ KnownServer(rawValue: $0) }).first {
            self = arguments.dropFirst().contains("--sentinel") ? .sentinel : .server(server)
        } else {
            self = .other
        }
    }

    public var server: KnownServer? { if case .server(let server) = self { server } else { nil } }

    private static let families = ["redis-", "valkey-", "keydb-"]
    private static let childSuffixes = ["rdb-bgsave", "aof-rewrite", "rdb-to-slaves", "rdb-to-replicas", "module-fork"]
    private static let toolSuffixes = ["check-rdb", "check-aof", "benchmark", "cli"]
    private static let interpreters: Set<String> = ["sh", "dash", "bash", "ash", "ksh", "zsh", "busybox"]

    private static func isOneOf(_ suffixes: [String], _ name: String) -> Bool {
        families.contains { family in name.droppingPrefix(family).map(suffixes.contains) ?? false }
    }
    private static func isChildTitle(_ name: String) -> Bool { isOneOf(childSuffixes, name) }
    private static func isSentinel(_ name: String) -> Bool { isOneOf(["sentinel"], name) }
    private static func isTool(_ name: String) -> Bool { isOneOf(toolSuffixes, name) }
}
