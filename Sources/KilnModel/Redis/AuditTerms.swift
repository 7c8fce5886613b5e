import KilnBPF

/// Explains differences between kiln's counts and the server's by the terms of the identity. Each term has an allowance: the most that it
/// can explain according to kiln's or the server's counts. Differences share allowances, and the rest is unexplained.
struct AuditTerms {
    /// The two counts of a row.
    struct Compared {
        var name: String
        /// kiln's count: lower and upper bound.
        var least, most: UInt64
        var server: UInt64

        /// The amount by which the server's count exceeds kiln's, or falls below it.
        var more: UInt64 { server.subtracting(saturating: most) }
        var fewer: UInt64 { least.subtracting(saturating: server) }
    }

    /// The amount that a term can still explain: calls, errors or bytes.
    private final class Allowance {
        private var left: UInt64

        init(_ most: UInt64) { left = most }

        func available(_ cost: UInt64) -> UInt64 { left / cost }

        func take(_ number: UInt64, _ cost: UInt64) { left -= number * cost }
    }

    private struct Term {
        var reason: String
        var allowance: Allowance
        /// The part of the allowance that each call uses.
        var cost: UInt64 = 1
        var limit = UInt64.max

        init(_ reason: String, _ allowance: Allowance, cost: UInt64 = 1, limit: UInt64 = .max) {
            self.reason = reason
            self.allowance = allowance
            self.cost = cost
            self.limit = limit
        }

        init(_ reason: String, atMost number: UInt64) { self.init(reason, Allowance(number)) }

        var most: UInt64 { min(limit, allowance.available(cost)) }

        /// Explains as much of `number` as possible. Returns the rest.
        func rest(of number: UInt64) -> UInt64 {
            let taken = min(number, most)
            allowance.take(taken, cost)
            return number - taken
        }
    }

    /// kiln's counts during the audit, by command.
    private let commands: [String: CommandCounts]
    /// The server's counts during the audit, and all its statistics at the end.
    private let server, end: ServerStatistics
    /// Commands without a reply seen by kiln, at the beginning and at the end, by command.
    private let unansweredAtStart, unansweredAtEnd: [String: UInt64]
    private let lost: Lost
    /// Names under which the server counts nothing, with the number of their calls that it executed without an error.
    private let nameless: [String: UInt64]

    /// Allowances of calls; `hidden`, `rest` and `link` are in bytes. `named`: calls by names that the server doesn't count. `unnamed`:
    /// calls that the server counts under other names than kiln.
    private let blockedBefore, blockedNow, hidden, rest, engine, link, beforeTransaction, scripts, modules, named, unnamed: Allowance
    /// Allowances of errors; `hiddenErrors` and `linkErrors` are in bytes. `wordless`: errors with words that the server doesn't list.
    /// `wordlessTaken`: errors that the server counts under ERR instead.
    private let unseenErrors, hiddenErrors, scriptErrors, moduleErrors, linkErrors, protocolErrors, wordless, wordlessTaken, earlierErrors: Allowance

