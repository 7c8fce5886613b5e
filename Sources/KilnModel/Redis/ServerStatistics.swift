/// What a Redis server says of itself: commandstats, latencystats, errorstats and a few lines more of INFO.
/// Source of the format: https://redis.io/docs/latest/commands/info/
public struct ServerStatistics: Equatable, Sendable {
    public struct Command: Equatable, Sendable {
        public var calls: UInt64 = 0
        /// Of all calls, those included that a script, EXEC or a module's command made inside of it.
        public var microseconds: UInt64 = 0
        public var rejectedCalls: UInt64 = 0
        public var failedCalls: UInt64 = 0
        /// Of its own execution time since the server started or was reset; nil where it keeps none.
        public var p99Microseconds: Double?

        public init() {}
    }

    /// The version of Redis that it is or is compatible with: Valkey 8, Valkey 9 and Redict call themselves 7.2.
    public struct Version: Comparable, Sendable {
        public var major: Int, minor: Int

        public init(_ major: Int, _ minor: Int) {
            self.major = major
            self.minor = minor
        }

        public static func < (left: Self, right: Self) -> Bool { (left.major, left.minor) < (right.major, right.minor) }
    }

    /// By name in upper case; subcommands are added to their command.
    public var commands: [String: Command] = [:]
    /// Commands with subcommands that have lines of their own.
    public var containers: Set<String> = []
    /// By word, as the server cuts it (`word(of:)`).
    public var errors: [String: UInt64] = [:]
    /// Error replies of all words; nil where it keeps no count.
    public var errorReplies: UInt64?
    /// As the server knows itself.
    public var processID: Int32?
    public var version: Version?
    public var isValkey = false
    public var isReplica = false
    public var blockedClients = 0
    /// Names of the modules that it has loaded.
    public var modules: [String] = []
    /// Calls of CLIENT REPLY, where it counts subcommands.
    public var clientReplyCalls: UInt64 = 0
    /// Bytes that it read from its clients and its master; nil where it doesn't say.
    public var inputBytes: UInt64?
    /// Of them, those from its master; nil where it doesn't say (before Redis 7).
    public var linkBytes: UInt64?
    /// How far the stream of replicated commands has come.
    var replicationOffset: UInt64?
    /// Whether it counts rejected calls, and errors by their word: Redis 6.2 does.
    public var countsRejectedCalls = false
    public var keepsErrors = false
    /// Redis 7.2 and later, and Redict, drop all words where there are more than 128.
    public var droppedErrors = false

    public init() {}

    /// `text`: the reply to INFO. Lines of other sections, or that can't be read, are passed over.
    public init(parsing text: String) {
        for line in text.split(whereSeparator: { $0 == "\n" || $0 == "\r\n" }) {
            if line.hasPrefix("# Errorstats") { keepsErrors = true }
            guard let colon = line.firstIndex(of: ":") else { continue }
            let key = line[..<colon], value = line[line.index(after: colon)...]
            if key.hasPrefix("cmdstat_") {
                var counts = commands[name(key, "cmdstat_"), default: Command()]
                counts.calls &+= number(value, "calls") ?? 0
                counts.microseconds &+= number(value, "usec") ?? 0
                counts.rejectedCalls &+= number(value, "rejected_calls") ?? 0
                counts.failedCalls &+= number(value, "failed_calls") ?? 0
                commands[name(key, "cmdstat_")] = counts
                if key.contains("|") { containers.insert(name(key, "cmdstat_")) }
                if field(value, "rejected_calls") != nil { countsRejectedCalls = true }
                if key.lowercased() == "cmdstat_client|reply" { clientReplyCalls = number(value, "calls") ?? 0 }
            } else if key.hasPrefix("latency_percentiles_usec_"), !key.contains("|") {
                let command = name(key, "latency_percentiles_usec_")
                commands[command, default: Command()].p99Microseconds = field(value, "p99").flatMap { Double($0) }
            } else if key.hasPrefix("errorstat_") {
                let word = key.dropFirst("errorstat_".count)
                keepsErrors = true
                if word == "ERRORSTATS_DISABLED" { droppedErrors = true } else {
                    errors[Self.word(of: printableText(word.utf8)), default: 0] &+= number(value, "count") ?? 0
                }
            } else if key == "module", let name = field(value, "name") {
                modules.append(String(name))
            } else {
                read(key, value)
            }
        }
    }

