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