    init(
        process: Int, from start: Audit.Moment, to end: Audit.Moment, _ server: ServerStatistics, commands rows: [Compared], errors: [Compared],
        bytes: Compared?
    ) {
        let most = end.after.since(start.before), commands = most.commands(of: process)
        self.commands = commands
        self.server = server
        self.end = end.server
        unansweredAtStart = start.before.commands(of: process).mapValues(\.unanswered)
        unansweredAtEnd = end.before.commands(of: process).mapValues(\.unanswered)
        lost = Lost(from: start, to: end, onSeveralThreads: end.after.readByOtherThreads.contains(process))
        func calls(_ name: String) -> UInt64 { commands[name]?.calls ?? 0 }
        /// Calls that these commands can have made, by their execution time.
        func inside(_ names: some Sequence<String>) -> Allowance {
            let own = names.compactMap { server.commands[$0] }
            // The time of each call is rounded down to a microsecond.
            let time = own.map { $0.microseconds.adding(saturating: $0.calls) }.saturatingSum
            return Allowance(time.multiplied(saturating: Self.callsPerMicrosecond))
        }

        blockedBefore = Allowance(Self.countsAtBlocking(server) ? 0 : UInt64(clamping: start.server.blockedClients))
        blockedNow = Allowance(UInt64(clamping: end.server.blockedClients))
        let enginesMade = ["DEBUG", "SCRIPT", "FUNCTION"].compactMap { server.commands[$0]?.calls }.saturatingSum
        engine = Allowance(server.modules.contains("lua") ? enginesMade : 0)
        let executed = calls("EXEC"), begun = calls("MULTI")
        beforeTransaction = inside(executed > begun ? ["EXEC"] : [])
        scripts = inside(Self.running)
        scriptErrors = inside(Self.running)
        modules = inside(Self.moduleCommands(server))
        moduleErrors = inside(Self.moduleCommands(server))

        let linkBytes = server.isReplica || start.server.isReplica ? server.linkBytes ?? server.replicationOffset ?? 0 : 0
        link = Allowance(linkBytes)
        linkErrors = Allowance(linkBytes)
        // Bytes that the server has read and kiln has not followed.
        let unseen = bytes.map { $0.server.subtracting(saturating: $0.least) }
        let bytesHidden =
            lost.hidingRequests.isEmpty
            ? 0
            : lost.onlyUnsynchronised ? min(unseen ?? .max, lost.unsynchronised) : unseen ?? lost.unsynchronised
        hidden = Allowance(bytesHidden.adding(saturating: lost.unsynchronisedAtStart))
        hiddenErrors = Allowance(bytesHidden.adding(saturating: lost.unsynchronisedAtStart))
        let counted = commands.map { Self.shortest($0.key).multiplied(saturating: $0.value.calls) }.saturatingSum
        rest = Allowance(lost.hidingRest.isEmpty ? 0 : most.receivedBytes(of: process).subtracting(saturating: counted))

        let nameless = commands.filter { end.server.commands[$0.key] == nil && !Self.uncountedQuit($0.key, server) }
            .mapValues { $0.calls.subtracting(saturating: [$0.errors, $0.unanswered, $0.queued].saturatingSum) }.filter { $0.value != 0 }
        self.nameless = nameless
        named = Allowance(nameless.values.saturatingSum)
        unnamed = Allowance(rows.map(\.more).saturatingSum)

        let unanswered = end.after.commands(of: process).mapValues(\.unanswered)
        let repliesUnseen = !lost.hidingReplies.isEmpty || end.server.clientReplyCalls != 0
        // INFO is kiln's own request, whose reply may have been sent just now.
        unseenErrors = Allowance(unanswered.filter { repliesUnseen || Self.classes[$0.key] == nil && $0.key != "INFO" }.values.saturatingSum)
        earlierErrors = Allowance(start.after.commands(of: process).values.map(\.unanswered).saturatingSum)
        protocolErrors = Allowance(lost.protocolErrors)
        let words = commands.values.flatMap(\.errorWords)
        wordless = Allowance(words.filter { end.server.errors[ServerStatistics.word(of: $0.key)] == nil }.map(\.value).saturatingSum)
        wordlessTaken = Allowance(errors.first { $0.name == ServerStatistics.wordless }?.more ?? 0)
    }

    /// Why kiln's count of a command differs from the server's; nil if the two are equal within kiln's bounds.
    func difference(ofCommand row: Compared) -> String? { sentence(row, more: callsUnseen, fewer: callsUncounted) }

    /// The same for errors with one word.
    func difference(ofError row: Compared) -> String? { sentence(row, more: errorsUnseen, fewer: errorsUncounted) }

    /// The same for the bytes of requests.
    func difference(ofBytes row: Compared) -> String? { sentence(row, more: bytesUnseen, fewer: bytesUncounted) }

    /// `certain` terms explain what they can before `possible` ones.
    private typealias Terms = (certain: [Term], possible: [Term])

    private func sentence(_ row: Compared, more: (Compared) -> Terms, fewer: (Compared) -> Terms) -> String? {
        let number = row.more + row.fewer
        guard number != 0 else { return nil }
        let terms = row.more > 0 ? more(row) : fewer(row)
        var rest = number
        var used: [Term] = []
        for term in terms.certain where rest > 0 && term.most > 0 {
            rest = term.rest(of: rest)
            used.append(term)
        }
        if rest > 0 {
            let possible = terms.possible.filter { $0.most > 0 }
            for term in possible { rest = term.rest(of: rest) }
            used += possible
        }
        let reasons = used.map(\.reason).joined(separator: ", or ")
        let explanation = rest == 0 ? reasons : used.isEmpty ? Audit.unexplained : "\(number - rest) can be \(reasons), \(rest) \(Audit.unexplained)"
        return "the server has \(number) \(row.more > 0 ? "more" : "fewer"): " + explanation
    }

    // MARK: The server has more.

