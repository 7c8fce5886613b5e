/// What the bytes between clients and servers mean, as far as user space has to know it. The kernel's part is `bpf/protocols/NAME`, and is
/// chosen when that is compiled.
///
/// A protocol is a folder that makes one of these values, beside `Redis`.
public struct WireProtocol: Sendable {
    /// As in `kiln NAME` and in the names of its BPF objects.
    public let name: String
    /// As people write it.
    public let title: String
    /// What its messages are called.
    public let encoding: String
    /// Reads the bytes of a trace.
    public let payload: any PayloadDecoder

    public init(name: String, title: String, encoding: String, payload: any PayloadDecoder) {
        self.name = name
        self.title = title
        self.encoding = encoding
        self.payload = payload
    }
}

/// Reads the bytes that a trace has of requests and replies: their beginnings, which may be cut anywhere.
public protocol PayloadDecoder: Sendable {
    /// What a request says, ready to be shown.
    func words(of request: [UInt8]) -> TracedWords
    /// What a reply says, ready to be shown; nil where there are no bytes.
    ///
    /// - Parameter isWithheld: The kernel left out its value.
    func reply(_ bytes: [UInt8], isWithheld: Bool) -> TracedReply?
    /// Where up to `count` requests lie, one behind the other.
    func requests(_ count: Int, in bytes: [UInt8]) -> [Range<Int>]
    /// The same of replies.
    func replies(_ count: Int, in bytes: [UInt8]) -> [Range<Int>]
    /// Whether a reply is an error.
    func isError(_ reply: [UInt8]) -> Bool
}
