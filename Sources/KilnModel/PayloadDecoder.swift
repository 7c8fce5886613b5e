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
