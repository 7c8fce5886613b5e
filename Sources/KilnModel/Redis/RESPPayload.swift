import RESP

/// Decodes traced requests and replies in RESP.
public struct RESPPayload: PayloadDecoder {
    public init() {}

    public func words(of request: [UInt8]) -> TracedWords {
        guard !request.isEmpty else { return TracedWords() }
        guard let decoded = try? decodeRESPRequest(request) else { return TracedWords(words: [shownText(request)], missing: nil) }
        let words = decoded.words.map { word in
            word.isWhole ? shownText(word.bytes) : shownText(word.bytes) + (word.announced.map { "...(\($0) bytes)" } ?? "...")
        }
        return TracedWords(words: words, missing: decoded.announced.map { max(0, $0 - decoded.words.count) })
    }

    /// The kernel truncates a withheld reply after its type, its length or count, and the first word of an error.
    public func reply(_ bytes: [UInt8], isWithheld: Bool) -> TracedReply? {
        guard let type = bytes.first else { return nil }
        let decoded = try? decodeRESP(isWithheld ? bytes + [13, 10] : bytes)
        var reply = TracedReply(
            kind: decoded?.value.kind ?? Self.kinds[type], size: decoded?.value.size, shown: decoded?.value.shown ?? shownText(bytes),
            isWhole: decoded?.isWhole ?? false
        )
        if isWithheld {
            if reply.kind != "error", reply.kind != "null" { reply.shown = "(withheld)" }
            reply.isWhole = reply.kind == "null"
        }
        return reply
    }

    public func requests(_ count: Int, in bytes: [UInt8]) -> [Range<Int>] { rangesOfRESPRequests(count, in: bytes) }
    public func replies(_ count: Int, in bytes: [UInt8]) -> [Range<Int>] { rangesOfRESP(count, in: bytes) }
    public func isError(_ reply: [UInt8]) -> Bool { reply.first == UInt8(ascii: "-") }

    /// Names of types, for values that were truncated after the type.
    private static let kinds: [UInt8: String] = [
        UInt8(ascii: ":"): "integer", UInt8(ascii: ","): "double", UInt8(ascii: "("): "big number", UInt8(ascii: "#"): "boolean",
        UInt8(ascii: "$"): "bulk string", UInt8(ascii: "*"): "array", UInt8(ascii: "%"): "map", UInt8(ascii: "~"): "set",
        UInt8(ascii: ">"): "push", UInt8(ascii: "="): "verbatim string",
    ]
}

extension RESPValue {
    /// The type of the reply, as in every output; nil if it is unknown.
    var kind: String? {
        switch self {
        case .simpleString: "simple string"
        case .error, .bulkError: "error"
        case .bulkString: "bulk string"
        case .verbatimString: "verbatim string"
        case .integer: "integer"
        case .double: "double"
        case .bigNumber: "big number"
        case .boolean: "boolean"
        case .null, .nullBulkString, .nullArray: "null"
        case .array: "array"
        case .set: "set"
        case .push: "push"
        case .map: "map"
        case .attributed(_, let value): value.kind
        case .cut: nil
        }
    }

    /// The number of elements of an array, set or push, or of entries of a map; nil for other types, or if it is unknown.
    var size: Int? {
        switch self {
        case .array(let elements), .set(let elements), .push(let elements): elements.announced
        case .map(let elements): elements.announced.map { $0 / 2 }
        case .attributed(_, let value): value.size
        default: nil
        }
    }

    /// The printed form.
    var shown: String {
        switch self {
        case .simpleString(let text), .error(let text), .bulkString(let text), .bulkError(let text), .verbatimString(_, let text):
            return Self.shown(text)
        case .double(let text), .bigNumber(let text): return Self.shown(text)
        case .integer(let number): return String(number)
        case .boolean(let value): return value ? "true" : "false"
        case .null, .nullBulkString, .nullArray: return "null"
        case .array(let elements), .set(let elements), .push(let elements): return "[" + Self.shown(elements, perEntry: 1) + "]"
        case .map(let elements): return "{" + Self.shown(elements, perEntry: 2) + "}"
        case .attributed(_, let value): return value.shown
        case .cut: return "..."
        }
    }

    private static func shown(_ text: RESPString) -> String {
        text.isWhole ? shownText(text.bytes) : shownText(text.bytes) + (text.announced.map { "...(\($0) bytes)" } ?? "...")
    }

    private static func shown(_ elements: RESPElements, perEntry: Int) -> String {
        var values = elements.values
        let isCut = elements.announced != values.count || values.last == .cut
        if values.last == .cut { values.removeLast() }
        var texts: [String] = []
        for index in stride(from: 0, to: values.count, by: perEntry) {
            texts.append(values[index..<min(index + perEntry, values.count)].map(\.shown).joined(separator: ": "))
        }
        if isCut { texts.append("...") }
        return texts.joined(separator: ", ")
    }
}
