/// JSON with its members in order and all of them, where a key is there twice. Strings are bytes: bpftrace doesn't care for UTF-8.
enum BPFTraceJSON {
    indirect enum Value {
        case string([UInt8])
        /// As it is written.
        case number([UInt8])
        case object([(key: [UInt8], value: Value)])
        /// Lists, `true`, `false`, `null`.
        case other
    }

    /// The value that a text is; nil where it is none, or has anything behind it.
    static func value(_ text: ArraySlice<UInt8>) -> Value? {
        var rest = text
        guard let value = read(&rest, depth: 0) else { return nil }
        skipSpace(&rest)
        return rest.isEmpty ? value : nil
    }

    private static let depthLimit = 32

    private static func read(_ rest: inout ArraySlice<UInt8>, depth: Int) -> Value? {
        skipSpace(&rest)
        guard depth < depthLimit, let first = rest.first else { return nil }
        switch first {
        case UInt8(ascii: "\""): return string(&rest).map { .string($0) }
        case UInt8(ascii: "{"):
            var members: [(key: [UInt8], value: Value)] = []
            return list(&rest, until: UInt8(ascii: "}")) { rest in
                guard let key = string(&rest), take(UInt8(ascii: ":"), &rest), let value = read(&rest, depth: depth + 1) else { return false }
                members.append((key, value))
                return true
            } ? .object(members) : nil
        case UInt8(ascii: "["):
            return list(&rest, until: UInt8(ascii: "]")) { rest in read(&rest, depth: depth + 1) != nil } ? .other : nil
        default:
            let word = rest.prefix { !$0.isSpace && !",]}:\"".utf8.contains($0) }
            rest = rest[word.endIndex...]
            if ["true", "false", "null"].contains(where: { word.elementsEqual($0.utf8) }) { return .other }
            guard word.first?.isDecimalDigit == true || word.first == UInt8(ascii: "-") else { return nil }
            return .number(Array(word))
        }
    }

    private static func list(_ rest: inout ArraySlice<UInt8>, until end: UInt8, _ element: (inout ArraySlice<UInt8>) -> Bool) -> Bool {
        rest = rest.dropFirst()
        if take(end, &rest) { return true }
        repeat {
            skipSpace(&rest)
            guard element(&rest) else { return false }
        } while take(UInt8(ascii: ","), &rest)
        return take(end, &rest)
    }

    private static func take(_ byte: UInt8, _ rest: inout ArraySlice<UInt8>) -> Bool {
        skipSpace(&rest)
        guard rest.first == byte else { return false }
        rest = rest.dropFirst()
        return true
    }

    private static func skipSpace(_ rest: inout ArraySlice<UInt8>) { rest = rest.drop { $0.isSpace || $0 == UInt8(ascii: "\r") } }

    private static func string(_ rest: inout ArraySlice<UInt8>) -> [UInt8]? {
        guard rest.first == UInt8(ascii: "\"") else { return nil }
        rest = rest.dropFirst()
        var text: [UInt8] = []
        while let byte = rest.first {
            rest = rest.dropFirst()
            if byte == UInt8(ascii: "\"") { return text }
            guard byte == UInt8(ascii: "\\") else {
                text.append(byte)
                continue
            }
            guard let escaped = rest.first else { return nil }
            rest = rest.dropFirst()
            switch escaped {
            case UInt8(ascii: "n"): text.append(UInt8(ascii: "\n"))
            case UInt8(ascii: "t"): text.append(UInt8(ascii: "\t"))
            case UInt8(ascii: "r"): text.append(UInt8(ascii: "\r"))
            case UInt8(ascii: "b"): text.append(8)
            case UInt8(ascii: "f"): text.append(12)
            case UInt8(ascii: "u"):
                guard let scalar = scalar(&rest) else { return nil }
                text += Array(String(Character(scalar)).utf8)
            default: text.append(escaped)
            }
        }
        return nil
    }

    /// The four digits behind `\u`, or two times four.
    private static func scalar(_ rest: inout ArraySlice<UInt8>) -> Unicode.Scalar? {
        guard let first = unit(&rest) else { return nil }
        guard 0xd800..<0xdc00 ~= first, rest.starts(with: "\\u".utf8) else { return Unicode.Scalar(first) ?? "\u{fffd}" }
        var behind = rest.dropFirst(2)
        guard let second = unit(&behind), 0xdc00..<0xe000 ~= second else { return "\u{fffd}" }
        rest = behind
        return Unicode.Scalar(0x10000 + (first - 0xd800) << 10 + (second - 0xdc00))
    }

    private static func unit(_ rest: inout ArraySlice<UInt8>) -> UInt32? {
        let digits = rest.prefix(4)
        guard digits.count == 4, digits.allSatisfy(\.isHexadecimalDigit) else { return nil }
        rest = rest.dropFirst(4)
        return UInt32(hexadecimal(digits))
    }
}
