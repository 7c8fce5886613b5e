/// Any bytes as text that XML 1.0 can carry and a person can read.
///
/// Names come from symbol tables and process names and may be any bytes. What is not valid UTF-8, and control
/// bytes, are shown as `\xNN`; scalars that XML forbids or that would reorder or hide their neighbours
/// (bidirectional controls, noncharacters, C1) as `\u{N}`. Everything else is kept.

/// Calls `body` with every scalar to show, in order.
func forEachDisplayScalar(_ bytes: some Collection<UInt8>, _ body: (Unicode.Scalar) -> Void) {
    var parser = Unicode.UTF8.ForwardParser()
    var iterator = bytes.makeIterator()
    var position = bytes.startIndex
    while true {
        switch parser.parseScalar(from: &iterator) {
        case .emptyInput:
            return
        case .error(let length):
            for _ in 0..<length {
                hexEscape(UInt32(bytes[position]), "\\x", minimumDigits: 2, "", body)
                position = bytes.index(after: position)
            }
        case .valid(let encoded):
            position = bytes.index(position, offsetBy: encoded.count)
            let scalar = Unicode.UTF8.decode(encoded)
            if scalar.value < 0x20 || scalar.value == 0x7f {
                hexEscape(scalar.value, "\\x", minimumDigits: 2, "", body)
            } else if isUnshowable(scalar.value) {
                hexEscape(scalar.value, "\\u{", minimumDigits: 1, "}", body)
            } else {
                body(scalar)
            }
        }
    }
}

/// A frame as it stands in folded text that is written: a terminal obeys nothing in it but a tab, which is a blank. True: it is shown
/// as it is.
@discardableResult
func appendDisplayed(_ frame: UnsafeRawBufferPointer, to text: inout [UInt8]) -> Bool {
    let before = text.count
    let tab = UInt8(ascii: "\t")
    // Nearly all names are plain.
    if frame.allSatisfy({ ($0 >= 0x20 && $0 < 0x7f) || $0 == tab }) {
        text.append(contentsOf: frame)
    } else {
        for (index, part) in frame.split(separator: tab, omittingEmptySubsequences: false).enumerated() {
            if index > 0 { text.append(tab) }
            forEachDisplayScalar(part) { text.append(contentsOf: $0.utf8) }
        }
    }
    // An escape is longer than what it stands for.
    return text.count - before == frame.count
}

/// The text to show as one String, for error messages and tests.
func displayString(_ bytes: some Collection<UInt8>) -> String {
    var text = String.UnicodeScalarView()
    forEachDisplayScalar(bytes) { text.append($0) }
    return String(text)
}

private func isUnshowable(_ value: UInt32) -> Bool {
    switch value {
    case 0x80...0x9f, 0xad, 0x61c, 0x180e, 0x200b...0x200f, 0x2028...0x202e, 0x2060...0x206f, 0xfeff, 0xfdd0...0xfdef, 0xfff9...0xfffb,
        0xe0000...0xe007f:
        true
    default: value & 0xfffe == 0xfffe
    }
}

private func hexEscape(
    _ value: UInt32, _ opening: StaticString, minimumDigits: Int, _ closing: String, _ body: (Unicode.Scalar) -> Void
) {
    opening.withUTF8Buffer { for byte in $0 { body(Unicode.Scalar(byte)) } }
    let digits = String(value, radix: 16)
    for _ in 0..<max(0, minimumDigits - digits.utf8.count) { body("0") }
    digits.unicodeScalars.forEach(body)
    closing.unicodeScalars.forEach(body)
}