    private func callsUnseen(_ row: Compared) -> Terms {
        let name = row.name
        var certain: [Term] = []
        if Self.blocks(name) { certain.append(Term("blocked since before the audit began", blockedBefore)) }
        if server.isValkey, let unblocked = commands[name]?.errorWords["UNBLOCKED"] {
            certain.append(Term("counted as a call and as a rejected one (CLIENT UNBLOCK with ERROR)", atMost: unblocked))
        }
        if name == "CONFIG" { certain.append(Term("called by its own Lua engine (after DEBUG RELOAD, SCRIPT FLUSH and FUNCTION FLUSH)", engine)) }
        var possible: [Term] = []
        if !Self.neverQueued.contains(name) { possible.append(Term("queued before the audit began", beforeTransaction)) }
        possible.append(Term("read before the audit began and executed in it", atMost: unansweredAtStart[name] ?? 0))
        possible.append(Term(lost.hiddenRequests, hidden, cost: Self.shortest(name)))
        possible.append(Term("requests behind others (\(lost.list(lost.hidingRest)))", rest, cost: Self.shortest(name)))
        if !Self.neverInScripts.contains(name) { possible.append(Term("calls made by scripts (\(scriptsRun) ran)", scripts)) }
        possible.append(Term("calls made by commands of modules (\(Self.moduleCommands(server).joined(separator: ", ")))", modules))
        possible.append(Term("calls of the replication link", link, cost: Self.shortestArray(name)))
        possible.append(Term("called by another name (\(nameless.keys.sorted().joined(separator: ", ")))", named))
        return (certain, possible)
    }

    private func errorsUnseen(_ row: Compared) -> Terms {
        var possible: [Term] = []
        if let reason = lost.unseenReplies(turnedOff: end.clientReplyCalls != 0) { possible.append(Term(reason, unseenErrors)) }
        possible.append(Term(lost.hiddenRequests, hiddenErrors, cost: Self.shortest("X")))
        possible.append(Term("errors inside scripts (\(scriptsRun) ran)", scriptErrors))
        possible.append(Term("errors inside commands of modules (\(Self.moduleCommands(server).joined(separator: ", ")))", moduleErrors))
        possible.append(Term("errors of the replication link", linkErrors, cost: Self.shortestArray("X")))
        if row.name == ServerStatistics.wordless || row.name == Audit.allWords {
            possible.append(Term("replies to input that is not RESP (\(lost.list(["protocol_errors", "not_resp_connections"])))", protocolErrors))
        }
        if row.name == ServerStatistics.wordless { possible.append(Term("errors of a single word, which it counts as ERR", wordless)) }
        return ([Term("\(lost.errorsWithoutName) errors_without_name", atMost: lost.errorsWithoutName)], possible)
    }

    private func bytesUnseen(_ row: Compared) -> Terms {
        let others = lost.hidingRequests.filter { $0 != "unsynchronised_bytes" }
        return (
            [],
            [
                Term("\(lost.unsynchronised) unsynchronised_bytes", atMost: lost.unsynchronised.adding(saturating: lost.unsynchronisedAtStart)),
                // Only the difference shows how many bytes these hide.
                Term(lost.list(others), atMost: others.isEmpty ? 0 : row.more),
                Term("read before the audit began, and counted in it", atMost: bytes(of: unansweredAtStart)),
            ]
        )
    }

    /// Scripts that ran, by the larger of the two counts, because a connection that kiln doesn't follow can run scripts, too.
    private var scriptsRun: UInt64 { Self.running.map { max(calls($0), server.commands[$0]?.calls ?? 0) }.saturatingSum }

    // MARK: The server has fewer.

    private func callsUncounted(_ row: Compared) -> Terms {
        let name = row.name, counts = commands[name] ?? CommandCounts(), hasLine = end.commands[name] != nil
        let unanswered = unansweredAtEnd[name] ?? 0
        var certain: [Term] = [], possible: [Term] = []
        if Self.uncountedQuit(name, server) { certain.append(Term("QUIT is not counted before Redis 7", atMost: counts.calls)) }
        // A command that the server knows and refuses has a line, with its rejected_calls.
        if !hasLine {
            certain.append(Term(end.countsRejectedCalls ? "unknown to it" : "unknown to it, or rejected", atMost: counts.errors))
        } else if end.containers.contains(name) {
            certain.append(Term("subcommands unknown to it", atMost: counts.errors.subtracting(saturating: refused(name))))
        }
        if Self.blocks(name), !Self.countsAtBlocking(server) { certain.append(Term("still blocked", blockedNow, limit: unanswered)) }
        if !Self.neverQueued.contains(name) {
            if let reason = notExecuted { possible.append(Term(reason, atMost: counts.queued)) }
        }
        possible.append(Term(Self.blocks(name) ? "blocked until its client left" : notAnswered, atMost: unanswered))
        if !hasLine { possible.append(Term("known to it by another name", unnamed, limit: nameless[name] ?? 0)) }
        return (certain, possible)
    }

