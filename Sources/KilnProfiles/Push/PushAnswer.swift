import KilnSessions
import PrintableText

/// The answer to a request, which may come from anybody.
public struct PushAnswer: Sendable {
    public private(set) var status: Int
    /// Names in small letters.
    private var headers: [(name: String, value: String)] = []
    public private(set) var body: [UInt8]

    /// - Parameter bytes: The head and, as far as it came, the body of an HTTP response, after those of interim responses. Nil where no head is complete.
    public init?(_ bytes: [UInt8]) {
        var rest = bytes[...]
        repeat {
            guard let first = Self.line(&rest) else { return nil }
            let words = first.split(separator: " ")
            guard words.count >= 2, words[0].hasPrefix("HTTP/"), words[1].utf8.count == 3, let status = Int(words[1]) else { return nil }
            self.status = status
            headers = []
            while true {
                guard let line = Self.line(&rest) else { return nil }
                if line.isEmpty { break }
                guard let colon = line.firstIndex(of: ":") else { continue }
                headers.append((line[..<colon].lowercased(), line[line.index(after: colon)...].trimmingBlanks))
            }
        } while (100..<200).contains(status)
        body = Array(rest)
    }

    /// A line of the head, without its end; nil if that is missing.
    private static func line(_ rest: inout ArraySlice<UInt8>) -> String? {
        guard let end = rest.firstIndex(of: UInt8(ascii: "\n")) else { return nil }
        var line = rest[..<end]
        rest = rest[(end + 1)...]
        if line.last == UInt8(ascii: "\r") { line.removeLast() }
        return String(decoding: line, as: UTF8.self)
    }

    /// `name`: in small letters.
    func header(_ name: String) -> String? { headers.first { $0.name == name }?.value }

    /// What somebody else says, as a part of a line.
    static func cut(_ text: String) -> String { String(String(text.prefix(4096)).trimmingBlanks.printable.prefix(200)) }

    /// Seconds that the server asks to wait, from Retry-After (RFC 9110, 10.2.3): seconds, or a date (5.6.7, the form that servers have to write).
    ///
    /// - Parameter now: Seconds since 1970.
    func retryAfter(now: Double) -> Double? {
        guard let text = header("retry-after") else { return nil }
        if !text.isEmpty, text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) { return Double(text) }
        // Sun, 06 Nov 1994 08:49:37 GMT
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        let words = text.split(separator: " ")
        guard words.count == 6, words[5] == "GMT", let month = months.firstIndex(of: String(words[2])) else { return nil }
        let number = month + 1
        return WallClock.seconds("\(words[3])-\(number < 10 ? "0" : "")\(number)-\(words[1])T\(words[4])Z").map { $0 - now }
    }
}

/// What comes of a request.
public enum PushVerdict: Equatable, Sendable {
    /// `remark`: what the server tells beside it.
    case accepted(remark: String?)
    /// It may be accepted when it is sent again. `asked`: in so many seconds, as the server says.
    case later(reason: String, asked: Double?)
    /// It would not be accepted another time.
    case refused(reason: String)
    /// A person has ended it.
    case interrupted
}

extension PushDestination {
    /// Only 429, 502, 503 and 504 are tried again, as OTLP's specification has it ("Retryable Response Codes"); Pyroscope needs no more.
    ///
    /// - Parameter now: Seconds since 1970.
    public func verdict(on answer: PushAnswer, now: Double) -> PushVerdict {
        if (200..<300).contains(answer.status) { return .accepted(remark: remark(answer)) }
        let words = PushAnswer.cut(self.words(answer) ?? String(decoding: answer.body.prefix(4096), as: UTF8.self))
        let reason = "it answers \(answer.status)" + (words.isEmpty ? "" : ": \(words)")
        switch answer.status {
        case 429, 502, 503, 504: return .later(reason: reason, asked: answer.retryAfter(now: now))
        case 300..<400:
            let place = answer.header("location").map { ", which leads to \(PushAnswer.cut($0))" } ?? ""
            return .refused(reason: "it answers \(answer.status)\(place); kiln follows nothing, so give the right URL")
        case 401, 403: return .refused(reason: reason + " (a token is given with --push-token-file)")
        default: return .refused(reason: reason)
        }
    }
}

/// When a request is sent again. All times are in seconds.
public struct PushDelays: Sendable {
    /// After the first attempt; each further delay is twice as long, up to `most`.
    public var first = 1.0
    public var most = 30.0
    /// Servers that ask for more have to do with this.
    public var mostAsked = 60.0
    /// Attempts at a request when the session has ended.
    public var attempts = 5

    public init() {}

    /// - Parameters:
    ///   - failed: Attempts so far.
    ///   - asked: By the server.
    ///   - jitter: A random share of the delay to be added, so that many kilns don't come at once.
    public func delay(after failed: Int, asked: Double? = nil, jitter: Double = .random(in: 0...0.1)) -> Double {
        if let asked { return min(max(asked, first), mostAsked) }
        var delay = first
        for _ in 1..<max(failed, 1) where delay < most { delay *= 2 }
        return min(delay * (1 + jitter), most)
    }
}

/// Requests that wait to be sent, oldest first.
public struct PushBacklog: Sendable {
    /// In bytes of bodies.
    public let limit: Int
    public private(set) var requests: [PushRequest] = []
    public private(set) var bytes = 0
    /// Requests that had no room.
    public private(set) var dropped = 0

    public init(limit: Int = 1 << 26) { self.limit = limit }

    /// Adds a request. The oldest ones are dropped to make room; so is one that has no room by itself.
    public mutating func add(_ request: PushRequest) {
        requests.append(request)
        bytes += request.body.count
        while bytes > limit {
            removeFirst()
            dropped += 1
        }
    }

    public mutating func removeFirst() { if !requests.isEmpty { bytes -= requests.removeFirst().body.count } }
}

extension StringProtocol {
    /// Without blanks and line ends at both ends.
    fileprivate var trimmingBlanks: String {
        let end = lastIndex { !$0.isWhitespace }.map { index(after: $0) } ?? startIndex
        return String(self[..<end].drop(while: \.isWhitespace))
    }
}
