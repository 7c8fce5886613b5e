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
        /// Why the two differ; nil: they don't.
        public var difference: String?

        enum CodingKeys: String, CodingKey {
            case word, server, difference, kilnLeast = "kiln_least", kilnMost = "kiln_most"
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

    /// A difference that no term accounts for.
    public static let unexplained = "unexplained"

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
        let terms = AuditTerms(most, server, from: start.server, to: end.server, lost: end.after.losses)
        let rows = Set(most.keys).union(server.commands.filter { $0.value.calls != 0 || $0.value.rejectedCalls != 0 }.keys).sorted().map { name in
            let own = server.commands[name] ?? ServerStatistics.Command()
            let few = least[name]?.calls ?? 0, many = most[name]?.calls ?? 0
            let exec = most[name]?.phases[.exec]
            return Row(
                command: name, kilnLeast: few, kilnMost: many, serverCalls: own.calls, serverRejectedCalls: own.rejectedCalls,
                difference: terms.difference(ofCommand: name, few...max(few, many), own.calls &+ own.rejectedCalls),
                kilnExecNs: exec.flatMap { $0.count == 0 ? nil : Double($0.sum.count) / Double($0.count) },
                serverExecNs: own.calls == 0 ? nil : Double(own.microseconds) * 1000 / Double(own.calls),
                kilnExecP99Ns: exec?.percentile(0.99).map { Double($0.count) },
                serverExecP99Ns: own.p99Microseconds.map { $0 * 1000 }
            )
        }
        let fewErrors = Self.errors(least), manyErrors = Self.errors(most)
        let errors = Set(manyErrors.keys).union(server.errors.keys).sorted().map { word -> ErrorRow in
            let few = fewErrors[word] ?? 0, many = max(few, manyErrors[word] ?? 0), own = server.errors[word] ?? 0
            return ErrorRow(word: word, kilnLeast: few, kilnMost: many, server: own, difference: terms.difference(ofError: word, few...many, own))
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
}
