/// Statistics that a Redis server reports: commandstats, latencystats, errorstats and some other lines of INFO.
/// Source of the format: https://redis.io/docs/latest/commands/info/
public struct ServerStatistics: Equatable, Sendable {
    public struct Command: Equatable, Sendable {
        public var calls: UInt64 = 0
        /// Time of all calls, including those made inside a script, EXEC or a module's command.
        public var microseconds: UInt64 = 0
        public var rejectedCalls: UInt64 = 0
        public var failedCalls: UInt64 = 0
        /// Of its own execution time since the server's start or reset; nil if the server keeps none.
        public var p99Microseconds: Double?

        public init() {}
    }

    /// The Redis version that the server is compatible with: Valkey 8, Valkey 9 and Redict report 7.2.
    public struct Version: Comparable, Sendable {
        public var major: Int, minor: Int

        public init(_ major: Int, _ minor: Int) {
            self.major = major
            self.minor = minor
        }

        public static func < (left: Self, right: Self) -> Bool { (left.major, left.minor) < (right.major, right.minor) }
    }

    /// By name in upper case. Subcommands are added to their command.
    public var commands: [String: Command] = [:]
    /// Commands whose subcommands have their own lines.
    public var containers: Set<String> = []
    /// By word, truncated like the server does (`word(of:)`).
    public var errors: [String: UInt64] = [:]
    /// Error replies with any word; nil if the server doesn't count them.
    public var errorReplies: UInt64?
    /// The server's pid in its own pid namespace.
    public var processID: Int32?
    public var version: Version?
    public var isValkey = false
    public var isReplica = false
    public var blockedClients = 0
    /// Names of the loaded modules.
    public var modules: [String] = []
    /// Calls of CLIENT REPLY, if the server counts subcommands.
    public var clientReplyCalls: UInt64 = 0
    /// Bytes read from clients and the master; nil if the server doesn't report them.
    public var inputBytes: UInt64?
    /// The bytes read from the master; nil if the server doesn't report them (before Redis 7).
    public var linkBytes: UInt64?
    /// The position in the stream of replicated commands.
    var replicationOffset: UInt64?
    /// Whether it counts rejected calls, and errors by word (since Redis 6.2).
    public var countsRejectedCalls = false
    public var keepsErrors = false
    /// Redis 7.2 and later, and Redict, drop all words if there are more than 128.
    public var droppedErrors = false

    public init() {}

    /// `text`: the reply to INFO. Unknown and malformed lines are ignored.
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
                if word == "ERRORSTATS_DISABLED" {
                    droppedErrors = true
                } else {
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

    /// The word under which Valkey counts errors beyond 128 words, and the word under which every server counts errors without a blank
    /// after their word.
    static let overflow = "ERRORSTATS_OVERFLOW", wordless = "ERR"

    /// The word under which a server counts an error, from its first word as kiln shows it. A server looks for the end in 32 bytes, and
    /// INFO contains no ':' and '#'.
    public static func word(of shown: String) -> String {
        var word = "", bytes = 0
        var rest = Substring(shown)
        while let character = rest.first {
            let isEscaped = rest.hasPrefix("\\x") && rest.count >= 4
            // A tab or a similar character ends the word for kiln, but not for a server.
            if isEscaped, rest.hasPrefix("\\x0") || rest.hasPrefix("\\x1") || rest.hasPrefix("\\x20") { break }
            word += isEscaped ? String(rest.prefix(4)) : character == ":" || character == "#" ? "_" : String(character)
            rest = rest.dropFirst(isEscaped ? 4 : 1)
            bytes += 1
        }
        return bytes > 30 ? wordless : word
    }

    /// The growth since `earlier`; nil if the server's counters were reset in between.
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
            // The offset is the master's, and may change with it.
            guard now >= before || total == \.replicationOffset else { return nil }
            difference[keyPath: total] = now >= before ? now - before : now
        }
        difference.errors = droppedErrors ? [:] : errors.grown(since: earlier.errors)
        guard droppedErrors || earlier.errors.allSatisfy({ errors[$0.key] ?? 0 >= $0.value }) else { return nil }
        return difference
    }

    /// Bytes from clients; nil if unknown.
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