    /// Why kiln saw no reply to commands that the server has not counted.
    private var notAnswered: String {
        var reasons: [String] = []
        if calls("QUIT") != 0 { reasons.append("read after QUIT, so not executed") }
        if end.clientReplyCalls != 0 { reasons.append("unknown to it, from a client that turned replies off (CLIENT REPLY)") }
        if lost["unpaired_connections"] != 0 { reasons.append("unknown to it, on one of \(lost["unpaired_connections"]) unpaired_connections") }
        return reasons.isEmpty ? "read, and not executed by the time it was asked" : reasons.joined(separator: ", or ")
    }

    /// Errors in the server's own counts of this command. Scripts and transactions run commands whose errors are no replies.
    private func refused(_ name: String) -> UInt64 {
        guard scriptsRun == 0, calls("EXEC") == 0, let own = server.commands[name] else { return 0 }
        return own.failedCalls.adding(saturating: own.rejectedCalls)
    }

    /// Why queued commands were not executed; nil if all transactions were.
    private var notExecuted: String? {
        let begun = calls("MULTI"), discarded = calls("DISCARD"), executed = calls("EXEC")
        var reasons: [String] = []
        if discarded != 0 { reasons.append("queued and discarded") }
        if commands["EXEC"]?.errorWords["EXECABORT"] ?? 0 != 0 { reasons.append("queued in a transaction that was aborted (EXECABORT)") }
        if executed != 0, calls("WATCH") != 0 { reasons.append("queued in a transaction whose watched keys changed") }
        if begun > discarded &+ executed { reasons.append("queued and not executed") }
        return reasons.isEmpty ? nil : reasons.joined(separator: ", or ")
    }

    private func errorsUncounted(_ row: Compared) -> Terms {
        guard end.keepsErrors else { return ([Term("it counts no errors (before Redis 6.2)", atMost: row.fewer)], []) }
        let isUnlisted = end.errors[row.name] == nil || row.name == ServerStatistics.overflow
        return (
            [],
            [
                Term("errors of a single word, which it counts as ERR", wordlessTaken, limit: isUnlisted ? .max : 0),
                Term("errors that a script returned more than once (\(scriptsRun) ran)", scriptErrors),
                Term("counted before the audit began, and answered in it", earlierErrors),
            ]
        )
    }

    private func bytesUncounted(_ row: Compared) -> Terms {
        (
            [],
            [
                Term("read, and not counted by the time it was asked", atMost: bytes(of: unansweredAtEnd)),
                // The first read, of at most 16 KiB, on a connection that is not a client's, such as the cluster bus.
                Term("\(lost["not_resp_connections"]) not_resp_connections", atMost: lost["not_resp_connections"].multiplied(saturating: 16384)),
            ]
        )
    }

    private func bytes(of unanswered: [String: UInt64]) -> UInt64 {
        unanswered.map { (commands[$0.key]?.largestRequest ?? 0).multiplied(saturating: $0.value) }.saturatingSum
    }

    private func calls(_ name: String) -> UInt64 { commands[name]?.calls ?? 0 }

    // MARK: Properties of commands and servers.

    /// A call inside another one takes at least 50 ns. The fastest found: ECHO 0.47 us in a script, PING 0.095 us in a transaction
    /// (redis-server 7.0, AMD EPYC).
    private static let callsPerMicrosecond: UInt64 = 20

    /// The fewest bytes of a request for a command: an inline line.
    private static func shortest(_ name: String) -> UInt64 { UInt64(name.utf8.count) + 1 }

    /// The fewest bytes as an array of one bulk string, the form that a master sends.
    private static func shortestArray(_ name: String) -> UInt64 { UInt64(name.utf8.count + "\(name.utf8.count)".utf8.count) + 9 }

    /// Whether the server counts a blocking command when it blocks instead of when it is answered. Later versions never count commands
    /// whose clients leave.
    private static func countsAtBlocking(_ server: ServerStatistics) -> Bool { server.version.map { $0 < ServerStatistics.Version(7, 2) } ?? false }

    private static func uncountedQuit(_ name: String, _ server: ServerStatistics) -> Bool {
        name == "QUIT" && server.version.map { $0 < ServerStatistics.Version(7, 0) } ?? false
    }

    /// Commands of modules, recognized by the dot in their name, that ran.
    private static func moduleCommands(_ server: ServerStatistics) -> [String] {
        server.commands.filter { $0.key.contains(".") && $0.value.calls != 0 }.keys.sorted()
    }

