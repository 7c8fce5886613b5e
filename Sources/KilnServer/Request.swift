/// A request, as far as handlers may see it: no headers, no body, and nothing that could be a path of a file.
public struct ServerRequest: Sendable {
    public enum Method: Sendable {
        case get, head
    }

    public var method: Method
    /// Percent-decoded, of the path behind the first slash: `["debug", "pprof", "profile"]`; empty for `/`.
    public var path: [String]
    /// Percent-decoded, in their order.
    public var query: [(name: String, value: String)]

    public init(method: Method = .get, path: [String], query: [(name: String, value: String)] = []) {
        self.method = method
        self.path = path
        self.query = query
    }

    /// The first value of a parameter; nil if it isn't given.
    public func value(_ name: String) -> String? { query.first { $0.name == name }?.value }

    /// From the target of a request line: `/path?query`, or `http://host/path?query`. Nil: it is neither, or not well encoded.
    init?(method: Method, target: String) {
        var rest = target[...]
        if !rest.hasPrefix("/") {
            guard let scheme = rest.range(of: "://"), let path = rest[scheme.upperBound...].firstIndex(where: { $0 == "/" || $0 == "?" }) else { return nil }
            rest = rest[path...]
        }
        rest = rest.prefix { $0 != "#" }
        let parts = rest.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        let segments = parts[0].split(separator: "/", omittingEmptySubsequences: false).dropFirst()
        var path = segments.compactMap { Self.decoded($0, plusIsBlank: false) }
        guard path.count == segments.count else { return nil }
        if path.last == "" { path.removeLast() }
        var query: [(name: String, value: String)] = []
        for pair in parts.count > 1 ? parts[1].split(separator: "&") : [] {
            let sides = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = Self.decoded(sides[0], plusIsBlank: true), let value = Self.decoded(sides.count > 1 ? sides[1] : "", plusIsBlank: true) else {
                return nil
            }
            query.append((name, value))
        }
        self.init(method: method, path: path, query: query)
    }

    /// Nil unless each `%` is followed by two hexadecimal digits, and the result is UTF-8 without NUL.
    private static func decoded(_ text: Substring, plusIsBlank: Bool) -> String? {
        var bytes: [UInt8] = [], rest = text.utf8[...]
        while let byte = rest.popFirst() {
            switch byte {
            case UInt8(ascii: "%"):
                guard let high = rest.popFirst().flatMap(digit), let low = rest.popFirst().flatMap(digit) else { return nil }
                bytes.append(high << 4 | low)
            case UInt8(ascii: "+") where plusIsBlank: bytes.append(UInt8(ascii: " "))
            default: bytes.append(byte)
            }
        }
        return bytes.contains(0) ? nil : String(validating: bytes, as: UTF8.self)
    }

    private static func digit(_ byte: UInt8) -> UInt8? { Character(Unicode.Scalar(byte)).hexDigitValue.map { UInt8($0) } }
}

extension Substring {
    fileprivate func range(of text: String) -> Range<Index>? { firstRange(of: text) }
}

/// What a request is answered.
public struct ServerResponse: Sendable {
    public var status: Int
    /// Content-Type.
    public var type: String
    public var body: [UInt8]
    public var headers: [(name: String, value: String)]
    /// For HEAD, where the body isn't made: Content-Length is left out.
    public var hasUnknownLength = false

    public init(status: Int = 200, type: String, body: [UInt8], headers: [(name: String, value: String)] = []) {
        self.status = status
        self.type = type
        self.body = body
        self.headers = headers
    }

    /// One line of text.
    public static func line(_ text: String, status: Int = 200, headers: [(name: String, value: String)] = []) -> ServerResponse {
        ServerResponse(status: status, type: "text/plain; charset=utf-8", body: Array((text + "\n").utf8), headers: headers)
    }
}

/// Where each request goes, by its path.
public struct Router: Sendable {
    public typealias Handler = @Sendable (ServerRequest, Exchange) -> Void

    private var routes: [(path: [String], handler: Handler)] = []

    public init() {}

    /// - Parameter path: `/metrics`, `/debug/pprof/command/*`; `*` stands for one segment, which is not empty.
    public mutating func add(_ path: String, _ handler: @escaping Handler) { routes.append((path.split(separator: "/").map(String.init), handler)) }

    func handler(of path: [String]) -> Handler? {
        routes.first { route in
            route.path.count == path.count && zip(route.path, path).allSatisfy { $0 == $1 || $0 == "*" && !$1.isEmpty }
        }?.handler
    }
}
