import KilnBPF

/// A request with its reply, or a push message of the server, as the kernel emitted it.
public struct TracedRequest: Sendable, Equatable {
    /// The index of the process among the watched ones.
    public var process: Int
    public var tid: UInt32
    /// Nil with hook fentry, which doesn't see it.
    public var fd: UInt32?
    /// The position of the request among those counted on its connection, from 1.
    public var sequence: UInt32
    /// The client's address, and its port if it has one.
    public var client: String
    public var clientPort: UInt16?
    /// The command's name in upper case; nil for a push message, or if the kernel has no name for it.
    public var command: CommandName?
    /// The return of the read that brought the last byte; nil for a push message. All times here are of CLOCK_MONOTONIC.
    public var received: Nanoseconds?
    public var arrived: Nanoseconds?
    public var executed: Nanoseconds?
    /// The return of the send that took the reply's last byte; nil if no reply is expected, or if none can be matched.
    public var sent: Nanoseconds?
    /// All bytes of request and reply, framing included; nil if unknown.
    public var requestBytes: UInt64?
    public var replyBytes: UInt64?
    /// Their captured first bytes.
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
        /// Not a request, but a push message of the server.
        public static let push = Flags(KILN_TRACE_PUSH)
        public static let tls = Flags(KILN_TRACE_TLS)
        /// Words of the request were left out.
        public static let secret = Flags(KILN_TRACE_SECRET)
        /// The first bytes of the request, or of the reply, were not captured.
        public static let requestLost = Flags(KILN_TRACE_REQUEST_LOST)
        public static let replyLost = Flags(KILN_TRACE_REPLY_LOST)
        /// Only the reply's type, its length or count, and the first word of an error left the kernel.
        public static let replyWithheld = Flags(KILN_TRACE_REPLY_WITHHELD)
        /// The latency is a wait that the client asked for.
        public static let blocking = Flags(KILN_TRACE_BLOCKING)
        /// Several requests of a pipeline and their replies, concatenated (`split`).
        public static let coalesced = Flags(KILN_TRACE_COALESCED)

        private init(_ flag: kiln_trace_flag) { rawValue = UInt16(flag.rawValue) }
    }

    public init(
        process: Int, tid: UInt32, fd: UInt32?, sequence: UInt32, client: String, clientPort: UInt16? = nil,
        command:
            CommandName?, received: Nanoseconds?, arrived: Nanoseconds? = nil, executed: Nanoseconds? = nil,
        sent:
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

    /// Splits a coalesced record into its `count` requests. The first one has this record's sequence number, the next ones follow.
    ///
    /// - Parameters:
    ///   - most: The limit of captured bytes of each request.
    ///   - payload: Finds the boundaries between requests and between replies.
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

    /// From the return of the read to that of the last send.
    public var latency: Nanoseconds? {
        guard let received, let sent, sent >= received else { return nil }
        return sent - received
    }
}
