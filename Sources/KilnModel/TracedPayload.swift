import PrintableText

/// Received bytes for a terminal: printable text unchanged, everything else as `
/// `, `\r`, `\t` or `\xHH`, so that no byte controls the terminal. Text that is empty or contains blanks or quotes is in double quotes.
public func shownText(_ bytes: some Sequence<UInt8>) -> String {
    let (text, isPlain) = escapedText(Array(bytes))
    return isPlain && !text.isEmpty ? text : "\"\(text)\""
}

/// The same without enclosing quotes. `isPlain`: it needs none.
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

/// The printable multi-byte character (UTF-8) at the beginning of the bytes, if there is one.
private func printableScalar(_ bytes: ArraySlice<UInt8>) -> (Unicode.Scalar, length: Int)? {
    guard let first = bytes.first, first >= 0xc2 else { return nil }
    let length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4
    guard let text = String(validating: bytes.prefix(length), as: UTF8.self), let scalar = text.unicodeScalars.first,
        text.unicodeScalars.count == 1
    else { return nil }
    return scalar.isPrintable ? (scalar, length) : nil
}

/// The words of a traced request, in printed form.
public struct TracedWords: Sendable {
    public var words: [String] = []
    /// The number of words that were sent and are not in `words`; nil if unknown.
    public var missing: Int? = 0

    public init(words: [String] = [], missing: Int? = 0) {
        self.words = words
        self.missing = missing
    }
}

/// The reply to a traced request, or a push message, in printed form.
public struct TracedReply: Sendable {
    /// The type of the reply (`integer`, `error`); nil if it is unknown.
    public var kind: String?
    /// The number of elements or entries; nil for other types, or if it is unknown.
    public var size: Int?
    public var shown: String
    /// All bytes of the reply are present.
    public var isWhole: Bool

    public init(kind: String?, size: Int?, shown: String, isWhole: Bool) {
        self.kind = kind
        self.size = size
        self.shown = shown
        self.isWhole = isWhole
    }
}
