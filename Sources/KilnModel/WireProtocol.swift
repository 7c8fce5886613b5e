/// The user-space part of a wire protocol. The kernel's part is `bpf/protocols/NAME`, which is selected at compile time.
///
/// Each protocol has a folder beside `Redis` that declares one of these values.
public struct WireProtocol: Sendable {
    /// As in `kiln NAME` and in the names of its BPF objects.
    public let name: String
    /// The name in messages.
    public let title: String
    /// The name of its message format.
    public let encoding: String
    /// Decodes the bytes of a trace.
    public let payload: any PayloadDecoder

    public init(name: String, title: String, encoding: String, payload: any PayloadDecoder) {
        self.name = name
        self.title = title
        self.encoding = encoding
        self.payload = payload
    }
}

/// Decodes the captured first bytes of requests and replies, which may be truncated anywhere.
public protocol PayloadDecoder: Sendable {
    /// The words of a request, in printed form.
    func words(of request: [UInt8]) -> TracedWords
    /// A reply in printed form; nil if there are no bytes.
    ///
    /// - Parameter isWithheld: The kernel withheld its value.
    func reply(_ bytes: [UInt8], isWithheld: Bool) -> TracedReply?
    /// The ranges of up to `count` consecutive requests.
    func requests(_ count: Int, in bytes: [UInt8]) -> [Range<Int>]
    /// The ranges of up to `count` consecutive replies.
    func replies(_ count: Int, in bytes: [UInt8]) -> [Range<Int>]
    /// Whether a reply is an error.
    func isError(_ reply: [UInt8]) -> Bool
}
