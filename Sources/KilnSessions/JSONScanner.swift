/// Reads the JSON (RFC 8259) of one line, value by value, without building a tree.
///
/// An hour of commands.jsonl is 200 MB in 360,000 lines, each with its slots as nested arrays; a decoder of whole values makes an object of each
/// number.
struct JSONScanner {
    /// Why the text is no JSON, or not the value that was asked for.
    struct Damage: Error {
        let reason: String
    }

    /// The name of a field, as it stands in the text.
    struct Key {
        fileprivate let bytes: UnsafeRawBufferPointer

        static func == (key: Key, name: StaticString) -> Bool {
            key.bytes.count == name.utf8CodeUnitCount && name.withUTF8Buffer { key.bytes.elementsEqual($0) }
        }
        static func ~= (name: StaticString, key: Key) -> Bool { key == name }
    }

    /// What is nested deeper is refused.
    private static let deepest = 64

    private let text: UnsafeRawBufferPointer
    private var at = 0
    private var depth = 0

    init(_ text: UnsafeRawBufferPointer) { self.text = text }

    /// Calls `field` for each field; it reads the value, or skips it.
    mutating func object(_ field: (inout JSONScanner, Key) throws -> Void) throws {
        try expect("{", "an object")
        try descend()
        if take("}") { return depth -= 1 }
        repeat {
            blanks()
            let key = Key(bytes: UnsafeRawBufferPointer(rebasing: try rawString()))
            try expect(":", "a colon")
            try field(&self, key)
        } while take(",")
        try expect("}", "the end of an object")
        depth -= 1
    }

    /// Calls `element` for each element; it reads it, or skips it.
    mutating func array(_ element: (inout JSONScanner) throws -> Void) throws {
        try expect("[", "an array")
        try descend()
        if take("]") { return depth -= 1 }
        repeat { try element(&self) } while take(",")
        try expect("]", "the end of an array")
        depth -= 1
    }

    /// A number without fraction, at least 0.
    mutating func unsigned() throws -> UInt64 {
        blanks()
        let first = at
        var value: UInt64 = 0
        while let digit = digit() {
            let (tens, beyond) = value.multipliedReportingOverflow(by: 10)
            let (sum, carried) = tens.addingReportingOverflow(UInt64(digit))
            if beyond || carried { throw Damage(reason: "a number is larger than 64 bits") }
            value = sum
            at += 1
        }
        if at == first || isFraction { throw Damage(reason: "a whole number is expected") }
        return value
    }

    /// A number without fraction of at most 2^53, which JavaScript keeps exactly.
    mutating func integer() throws -> Int {
        let isNegative = take("-")
        let value = try unsigned()
        guard value <= 1 << 53 else { throw Damage(reason: "a number is larger than 2^53") }
        return isNegative ? -Int(value) : Int(value)
    }

    mutating func number() throws -> Double {
        blanks()
        let first = at
        try skipNumber()
        let digits = String(decoding: text[first..<at], as: UTF8.self)
        guard let value = Double(digits), value.isFinite else { throw Damage(reason: "a number is expected") }
        return value
    }

