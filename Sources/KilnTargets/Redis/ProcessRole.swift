/// The role of a process, judged by its names.
///
/// No single name is enough: Debian's exe link of redis-server is redis-check-rdb, upstream's redis-sentinel and redis-check-rdb are links
/// to redis-server, and a forked child keeps comm and exe.
public enum ProcessRole: Hashable, Sendable {
    case server(KnownServer)
    /// redis-sentinel, or redis-server --sentinel: monitors servers and holds no data.
    case sentinel
    /// A fork that writes a snapshot or rewrites the log, with its title, such as "redis-rdb-bgsave".
    case serverChild(title: String)
    case other

    /// - Parameters:
    ///   - comm: of the thread-group leader.
    ///   - exe: the link's target; nil where it can't be read.
    ///   - arguments: the command line, which may have been replaced by a title.
    public init(comm: String, exe: String?, arguments: [String]) {
        let exeName = exe?.droppingSuffix(" (deleted)").baseName
        // A script has its own name as comm: a wrapper called redis-server is a shell.
        if let exeName, Self.interpreters.contains(exeName) { self = .other; return }
        let arguments = exe.map(Self.isLoader) == true ? Self.behindLoader(arguments) : arguments
        let ownNames = Self.ownNames(comm, arguments)

        if let title = Self.title(arguments), Self.isChildTitle(title) {
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

    /// Whether it reads requests of a known protocol, for any purpose.
    public var readsRequests: Bool {
        switch self {
        case .server, .sentinel: true
        case .serverChild, .other: false
        }
    }

    /// The role of a process by its program, if its name is not known. A tool may be a link to the server.
    init(comm: String, exe: String?, arguments: [String], program: () -> KnownServer?) {
        self.init(comm: comm, exe: exe, arguments: arguments)
        guard self == .other, !Self.ownNames(comm, arguments).contains(where: Self.isTool), let server = program() else { return }
        self = arguments.contains("--sentinel") ? .sentinel : .server(server)
    }

    /// The dynamic loader (/lib64/ld-linux-x86-64.so.2, ld-musl-x86_64.so.1, ld.so), which runs the program in its arguments.
    static func isLoader(_ exe: String) -> Bool {
        let name = exe.droppingSuffix(" (deleted)").baseName
        return name == "ld.so" || name.hasPrefix("ld-") && name.contains(".so")
    }

    /// The program that a loader runs, with its arguments.
    private static func behindLoader(_ arguments: [String]) -> [String] {
        var rest = arguments.dropFirst()
        while let option = rest.first, option.hasPrefix("--") {
            rest = rest.dropFirst(option.contains("=") || loaderFlags.contains(option) ? 1 : 2)
        }
        return Array(rest)
    }

    /// The loader's options without a value.
    private static let loaderFlags: Set<String> = ["--inhibit-cache", "--list", "--verify", "--list-tunables", "--list-diagnostics"]

    /// The title up to its first blank. A title is one argument, "redis-server unixsocket:/run/x.sock", whose last slash is part of the
    /// address.
    private static func title(_ arguments: [String]) -> String? {
        arguments.first?.split(separator: " ").first.map { String($0).baseName }
    }

    /// The process's own names come before the name of its file, which other programs may share.
    private static func ownNames(_ comm: String, _ arguments: [String]) -> [String] {
        [title(arguments), comm].compactMap { $0 }
    }

    private static let families = ["redis-", "valkey-", "redict-", "keydb-"]
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
