/// The terms of the identity that can be at work in a difference, by what both sides know: the narrowest first. Where one of them
/// accounts for all of it, the others are left out.
struct AuditTerms {
    /// kiln's counts of the time, by command.
    private let commands: [String: CommandCounts]
    /// The server's of the time, and all that it has said at the end.
    private let server, end: ServerStatistics
    /// Clients that were blocked when the audit began.
    private let blockedBefore: UInt64
    private let lost: [String: UInt64]

    init(_ commands: [String: CommandCounts], _ server: ServerStatistics, from start: ServerStatistics, to end: ServerStatistics, lost: [String: UInt64]) {
        self.commands = commands
        self.server = server
        self.end = end
        blockedBefore = UInt64(clamping: start.blockedClients)
        self.lost = lost
    }

    /// Why kiln's count of a command is another than the server's; nil: it is the same, as far as can be told.
    func difference(ofCommand name: String, _ kiln: ClosedRange<UInt64>, _ server: UInt64) -> String? {
        sentence(kiln, server, more: { callsUnseen(of: name, $0) }, fewer: { callsUncounted(of: name, $0) })
    }

    /// The same of errors of one word.
    func difference(ofError word: String, _ kiln: ClosedRange<UInt64>, _ server: UInt64) -> String? {
        sentence(kiln, server, more: { _ in errorsUnseen }, fewer: { _ in end.keepsErrors ? [] : ["it counts no errors (before Redis 6.2)"] })
    }

    private func sentence(
        _ kiln: ClosedRange<UInt64>, _ server: UInt64, more: (UInt64) -> [String], fewer: (UInt64) -> [String]
    ) -> String? {
        if kiln.contains(server) { return nil }
        let hasMore = server > kiln.upperBound, number = hasMore ? server - kiln.upperBound : kiln.lowerBound - server
        let terms = hasMore ? more(number) : fewer(number)
        return "the server has \(number) \(hasMore ? "more" : "fewer"): " + (terms.isEmpty ? Audit.unexplained : terms.joined(separator: ", or "))
    }

    // MARK: The server has more.

    private func callsUnseen(of name: String, _ number: UInt64) -> [String] {
        if Self.blocking.contains(name), blockedBefore >= number { return ["blocked since before the audit began"] }
        var terms: [String] = []
        let begun = calls("MULTI"), executed = calls("EXEC")
        if executed > begun, !Self.neverQueued.contains(name) { terms.append("queued before the audit began") }
        terms += unfollowed + (Self.neverInScripts.contains(name) ? [] : scripts("calls made by scripts"))
        if !end.modules.isEmpty { terms.append("calls made by modules (\(end.modules.joined(separator: ", ")))") }
        if server.isReplica { terms.append("calls of the replication link") }
        return terms
    }

    private var errorsUnseen: [String] {
        var terms: [String] = []
        // Turned off before the audit, replies stay off.
        if end.clientReplyCalls != 0 { terms.append("errors to clients that turned replies off (CLIENT REPLY)") }
        terms += Self.hidesReplies.compactMap { name in lost[name].map { "\($0) \(name)" } } + unfollowed + scripts("errors inside of scripts")
        if !end.modules.isEmpty { terms.append("errors inside of modules (\(end.modules.joined(separator: ", ")))") }
        if server.isReplica { terms.append("errors of the replication link") }
        return terms
    }

    /// Where they ran; by either side's count, because a connection that isn't followed can run them, too.
    private func scripts(_ term: String) -> [String] {
        let runs = Self.running.map { max(calls($0), server.commands[$0]?.calls ?? 0) }.saturatingSum
        return runs == 0 ? [] : ["\(term) (\(runs) ran)"]
    }

    private var unfollowed: [String] {
        let unsynchronised = lost["unsynchronised_bytes"] ?? 0
        return (unsynchronised == 0 ? [] : ["requests in \(unsynchronised) unsynchronised_bytes"])
            + lost.keys.sorted().filter { Self.hidesCommands.contains($0) }.map { "\(lost[$0] ?? 0) \($0)" }
    }

    // MARK: The server has fewer.

    private func callsUncounted(of name: String, _ number: UInt64) -> [String] {
        let counts = commands[name] ?? CommandCounts(), hasLine = end.commands[name] != nil
        // What it knows and refuses has a line, with its rejected_calls.
        if !hasLine, counts.errors >= number { return [end.countsRejectedCalls ? "unknown to it" : "unknown to it, or rejected"] }
        var terms: [String] = []
        if !Self.neverQueued.contains(name) {
            let begun = calls("MULTI"), discarded = calls("DISCARD"), executed = calls("EXEC")
            if discarded != 0 { terms.append("queued and discarded") }
            if commands["EXEC"]?.errorWords["EXECABORT"] ?? 0 != 0 { terms.append("queued in a transaction that was aborted (EXECABORT)") }
            if executed != 0, calls("WATCH") != 0 { terms.append("queued in a transaction whose watched keys changed") }
            if begun > discarded &+ executed { terms.append("queued and not executed") }
        }
        let answered = [Phase.service, .wait].map { counts.phases[$0]?.count ?? 0 }.saturatingSum
        if counts.calls > answered {
            if server.blockedClients > 0 { terms.append("still blocked") }
            else if Self.blocking.contains(name) { terms.append("blocked until its client left") }
        }
        if !hasLine, counts.errors != 0 { terms.append("unknown to it") }
        return terms.isEmpty && !hasLine ? ["unknown to it by this name"] : terms
    }

    private func calls(_ name: String) -> UInt64 { commands[name]?.calls ?? 0 }

    // MARK: What commands can be.

    /// Those of `KILN_SPECIAL_COMMANDS` that block.
    private static let blocking: Set = [
        "BLPOP", "BRPOP", "BLMOVE", "BRPOPLPUSH", "BLMPOP", "BZPOPMIN", "BZPOPMAX", "BZMPOP", "WAIT", "WAITAOF", "XREAD", "XREADGROUP",
    ]
    /// Executed at once inside of a transaction.
    private static let neverQueued: Set = ["MULTI", "EXEC", "DISCARD", "WATCH", "QUIT", "RESET"]
    private static let running = ["EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO", "FCALL", "FCALL_RO"]
    /// Some that a server refuses to scripts (its flag `noscript`).
    private static let neverInScripts = Set(running).union(neverQueued).union([
        "ACL", "AUTH", "CLIENT", "CONFIG", "DEBUG", "FUNCTION", "HELLO", "MODULE", "MONITOR", "PSYNC", "REPLCONF", "SCRIPT", "SUBSCRIBE", "SYNC", "UNSUBSCRIBE",
    ])

    /// Losses by which commands go uncounted, or count under another name.
    private static let hidesCommands: Set = [
        "tls_connections", "unsupported_connections", "not_resp_connections", "connections_without_state", "displaced_connections",
        "preempted_calls", "receive_gaps", "split_receives", "unsupported_receives", "discarded_receives", "unreadable_buffers", "protocol_errors",
        "receive_steps_exceeded", "commands_map_full", "command_names_too_long", "recursion_misses",
    ]

    /// Losses by which the replies of commands that are counted go unseen.
    private static let hidesReplies = ["unpaired_connections", "unsupported_sends", "send_steps_exceeded", "untimed_commands", "errors_without_name"]
}
