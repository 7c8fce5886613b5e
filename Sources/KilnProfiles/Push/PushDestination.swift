/// A kind of server that takes profiles by HTTP. Each has a file of its own, and a place in `all`.
public struct PushDestination: Sendable {
    /// Its URLs, for help.
    public var title: String
    /// Where requests go for a URL that was given; nil: the URL is none of this destination's.
    var endpoint: @Sendable (PushURL) -> PushURL?
    /// What is sent there for a profile, of which each series has samples.
    public var requests: @Sendable (Profile, PushURL) throws -> [PushRequest]
    /// What the body of an answer tells beside success; nil: nothing.
    var remark: @Sendable (PushAnswer) -> String?
    /// The server's words about a failure; nil: the body is text.
    var words: @Sendable (PushAnswer) -> String?

    public static let all: [PushDestination] = [.pyroscope, .otlp]

    /// The destination of a URL, and where its requests go.
    ///
    /// - Throws: `PushError` where no destination has such URLs.
    public static func of(_ url: PushURL) throws -> (destination: PushDestination, endpoint: PushURL) {
        for destination in all { if let endpoint = destination.endpoint(url) { return (destination, endpoint) } }
        throw PushError("\(url.place) is no URL that kiln can push to. There are: \(all.map(\.title).joined(separator: "; ")).")
    }
}

/// A POST request.
public struct PushRequest: Sendable {
    public var url: PushURL
    public var headers: [String]
    public var body: [UInt8]

    public init(url: PushURL, headers: [String], body: [UInt8]) {
        self.url = url
        self.headers = headers
        self.body = body
    }
}