    private mutating func skipNumber() throws {
        var hasDigit = false
        while at < text.count {
            switch text[at] {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): hasDigit = true
            case UInt8(ascii: "-"), UInt8(ascii: "+"), UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E"): break
            default:
                if hasDigit { return }
                throw Damage(reason: "a value is expected")
            }
            at += 1
        }
        throw Damage(reason: "it ends in the middle of a value")
    }

    mutating func string() throws -> String {
        blanks()
        let raw = try rawString()
        if !raw.contains(UInt8(ascii: "\\")) { return String(decoding: raw, as: UTF8.self) }
        return try Self.unescaped(raw)
    }

    /// Skips `null`, if it stands here.
    mutating func takeNull() -> Bool {
        blanks()
        return takeWord("null")
    }

    /// Reads over any value. Numbers are not looked at.
    mutating func skip() throws {
        blanks()
        guard at < text.count else { throw Damage(reason: "it ends in the middle of a value") }
        switch text[at] {
        case UInt8(ascii: "{"): try object { scanner, _ in try scanner.skip() }
        case UInt8(ascii: "["): try array { try $0.skip() }
        case UInt8(ascii: "\""): _ = try rawString()
        case UInt8(ascii: "t") where takeWord("true"): break
        case UInt8(ascii: "f") where takeWord("false"): break
        case UInt8(ascii: "n") where takeWord("null"): break
        default: try skipNumber()
        }
    }

    /// Nothing may follow but blanks.
    mutating func end() throws {
        blanks()
        if at < text.count { throw Damage(reason: "something follows the object") }
    }

    private mutating func descend() throws {
        depth += 1
        if depth > Self.deepest { throw Damage(reason: "values are nested deeper than \(Self.deepest)") }
    }

    private mutating func blanks() {
        while at < text.count, text[at] == 0x20 || text[at] == 0x09 || text[at] == 0x0d || text[at] == 0x0a { at += 1 }
    }

    private mutating func take(_ character: Unicode.Scalar) -> Bool {
        blanks()
        guard at < text.count, text[at] == UInt8(ascii: character) else { return false }
        at += 1
        return true
    }

    private mutating func takeWord(_ word: StaticString) -> Bool {
        let end = at + word.utf8CodeUnitCount
        guard end <= text.count, word.withUTF8Buffer({ text[at..<end].elementsEqual($0) }) else { return false }
        at = end
        return true
    }

    private mutating func expect(_ character: Unicode.Scalar, _ what: StaticString) throws {
        if take(character) { return }
        throw Damage(reason: at < text.count ? "\(what) is expected" : "it ends in the middle of a value")
    }

    private func digit() -> UInt8? {
        guard at < text.count, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(text[at]) else { return nil }
        return text[at] - UInt8(ascii: "0")
    }

    private var isFraction: Bool {
        at < text.count && (text[at] == UInt8(ascii: ".") || text[at] | 0x20 == UInt8(ascii: "e"))
    }

    /// The bytes between the quotes.
    private mutating func rawString() throws -> UnsafeRawBufferPointer.SubSequence {
        guard at < text.count, text[at] == UInt8(ascii: "\"") else { throw Damage(reason: "a string is expected") }
        at += 1
        let first = at
        while at < text.count, text[at] != UInt8(ascii: "\"") {
            if text[at] < 0x20 { throw Damage(reason: "a string has a control character") }
            at += text[at] == UInt8(ascii: "\\") ? 2 : 1
        }
        guard at < text.count else { throw Damage(reason: "it ends in the middle of a string") }
        defer { at += 1 }
        return text[first..<at]
    }

    private static func unescaped(_ raw: UnsafeRawBufferPointer.SubSequence) throws -> String {
        var units: [UInt16] = []
        var plain: [UInt8] = []
        func flush() {
            units += String(decoding: plain, as: UTF8.self).utf16
            plain.removeAll(keepingCapacity: true)
        }
        var bytes = raw.makeIterator()
        while let byte = bytes.next() {
            guard byte == UInt8(ascii: "\\") else {
                plain.append(byte)
                continue
            }
            let escape = bytes.next()
            if escape != UInt8(ascii: "u") {
                guard let escape, let character = escapes[escape] else { throw Damage(reason: "a string has an unknown escape") }
                plain.append(character)
                continue
            }
            var unit: UInt16 = 0
            for _ in 0..<4 {
                guard let digit = bytes.next().flatMap(hexDigit) else {
                    throw Damage(reason: "a string has an incomplete escape")
                }
                unit = unit << 4 | digit
            }
            flush()
            units.append(unit)
        }
        flush()
        return String(decoding: units, as: UTF16.self)
    }

    private static let escapes: [UInt8: UInt8] = [
        UInt8(ascii: "\""): 0x22, UInt8(ascii: "\\"): 0x5c, UInt8(ascii: "/"): 0x2f, UInt8(ascii: "b"): 0x08, UInt8(ascii: "f"): 0x0c,
        UInt8(ascii: "n"): 0x0a, UInt8(ascii: "r"): 0x0d, UInt8(ascii: "t"): 0x09,
    ]

    private static func hexDigit(_ byte: UInt8) -> UInt16? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt16(byte - UInt8(ascii: "0"))
        case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt16(byte - UInt8(ascii: "a") + 10)
        case UInt8(ascii: "A")...UInt8(ascii: "F"): UInt16(byte - UInt8(ascii: "A") + 10)
        default: nil
        }
    }
}