    private mutating func read(_ key: Substring, _ value: Substring) {
        switch key {
        case "process_id": processID = Int32(value)
        case "role": isReplica = value == "slave"
        case "blocked_clients": blockedClients = Int(value) ?? 0
        case "total_net_input_bytes": inputBytes = UInt64(value)
        case "total_net_repl_input_bytes": linkBytes = UInt64(value)
        case "master_repl_offset": replicationOffset = UInt64(value)
        case "total_error_replies": errorReplies = UInt64(value)
        case "valkey_version": isValkey = true
        case "redis_version":
            let parts = value.split(separator: ".").prefix(2).compactMap { Int($0) }
            if parts.count == 2 { version = Version(parts[0], parts[1]) }
        default: break
        }
    }

    /// The words under which Valkey counts those beyond 128, and every server an error without a blank behind its word.
    static let overflow = "ERRORSTATS_OVERFLOW", wordless = "ERR"

    /// What a server makes of an error's first word as kiln shows it: it looks for its end in 32 bytes, and its INFO has no ':' and '#'.
    public static func word(of shown: String) -> String {
        var word = "", bytes = 0
        var rest = Substring(shown)
        while let character = rest.first {
            let isEscaped = rest.hasPrefix("\\x") && rest.count >= 4
            // A tab or the like ends kiln's word, and not a server's.
            if isEscaped, rest.hasPrefix("\\x0") || rest.hasPrefix("\\x1") || rest.hasPrefix("\\x20") { break }
            word += isEscaped ? String(rest.prefix(4)) : character == ":" || character == "#" ? "_" : String(character)
            rest = rest.dropFirst(isEscaped ? 4 : 1)
            bytes += 1
        }
        return bytes > 30 ? wordless : word
    }

    /// What happened between `earlier` and this moment; nil where the server's counters were reset in between.
    public func since(_ earlier: ServerStatistics) -> ServerStatistics? {
        var difference = self
        for (name, before) in earlier.commands {
            let now = commands[name] ?? Command()
            guard now.calls >= before.calls, now.microseconds >= before.microseconds, now.rejectedCalls >= before.rejectedCalls,
                  now.failedCalls >= before.failedCalls
            else { return nil }
            difference.commands[name]?.calls -= before.calls
            difference.commands[name]?.microseconds -= before.microseconds
            difference.commands[name]?.rejectedCalls -= before.rejectedCalls
            difference.commands[name]?.failedCalls -= before.failedCalls
        }
        for total in [\.inputBytes, \.linkBytes, \.errorReplies, \.replicationOffset] as [WritableKeyPath<ServerStatistics, UInt64?>] {
            guard let now = self[keyPath: total], let before = earlier[keyPath: total] else {
                difference[keyPath: total] = nil
                continue
            }
            // The offset is its master's, and may change with it.
            guard now >= before || total == \.replicationOffset else { return nil }
            difference[keyPath: total] = now >= before ? now - before : now
        }
        difference.errors = droppedErrors ? [:] : errors.grown(since: earlier.errors)
        guard droppedErrors || earlier.errors.allSatisfy({ errors[$0.key] ?? 0 >= $0.value }) else { return nil }
        return difference
    }

    /// Bytes that came from clients; nil where that can't be told.
    public var requestBytes: UInt64? {
        guard let inputBytes else { return nil }
        guard let linkBytes else { return isReplica ? nil : inputBytes }
        return inputBytes >= linkBytes ? inputBytes - linkBytes : nil
    }

    private func name(_ key: Substring, _ prefix: String) -> String {
        (key.dropFirst(prefix.count).split(separator: "|").first.map(String.init) ?? "").uppercased()
    }

    private func field(_ value: Substring, _ wanted: String) -> Substring? {
        for part in value.split(separator: ",") {
            let pair = part.split(separator: "=", maxSplits: 1)
            if pair.count == 2, pair[0] == wanted { return pair[1] }
        }
        return nil
    }

    private func number(_ value: Substring, _ wanted: String) -> UInt64? { field(value, wanted).flatMap { UInt64($0) } }
}
