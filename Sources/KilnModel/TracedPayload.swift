import PrintableText
import RESP

/// What somebody sent, for a terminal: printable text as it is, everything else as `\n`, `\r`, `\t` or `\xHH`, so that no byte
/// is obeyed. What holds blanks, quotes or nothing is in double quotes.
public func shownText(_ bytes: some Sequence<UInt8>) -> String {
    let (text, isPlain) = escapedText(Array(bytes))
    return isPlain && !text.isEmpty ? text : "\"\(text)\""
}

/// The same without quotes around it; `isPlain`: there is nothing in it that needs them.
private func escapedText(_ bytes: [UInt8]) -> (text: String, isPlain: Bool) {
    var text = "", isPlain = true, index = 0
    let digits = Array("0123456789abcdef")
    while index < bytes.count {
        let byte = bytes[index]
        switch byte {
        case UInt8(ascii: "\n"): text += "\\n"
        case UInt8(ascii: "\r"): text += "\\r"
        case UInt8(ascii: "\t"): text += "\\t"
        case UInt8(ascii: "\""), UInt8(ascii: "\\"): text += "\\" + String(UnicodeScalar(byte))
        case 0x20..<0x7f:
            text.unicodeScalars.append(UnicodeScalar(byte))
            if byte != 0x20 {
                index += 1
                continue
            }
        default:
            if let (scalar, length) = printableScalar(bytes[index...]) {
                text.unicodeScalars.append(scalar)
                index += length
                continue
            }
            text += "\\x\(digits[Int(byte >> 4)])\(digits[Int(byte & 15)])"
        }
        isPlain = false
        index += 1
    }
    return (text, isPlain)
}

/// The character of several bytes (UTF-8) that these begin with, if it is one that shows.
private func printableScalar(_ bytes: ArraySlice<UInt8>) -> (Unicode.Scalar, length: Int)? {
    guard let first = bytes.first, first >= 0xc2 else { return nil }
    let length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4
    guard let text = String(validating: bytes.prefix(length), as: UTF8.self), let scalar = text.unicodeScalars.first,
          text.unicodeScalars.count == 1
    else { return nil }
    return scalar.isPrintable ? (scalar, length) : nil
}

/// The words of a traced request, as they are shown.
struct TracedWords {
    var words: [String] = []
    /// Words that were sent and aren't among these; nil: not known.
    var missing: Int? = 0
    /// All of the last word is there.
    var lastIsWhole = true

    init(_ bytes: [UInt8]) {
        guard !bytes.isEmpty else { return }
        guard let request = try? decodeRESPRequest(bytes) else {
            words = [shownText(bytes)]
            missing = nil
            return
        }
        words = request.words.map { word in
            word.isWhole ? shownText(word.bytes) : shownText(word.bytes) + (word.announced.map { "...(\($0) bytes)" } ?? "...")
        }
        missing = request.announced.map { max(0, $0 - request.words.count) }
        lastIsWhole = request.words.last?.isWhole ?? true
    }
}

extension RESPValue {
    /// What kind of reply it is, in every output; nil where not even that is known.
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

    /// Elements of an array, a set or a push, entries of a map; nil for anything else, and where it is not known.
    var size: Int? {
        switch self {
        case .array(let elements), .set(let elements), .push(let elements): elements.announced
        case .map(let elements): elements.announced.map { $0 / 2 }
        case .attributed(_, let value): value.size
        default: nil
        }
    }

    /// As it is shown.
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

/// The reply of a traced request, or what was pushed, as it is shown.
struct TracedReply {
    var kind: String?
    var size: Int?
    var shown: String
    var isWhole: Bool

    /// `onlyType`: its value was held back in the kernel, which cuts behind a type, a length or count, an error's first word.
    init?(_ bytes: [UInt8], onlyType: Bool) {
        guard let type = bytes.first else { return nil }
        let decoded = try? decodeRESP(onlyType ? bytes + [13, 10] : bytes)
        kind = decoded?.value.kind ?? Self.kinds[type]
        size = decoded?.value.size
        shown = decoded?.value.shown ?? shownText(bytes)
        isWhole = decoded?.isWhole ?? false
        if onlyType {
            if kind != "error", kind != "null" { shown = "(withheld)" }
            isWhole = kind == "null"
        }
    }

    /// Of values that came to no more than their type.
    private static let kinds: [UInt8: String] = [
        UInt8(ascii: ":"): "integer", UInt8(ascii: ","): "double", UInt8(ascii: "("): "big number", UInt8(ascii: "#"): "boolean",
        UInt8(ascii: "$"): "bulk string", UInt8(ascii: "*"): "array", UInt8(ascii: "%"): "map", UInt8(ascii: "~"): "set",
        UInt8(ascii: ">"): "push", UInt8(ascii: "="): "verbatim string",
    ]
}