    /// The classes of all commands that are not ordinary.
    private static let classes: [String: UInt32] = {
        var classes: [String: UInt32] = [:]
        for index in 0..<kiln_listed_command_count() {
            let command = kiln_listed_command(index)
            guard command.command_class != KILN_CLASS_ORDINARY.rawValue else { continue }
            classes[withUnsafeBytes(of: command.name.bytes) { printableText($0) }] = command.command_class
        }
        return classes
    }()

    private static func blocks(_ name: String) -> Bool {
        [KILN_CLASS_BLOCKING.rawValue, KILN_CLASS_LOOK_AT_XREAD.rawValue].contains(classes[name])
    }

    /// Executed at once, even inside a transaction.
    private static let neverQueued: Set = ["MULTI", "EXEC", "DISCARD", "WATCH", "QUIT", "RESET"]
    private static let running = ["EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO", "FCALL", "FCALL_RO"]
    /// Some of the commands that a server refuses to scripts (flag `noscript`).
    private static let neverInScripts = Set(running).union(neverQueued).union([
        "ACL", "AUTH", "CLIENT", "CONFIG", "DEBUG", "FUNCTION", "HELLO", "MODULE", "MONITOR", "PSYNC", "REPLCONF", "SCRIPT", "SUBSCRIBE", "SYNC",
        "UNSUBSCRIBE",
    ])
}

extension CommandCounts {
    /// Commands whose reply has not been seen. A blocking command that is queued has a reply, but no time.
    fileprivate var unanswered: UInt64 {
        calls.subtracting(saturating: phases.filter { [.service, .wait].contains($0.key) }.values.map(\.count).saturatingSum)
    }
}

/// kiln's losses by what they hide.
private struct Lost {
    /// Losses of the whole session, because a loss on a connection can hide later requests.
    private let all: [String: UInt64]
    let hidingRequests, hidingRest, hidingReplies: [String]
    /// During the audit; and before it, where threads other than the executing one may have read the bytes.
    let unsynchronised, unsynchronisedAtStart: UInt64
    let protocolErrors, errorsWithoutName: UInt64

    init(from start: Audit.Moment, to end: Audit.Moment, onSeveralThreads: Bool) {
        let all = end.after.losses, grown = all.grown(since: start.before.losses)
        self.all = all
        func hiding(_ what: kiln_hidden) -> [String] { all.keys.filter { Self.hides[$0] == what.rawValue }.sorted() }
        hidingRequests = hiding(KILN_HIDES_REQUESTS)
        hidingRest = hiding(KILN_HIDES_REST)
        hidingReplies = hiding(KILN_HIDES_REPLIES).filter { $0 != "errors_without_name" }
        unsynchronised = grown["unsynchronised_bytes"] ?? 0
        unsynchronisedAtStart = onSeveralThreads ? start.after.losses["unsynchronised_bytes"] ?? 0 : 0
        protocolErrors = ["protocol_errors", "not_resp_connections"].compactMap { grown[$0] }.saturatingSum
        errorsWithoutName = grown["errors_without_name"] ?? 0
    }

    subscript(_ name: String) -> UInt64 { all[name] ?? 0 }

    var onlyUnsynchronised: Bool { hidingRequests == ["unsynchronised_bytes"] }

    /// The losses with their numbers.
    func list(_ names: [String]) -> String { names.filter { self[$0] != 0 }.map { "\(self[$0]) \($0)" }.joined(separator: ", or ") }

    var hiddenRequests: String {
        (self["unsynchronised_bytes"] == 0 ? [] : ["requests in \(self["unsynchronised_bytes"]) unsynchronised_bytes"])
            .appending(list(hidingRequests.filter { $0 != "unsynchronised_bytes" }))
    }

    /// Why replies of counted commands have not been seen; nil if there is no reason.
    func unseenReplies(turnedOff: Bool) -> String? {
        let lost = list(hidingReplies)
        if turnedOff { return ["errors to clients that turned replies off (CLIENT REPLY)"].appending(lost) }
        return lost.isEmpty ? "errors of commands that were not answered yet" : lost
    }

    private static let hides: [String: UInt32] = {
        // Events that the kernel kept from the programs, receives among them.
        var hides = ["recursion_misses": KILN_HIDES_REQUESTS.rawValue]
        for loss in 0..<UInt32(KILN_REQUEST_LOSS_COUNT.rawValue) {
            hides[String(cString: kiln_describe_request_loss(loss).name)] = kiln_request_loss_hides(loss).rawValue
        }
        return hides
    }()
}

extension [String] {
    fileprivate func appending(_ text: String) -> String { (self + (text.isEmpty ? [] : [text])).joined(separator: ", or ") }
}
