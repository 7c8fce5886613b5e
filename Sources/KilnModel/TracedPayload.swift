import PrintableText

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
public struct TracedWords: Sendable {
    public var words: [String] = []
    /// Words that were sent and aren't among these; nil: not known.
    public var missing: Int? = 0

    public init(words: [String] = [], missing: Int? = 0) {
        self.words = words
        self.missing = missing
    }
}

/// The reply of a traced request, or what was pushed, as it is shown.
public struct TracedReply: Sendable {
    /// What kind of reply it is (`integer`, `error`); nil where not even that is known.
    public var kind: String?
    /// Elements or entries; nil for anything else, and where it is not known.
    public var size: Int?
    public var shown: String
    /// All bytes of the reply are there.
    public var isWhole: Bool

    public init(kind: String?, size: Int?, shown: String, isWhole: Bool) {
        self.kind = kind
        self.size = size
        self.shown = shown
        self.isWhole = isWhole
    }
}
