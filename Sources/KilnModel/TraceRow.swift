/// A line of a trace. Names carry their unit. Fields are added, never renamed.
public struct TraceRow: Codable, Sendable, Equatable {
    /// The time of the read, or of the send of a push message; RFC 3339.
    public var time: String
    public var pid: Int32
    /// The thread that sent the reply; without a reply, the thread that read the request.
    public var tid: UInt32
    /// Absent with hook fentry.
    public var fd: UInt32?
    /// The position of the request among those counted on its connection, from 1.
    public var sequence: UInt32?
    public var client: String
    /// COMMAND, PING or PUSHED_EVENT.
    public var `class`: String
    /// The command's name in upper case.
    public var command: String?
    /// Name and arguments, in the same form as in the text; unprintable bytes as \xHH.
    public var words: [String]
    /// The number of words that are missing in `words`; nil if unknown.
    public var wordsMissing: Int?
    /// Words were withheld in the kernel.
    public var withheld: Bool
    public var requestBytes: UInt64?
    public var replyKind: String?
    /// Elements or entries.
    public var replySize: Int?
    public var reply: String?
    public var replyBytes: UInt64?
    /// ok, error, or unknown: no reply was seen, because none is sent or because it can't be matched.
    public var status: String
    public var latencyNs: UInt64?
    public var queueNs: UInt64?
    public var execNs: UInt64?
    public var replyNs: UInt64?
    public var totalNs: UInt64?
    /// The latency is a wait that the client asked for.
    public var blocking: Bool
    public var tls: Bool
    /// All bytes of request and reply are shown.
    public var complete: Bool

    enum CodingKeys: String, CodingKey {
        case time, pid, tid, fd, sequence, client, `class`, command, words, withheld, reply, status, blocking, tls, complete
        case wordsMissing = "words_missing", requestBytes = "request_bytes", replyKind = "reply_kind", replySize = "reply_size"
        case replyBytes = "reply_bytes", latencyNs = "latency_ns", queueNs = "queue_ns", execNs = "exec_ns", replyNs = "reply_ns"
        case totalNs = "total_ns"
    }

    /// `withoutArguments`: the kernel captured no arguments.
    public init(_ request: TracedRequest, time: String, pid: Int32, withoutArguments: Bool, _ payload: any PayloadDecoder) {
        let flags = request.flags, isPush = flags.contains(.push)
        self.time = time
        self.pid = pid
        tid = request.tid
        fd = request.fd
        sequence = isPush ? nil : request.sequence
        client = request.client
        if let port = request.clientPort { client = client.contains(":") ? "[\(client)]:\(port)" : "\(client):\(port)" }
        command = request.command?.description
        `class` = isPush ? "PUSHED_EVENT" : command == "PING" ? "PING" : "COMMAND"
        withheld = withoutArguments || flags.contains(.secret)
        let sent = payload.words(of: request.request)
        words = sent.words
        wordsMissing = withoutArguments || flags.contains(.requestLost) ? nil : sent.missing
        if words.isEmpty, let command, !isPush {
            words = [command]
            if !withoutArguments { wordsMissing = nil }
        }
        requestBytes = request.requestBytes
        let answer = payload.reply(request.reply, isWithheld: flags.contains(.replyWithheld))
        replyKind = answer?.kind
        replySize = answer?.size
        reply = answer?.shown
        replyBytes = request.replyBytes
        status = flags.contains(.error) ? "error" : flags.contains(.answered) || isPush ? "ok" : "unknown"
        latencyNs = request.latency?.count
        blocking = flags.contains(.blocking)
        tls = flags.contains(.tls)
        let requestIsWhole = isPush || request.requestBytes == UInt64(request.request.count)
        let replyIsWhole = answer.map { $0.isWhole && request.replyBytes == UInt64(request.reply.count) } ?? !flags.contains(.answered)
        complete = requestIsWhole && replyIsWhole && !flags.contains(.replyLost)
        guard let received = request.received else { return }
        if let arrived = request.arrived, arrived <= received { queueNs = (received - arrived).count }
        guard let sentAt = request.sent, sentAt >= received, !blocking else { return }
        totalNs = queueNs.map { $0 + (sentAt - received).count }
        if let executed = request.executed, executed >= received, executed <= sentAt {
            execNs = (executed - received).count
            replyNs = (sentAt - executed).count
        }
    }
}

/// The last JSON line of a trace, recognizable by its only key. Fields are added, never renamed.
public struct TraceEnd: Codable, Sendable, Equatable {
    public struct Summary: Codable, Sendable, Equatable {
        public var durationS: Double
        /// The number of lines before this one.
        public var traced: UInt64
        /// Requests read from all clients, whether they passed the filters or not.
        public var requests: UInt64
        /// By name: losses of the trace and of the counts.
        public var lost: [String: UInt64]

        enum CodingKeys: String, CodingKey {
            case durationS = "duration_s", traced, requests, lost
        }
    }

    public var summary: Summary

    public init(duration: Nanoseconds, traced: UInt64, requests: UInt64, lost: [String: UInt64]) {
        summary = Summary(durationS: duration.seconds, traced: traced, requests: requests, lost: lost)
    }
}

extension TraceRow {
    /// Name and arguments, with a note on missing ones.
    public var request: String {
        guard command != nil || !words.isEmpty else { return "" }
        var text = words.joined(separator: " ")
        if withheld { text += " (withheld)" } else if wordsMissing == nil { text += " ...(arguments not captured)" }
        if !withheld, let wordsMissing, wordsMissing > 0 { text += " ...(\(wordsMissing) more)" }
        return text
    }

    /// `get name, Latency: 4849 ns`
    public var brief: String {
        let what = `class` == "PUSHED_EVENT" ? "\(`class`) \(reply ?? "")" : request
        return what + (latencyNs.map { ", Latency: \($0) ns" } ?? "")
    }

    /// Everything except the time.
    public var line: String {
        var text = "pid \(pid) tid \(tid) fd \(fd.map(String.init) ?? "-") \(client)"
        if let sequence { text += " #\(sequence)" }
        text += " \(`class`)"
        if !request.isEmpty { text += " \(request)" }
        if let replyKind {
            text += " -> \(replyKind)" + (replySize.map { " of \($0)" } ?? "") + (replyKind == "null" ? "" : " \(reply ?? "")")
        } else if status != "unknown" {
            text += " -> \(reply ?? "(not captured)")"
        }
        text += " | \(status)"
        if let latencyNs { text += (blocking ? " waited " : " ") + Nanoseconds(latencyNs).description }
        let phases = [("queue", queueNs), ("exec", execNs), ("reply", replyNs), ("total", totalNs)].compactMap { name, ns in
            ns.map { "\(name) \(Nanoseconds($0))" }
        }
        if !phases.isEmpty { text += " (" + phases.joined(separator: ", ") + ")" }
        return text + (tls ? " | TLS" : " | no TLS") + (complete ? " | complete" : " | payload incomplete")
    }
}
