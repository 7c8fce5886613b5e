/// kiln's counts held against the server's own, by the identity that ARCHITECTURE.md gives.
public struct Audit: Sendable {
    /// A command by both.
    public struct Row: Codable, Sendable {
        public var command: String
        /// Requests that kiln counted: at least and at most, because requests go on while the server is asked.
        public var kilnLeast, kilnMost: UInt64
        public var serverCalls: UInt64
        public var serverRejectedCalls: UInt64
        /// Why the two differ; nil: they don't.
        public var difference: String?
        /// Mean execution time, by kiln's exec phase and by the server; nil where there is none.
        public var kilnExecNs: Double?
        public var serverExecNs: Double?
        /// The same of the 99th percentile; the server's is of all its time (INFO latencystats).
        public var kilnExecP99Ns: Double?
        public var serverExecP99Ns: Double?

        enum CodingKeys: String, CodingKey {
            case command, difference
            case kilnLeast = "kiln_least", kilnMost = "kiln_most", serverCalls = "server_calls"
            case serverRejectedCalls = "server_rejected_calls", kilnExecNs = "kiln_exec_mean_ns", serverExecNs = "server_exec_mean_ns"
            case kilnExecP99Ns = "kiln_exec_p99_ns", serverExecP99Ns = "server_exec_p99_ns"
        }
    }

    /// Errors of one word by both.
    public struct ErrorRow: Codable, Sendable {
        public var word: String
        public var kilnLeast, kilnMost: UInt64
        public var server: UInt64

        enum CodingKeys: String, CodingKey {
            case word, server, kilnLeast = "kiln_least", kilnMost = "kiln_most"
        }
    }

    /// What both say at one moment: the server's word lies between two snapshots.
    public struct Moment: Sendable {
        public var before: Snapshot
        public var server: ServerStatistics
        public var after: Snapshot

        public init(before: Snapshot, server: ServerStatistics, after: Snapshot) {
            self.before = before
            self.server = server
            self.after = after
        }
    }

    public let record: Record

    /// As it stands in session.json.
    public struct Record: Codable, Sendable {
        public var commands: [Row]
        public var errors: [ErrorRow]
    }

    /// nil: the server's counters were reset meanwhile.
    public init?(process: Int, from start: Moment, to end: Moment) {
        guard let server = end.server.since(start.server) else { return nil }
        let least = Self.commands(of: process, end.before.since(start.after)), most = Self.commands(of: process, end.after.since(start.before))
        let terms = Terms(most, server, lost: end.after.losses)
        let rows = Set(most.keys).union(server.commands.filter { $0.value.calls != 0 || $0.value.rejectedCalls != 0 }.keys).sorted().map { name in
            let own = server.commands[name] ?? ServerStatistics.Command()
            let few = least[name]?.calls ?? 0, many = most[name]?.calls ?? 0
            let exec = most[name]?.phases[.exec]
            return Row(
                command: name, kilnLeast: few, kilnMost: many, serverCalls: own.calls, serverRejectedCalls: own.rejectedCalls,
                difference: terms.difference(name, few...max(few, many), own.calls &+ own.rejectedCalls),
                kilnExecNs: exec.flatMap { $0.count == 0 ? nil : Double($0.sum.count) / Double($0.count) },
                serverExecNs: own.calls == 0 ? nil : Double(own.microseconds) * 1000 / Double(own.calls),
                kilnExecP99Ns: exec?.percentile(0.99).map { Double($0.count) },
                serverExecP99Ns: own.p99Microseconds.map { $0 * 1000 }
            )
        }
        let fewErrors = Self.errors(least), manyErrors = Self.errors(most)
        let errors = Set(manyErrors.keys).union(server.errors.keys).sorted().map { word in
            ErrorRow(word: word, kilnLeast: fewErrors[word] ?? 0, kilnMost: manyErrors[word] ?? 0, server: server.errors[word] ?? 0)
        }
        record = Record(commands: rows, errors: errors)
    }

    private static func commands(of process: Int, _ snapshot: Snapshot) -> [String: CommandCounts] {
        var named: [String: CommandCounts] = [:]
        for (key, counts) in snapshot.commands where key.process == process { named[key.name.description] = counts }
        return named
    }

    private static func errors(_ commands: [String: CommandCounts]) -> [String: UInt64] {
        commands.values.reduce(into: [:]) { $0.merge($1.errorWords, uniquingKeysWith: &+) }
    }

    /// The terms of the identity that can be at work, by what else happened.
    private struct Terms {
        private var more: [String] = []
        private var fewer: [String] = []
        private let known: Set<String>

        init(_ commands: [String: CommandCounts], _ server: ServerStatistics, lost: [String: UInt64]) {
            known = Set(server.commands.keys)
            func seen(_ names: String...) -> Bool { names.contains { commands[$0]?.calls ?? 0 != 0 } }
            if seen("EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO", "FCALL", "FCALL_RO") { fewer.append("calls made by scripts") }
            if server.isReplica { fewer.append("calls of the replication link") }
            let unsynchronised = lost["unsynchronised_bytes"] ?? 0
            if unsynchronised != 0 { fewer.append("requests in \(unsynchronised) unsynchronised_bytes") }
            for name in lost.keys.sorted() where Self.hidesCommands.contains(name) { fewer.append("\(lost[name] ?? 0) \(name)") }
            if seen("MULTI") { more.append("queued and discarded, or not yet executed") }
            if server.blockedClients != 0 { more.append("still blocked") }
        }

        /// Losses by which commands go uncounted, or count under another name.
        private static let hidesCommands: Set = [
            "tls_connections", "unsupported_connections", "not_resp_connections", "connections_without_state", "displaced_connections",
            "preempted_calls", "receive_gaps", "split_receives", "unsupported_receives", "discarded_receives", "unreadable_buffers", "protocol_errors",
            "receive_steps_exceeded", "commands_map_full", "command_names_too_long", "recursion_misses",
        ]

        /// Why kiln's count is another than the server's; nil: it is the same, as far as can be told.
        func difference(_ name: String, _ kiln: ClosedRange<UInt64>, _ server: UInt64) -> String? {
            if kiln.contains(server) { return nil }
            if server > kiln.upperBound {
                return "the server has \(server - kiln.upperBound) more: " + (fewer.isEmpty ? "unexplained" : fewer.joined(separator: ", or "))
            }
            let surplus = "the server has \(kiln.lowerBound - server) fewer: "
            if !known.contains(name) { return surplus + "unknown to it" }
            return surplus + (more.isEmpty ? "unexplained" : more.joined(separator: ", or "))
        }
    }
}
