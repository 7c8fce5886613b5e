/// Compares kiln's counts with the server's own. ARCHITECTURE.md has the identity that they must satisfy.
public struct Audit: Sendable {
    /// The counts of a command.
    public struct Row: Codable, Sendable {
        public var command: String
        /// Requests that kiln counted: a lower and an upper bound, because requests go on while the server is asked.
        public var kilnLeast, kilnMost: UInt64
        public var serverCalls: UInt64
        public var serverRejectedCalls: UInt64
        /// Why the counts differ; nil if they are equal.
        public var difference: String?
        /// Mean execution time by kiln's exec phase and by the server; nil if unknown.
        public var kilnExecNs: Double?
        public var serverExecNs: Double?
        /// The 99th percentile of the same. The server's is over its whole lifetime (INFO latencystats).
        public var kilnExecP99Ns: Double?
        public var serverExecP99Ns: Double?

        enum CodingKeys: String, CodingKey {
            case command, difference
            case kilnLeast = "kiln_least", kilnMost = "kiln_most", serverCalls = "server_calls"
            case serverRejectedCalls = "server_rejected_calls", kilnExecNs = "kiln_exec_mean_ns", serverExecNs = "server_exec_mean_ns"
            case kilnExecP99Ns = "kiln_exec_p99_ns", serverExecP99Ns = "server_exec_p99_ns"
        }
    }

    /// The counts of errors with one word.
    public struct ErrorRow: Codable, Sendable {
        public var word: String
        public var kilnLeast, kilnMost: UInt64
        public var server: UInt64
        /// Why the counts differ; nil if they are equal.
        public var difference: String?

        enum CodingKeys: String, CodingKey {
            case word, server, difference, kilnLeast = "kiln_least", kilnMost = "kiln_most"
        }
    }

    /// Bytes of requests. Bytes that kiln has not seen contain requests that it has not counted.
    public struct ByteRow: Codable, Sendable {
        public var kilnLeast, kilnMost: UInt64
        public var server: UInt64
        /// Why the counts differ; nil if they are equal.
        public var difference: String?

        enum CodingKeys: String, CodingKey {
            case server, difference, kilnLeast = "kiln_least", kilnMost = "kiln_most"
        }
    }

    /// Both counts at one moment: the server answers between two snapshots.
    public struct Moment: Sendable {
        public var before: Snapshot
        public var server: ServerStatistics
        public var after: Snapshot
        /// Bytes of the request for INFO, which the server has counted when it answers.
        public var askedBytes: UInt64

        public init(before: Snapshot, server: ServerStatistics, after: Snapshot, askedBytes: UInt64 = 0) {
            self.before = before
            self.server = server
            self.after = after
            self.askedBytes = askedBytes
        }
    }

    /// The part of a difference that no term explains.
    public static let unexplained = "unexplained"

    public let record: Record

    /// The audit in session.json.
    public struct Record: Codable, Sendable {
        public var commands: [Row]
        public var errors: [ErrorRow]
        /// Nil if the server doesn't report the bytes that it read, or in records of older versions.
        public var requestBytes: ByteRow?

        enum CodingKeys: String, CodingKey {
            case commands, errors, requestBytes = "request_bytes"
        }

        public var differences: [String] {
            commands.compactMap(\.difference) + errors.compactMap(\.difference) + [requestBytes?.difference].compactMap { $0 }
        }
    }

    /// Nil if the server's counters were reset during the audit.
    public init?(process: Int, from start: Moment, to end: Moment) {
        guard let server = end.server.since(start.server) else { return nil }
        let least = end.before.since(start.after), most = end.after.since(start.before)
        let few = least.commands(of: process), many = most.commands(of: process)
        let names = Set(many.keys).union(server.commands.filter { $0.value.calls != 0 || $0.value.rejectedCalls != 0 }.keys).sorted()
        let commands = names.map { name -> AuditTerms.Compared in
            let own = server.commands[name] ?? ServerStatistics.Command(), calls = few[name]?.calls ?? 0
            return AuditTerms.Compared(name: name, least: calls, most: max(calls, many[name]?.calls ?? 0), server: own.calls &+ own.rejectedCalls)
        }
        let errors = Self.errors(few, many, server, end.server)
        let fewBytes = least.receivedBytes(of: process).adding(saturating: end.askedBytes)
        let manyBytes = most.receivedBytes(of: process).subtracting(saturating: start.askedBytes)
        let bytes = server.requestBytes.map {
            AuditTerms.Compared(name: "request bytes", least: fewBytes, most: max(fewBytes, manyBytes), server: $0)
        }
        let terms = AuditTerms(process: process, from: start, to: end, server, commands: commands, errors: errors, bytes: bytes)
        let rows = commands.map { row in
            let own = server.commands[row.name] ?? ServerStatistics.Command(), exec = many[row.name]?.phases[.exec]
            return Row(
                command: row.name, kilnLeast: row.least, kilnMost: row.most, serverCalls: own.calls, serverRejectedCalls: own.rejectedCalls,
                difference: terms.difference(ofCommand: row),
                kilnExecNs: exec.flatMap { $0.count == 0 ? nil : Double($0.sum.count) / Double($0.count) },
                serverExecNs: own.calls == 0 ? nil : Double(own.microseconds) * 1000 / Double(own.calls),
                kilnExecP99Ns: exec?.percentile(0.99).map { Double($0.count) },
                serverExecP99Ns: own.p99Microseconds.map { $0 * 1000 }
            )
        }
        record = Record(
            commands: rows,
            errors: errors.map {
                ErrorRow(word: $0.name, kilnLeast: $0.least, kilnMost: $0.most, server: $0.server, difference: terms.difference(ofError: $0))
            },
            requestBytes: bytes.map {
                ByteRow(kilnLeast: $0.least, kilnMost: $0.most, server: $0.server, difference: terms.difference(ofBytes: $0))
            }
        )
    }

    /// The row in which all errors count if the server has dropped its words.
    static let allWords = "(all words)"

    private static func errors(
        _ few: [String: CommandCounts], _ many: [String: CommandCounts], _ server: ServerStatistics, _ end: ServerStatistics
    ) -> [AuditTerms.Compared] {
        /// Errors by word, counted like the server.
        func words(_ commands: [String: CommandCounts]) -> [String: UInt64] {
            commands.values.flatMap(\.errorWords).reduce(into: [:]) { sums, error in
                var word = ServerStatistics.word(of: error.key)
                if end.droppedErrors { word = allWords }
                if end.errors[word] == nil, end.errors[ServerStatistics.overflow] != nil { word = ServerStatistics.overflow }
                sums[word, default: 0] &+= error.value
            }
        }
        var own = server.errors
        if end.droppedErrors, let all = server.errorReplies { own = all == 0 ? [:] : [allWords: all] }
        let least = words(few), most = words(many)
        return Set(most.keys).union(own.keys).sorted().map { word in
            let count = least[word] ?? 0
            return AuditTerms.Compared(name: word, least: count, most: max(count, most[word] ?? 0), server: own[word] ?? 0)
        }
    }
}

extension Snapshot {
    /// Commands by their printed names.
    func commands(of process: Int) -> [String: CommandCounts] {
        var named: [String: CommandCounts] = [:]
        for (key, counts) in commands where key.process == process { named[key.name.description] = counts }
        return named
    }

    func receivedBytes(of process: Int) -> UInt64 {
        clients.filter { $0.key.process == process }.map(\.value.receivedBytes).saturatingSum
    }
}
