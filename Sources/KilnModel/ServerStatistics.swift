/// What a Redis server says of itself: the sections commandstats, latencystats and errorstats of INFO.
/// Source of the format: https://redis.io/docs/latest/commands/info/
public struct ServerStatistics: Equatable, Sendable {
    public struct Command: Equatable, Sendable {
        public var calls: UInt64 = 0
        public var microseconds: UInt64 = 0
        public var rejectedCalls: UInt64 = 0
        /// Of its own execution time since the server started or was reset; nil where it keeps none.
        public var p99Microseconds: Double?

        public init() {}
    }

    /// By name in upper case; subcommands are added to their command.
    public var commands: [String: Command] = [:]
    /// By word.
    public var errors: [String: UInt64] = [:]
    /// As the server knows itself.
    public var processID: Int32?
    public var isReplica = false
    public var blockedClients = 0
    /// Names of the modules that it has loaded.
    public var modules: [String] = []
    /// Calls of CLIENT REPLY, where it counts subcommands.
    public var clientReplyCalls: UInt64 = 0
    /// Whether it counts rejected calls, and errors by their word: Redis 6.2 does.
    public var countsRejectedCalls = false
    public var keepsErrors = false

    public init() {}

    /// `text`: the reply to INFO. Lines of other sections, or that can't be read, are passed over.
    public init(parsing text: String) {
        for line in text.split(whereSeparator: \.isNewline) {
            if line == "# Errorstats" { keepsErrors = true }
            guard let colon = line.firstIndex(of: ":") else { continue }
            let key = line[..<colon], value = line[line.index(after: colon)...]
            if key.hasPrefix("cmdstat_") {
                var counts = commands[name(key, "cmdstat_"), default: Command()]
                counts.calls &+= number(value, "calls") ?? 0
                counts.microseconds &+= number(value, "usec") ?? 0
                counts.rejectedCalls &+= number(value, "rejected_calls") ?? 0
                commands[name(key, "cmdstat_")] = counts
                if field(value, "rejected_calls") != nil { countsRejectedCalls = true }
                if key.lowercased() == "cmdstat_client|reply" { clientReplyCalls = number(value, "calls") ?? 0 }
            } else if key.hasPrefix("latency_percentiles_usec_"), !key.contains("|") {
                let command = name(key, "latency_percentiles_usec_")
                commands[command, default: Command()].p99Microseconds = field(value, "p99").flatMap { Double($0) }
            } else if key.hasPrefix("errorstat_") {
                errors[String(key.dropFirst("errorstat_".count))] = number(value, "count")
                keepsErrors = true
            } else if key == "module", let name = field(value, "name") {
                modules.append(String(name))
            } else if key == "process_id" {
                processID = Int32(value)
            } else if key == "role" {
                isReplica = value == "slave"
            } else if key == "blocked_clients" {
                blockedClients = Int(value) ?? 0
            }
        }
    }

    /// What happened between `earlier` and this moment; nil where the server's counters were reset in between.
    public func since(_ earlier: ServerStatistics) -> ServerStatistics? {
        var difference = self
        for (name, before) in earlier.commands {
            let now = commands[name] ?? Command()
            guard now.calls >= before.calls, now.microseconds >= before.microseconds, now.rejectedCalls >= before.rejectedCalls else {
                return nil
            }
            difference.commands[name]?.calls -= before.calls
            difference.commands[name]?.microseconds -= before.microseconds
            difference.commands[name]?.rejectedCalls -= before.rejectedCalls
        }
        difference.errors = errors.grown(since: earlier.errors)
        return difference
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
