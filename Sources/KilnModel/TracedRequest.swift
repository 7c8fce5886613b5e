import KilnBPF

/// A request with its reply, or something that the server pushed, as the kernel told of it.
public struct TracedRequest: Sendable, Equatable {
    /// Index of the process among those watched.
    public var process: Int
    public var tid: UInt32
    /// nil: hook fentry doesn't see it.
    public var fd: UInt32?
    /// Of the request among those counted on its connection, from 1.
    public var sequence: UInt32
    /// The client's address, and its port where it has one.
    public var client: String
    public var clientPort: UInt16?
    /// The command's name in upper case; nil for a push, and where the kernel has none.
    public var command: CommandName?
    /// CLOCK_MONOTONIC, as all times here: the return of the read that brought its last byte; nil for a push.
    public var received: Nanoseconds?
    public var arrived: Nanoseconds?
    public var executed: Nanoseconds?
    /// The return of the send that took the reply's last byte; nil where no reply is expected, or nobody knows which it is.
    public var sent: Nanoseconds?
    /// All bytes of request and reply, framing included; nil: not known.
    public var requestBytes: UInt64?
    public var replyBytes: UInt64?
    /// Their first bytes, as far as they were kept.
    public var request: [UInt8]
    public var reply: [UInt8]
    public var flags: Flags

    public struct Flags: OptionSet, Sendable {
        public let rawValue: UInt16
        public init(rawValue: UInt16) { self.rawValue = rawValue }
        /// The reply is known.
        public static let answered = Flags(KILN_TRACE_ANSWERED)
        /// The reply is an error.
        public static let error = Flags(KILN_TRACE_ERROR)
        /// No request: something that the server pushed.
        public static let push = Flags(KILN_TRACE_PUSH)
        public static let tls = Flags(KILN_TRACE_TLS)
        /// Words of the request were left out.
        public static let secret = Flags(KILN_TRACE_SECRET)
        /// The first bytes of the request, or of the reply, were not kept.
        public static let requestLost = Flags(KILN_TRACE_REQUEST_LOST)
        public static let replyLost = Flags(KILN_TRACE_REPLY_LOST)
        /// Of the reply only its type, length or count, and an error's first word left the kernel.
        public static let replyWithheld = Flags(KILN_TRACE_REPLY_WITHHELD)
        /// The latency is a wait that the client asked for.
        public static let blocking = Flags(KILN_TRACE_BLOCKING)
        /// Several requests of a pipeline and their replies, one behind the other (`split`).
        public static let coalesced = Flags(KILN_TRACE_COALESCED)

        private init(_ flag: kiln_trace_flag) { rawValue = UInt16(flag.rawValue) }
    }

    public init(
        process: Int, tid: UInt32, fd: UInt32?, sequence: UInt32, client: String, clientPort: UInt16? = nil, command:
        CommandName?, received: Nanoseconds?, arrived: Nanoseconds? = nil, executed: Nanoseconds? = nil, sent:
        Nanoseconds?, requestBytes: UInt64?, replyBytes: UInt64?, request: [UInt8], reply: [UInt8], flags: Flags
    ) {
        self.process = process
        self.tid = tid
        self.fd = fd
        self.sequence = sequence
        self.client = client
        self.clientPort = clientPort
        self.command = command
        self.received = received
        self.arrived = arrived
        self.executed = executed
        self.sent = sent
        self.requestBytes = requestBytes
        self.replyBytes = replyBytes
        self.request = request
        self.reply = reply
        self.flags = flags
    }

    /// Each by itself of `count` requests that came in one record, which have this one's sequence, the next, and so on.
    ///
    /// - Parameters:
    ///   - most: So many bytes are kept of each request, at most.
    ///   - payload: Tells where one ends and the next begins.
    public func split(_ count: Int, requestBytes most: Int, _ payload: any PayloadDecoder) -> [TracedRequest] {
        var one = self
        one.flags.remove(.coalesced)
        one.request = []
        one.reply = []
        one.requestBytes = nil
        one.replyBytes = nil
        let requests = flags.contains(.coalesced) ? payload.requests(count, in: request) : []
        let replies = flags.contains(.answered) ? payload.replies(count, in: reply) : []
        return (0..<count).map { index in
            var one = one
            one.sequence = sequence &+ UInt32(index)
            if index < requests.count {
                one.request = Array(request[requests[index]].prefix(most))
                one.requestBytes = UInt64(requests[index].count)
            } else {
                one.flags.insert(.requestLost)
            }
            if index < replies.count {
                one.reply = Array(reply[replies[index]].prefix(Int(KILN_TRACE_REPLY_BYTES)))
                one.replyBytes = UInt64(replies[index].count)
                if payload.isError(one.reply) { one.flags.insert(.error) }
            } else if flags.contains(.answered) {
                one.flags.insert(.replyLost)
            }
            return one
        }
    }

    /// From the read to the reply handed over.
    public var latency: Nanoseconds? {
        guard let received, let sent, sent >= received else { return nil }
        return sent - received
    }
}
