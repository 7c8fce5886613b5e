/// Writes JSON from left to right. Strings contain only printable ASCII; every other character is escaped.
struct JSONText {
    private(set) var bytes: [UInt8] = []
    private var needsComma = false

    mutating func object(_ body: (inout JSONText) throws -> Void) rethrows { try enclosed("{", "}", body) }

    mutating func array(_ body: (inout JSONText) throws -> Void) rethrows { try enclosed("[", "]", body) }

    private mutating func enclosed(_ open: Unicode.Scalar, _ close: Unicode.Scalar, _ body: (inout JSONText) throws -> Void) rethrows {
        separate()
        bytes.append(UInt8(ascii: open))
        needsComma = false
        try body(&self)
        bytes.append(UInt8(ascii: close))
        needsComma = true
    }

    /// The name of an object's next value.
    mutating func key(_ name: String) {
        value(name)
        bytes.append(UInt8(ascii: ":"))
        needsComma = false
    }

    mutating func value(_ text: String) {
        separate()
        bytes.append(UInt8(ascii: "\""))
        for unit in text.utf16 {
            switch unit {
            case 0x22, 0x5c:
                bytes.append(UInt8(ascii: "\\"))
                bytes.append(UInt8(unit))
            // `<` so that the text can stand in a page.
            case 0x20..<0x7f where unit != 0x3c: bytes.append(UInt8(unit))
            default:
                let digits = String(unit, radix: 16)
                bytes += "\\u".utf8
                bytes += repeatElement(UInt8(ascii: "0"), count: 4 - digits.utf8.count)
                bytes += digits.utf8
            }
        }
        bytes.append(UInt8(ascii: "\""))
        needsComma = true
    }

    mutating func value(_ number: some BinaryInteger) { raw("\(number)") }

    /// A finite number; JSON has no other.
    mutating func value(_ number: Double) { raw(number.isFinite ? "\(number)" : "0") }

    mutating func value(_ flag: Bool) { raw(flag ? "true" : "false") }

    mutating func null() { raw("null") }

    private mutating func raw(_ text: String) {
        separate()
        bytes += text.utf8
        needsComma = true
    }

    private mutating func separate() { if needsComma { bytes.append(UInt8(ascii: ",")) } }

    // MARK: Fields of objects

    mutating func field(_ name: String, _ text: String) {
        key(name)
        value(text)
    }

    mutating func field(_ name: String, _ number: some BinaryInteger) {
        key(name)
        value(number)
    }

    mutating func field(_ name: String, _ number: Double) {
        key(name)
        value(number)
    }

    mutating func field(_ name: String, _ flag: Bool) {
        key(name)
        value(flag)
    }

    mutating func field(_ name: String, object body: (inout JSONText) throws -> Void) rethrows {
        key(name)
        try object(body)
    }

    mutating func field(_ name: String, array body: (inout JSONText) throws -> Void) rethrows {
        key(name)
        try array(body)
    }

    /// A column of a table; nil is null.
    mutating func field(_ name: String, column: some Sequence<Int?>) {
        field(
            name,
            array: { json in
                for number in column { if let number { json.value(number) } else { json.null() } }
            })
    }
}
