/// Bytes of XML and of JSON inside XML. Everything that comes from outside goes through one of the escaping calls.
package struct MarkupWriter {
    package private(set) var bytes: [UInt8] = []

    package init() {}

    package mutating func literal(_ text: StaticString) {
        text.withUTF8Buffer { bytes.append(contentsOf: $0) }
    }

    package mutating func raw(_ more: [UInt8]) { bytes.append(contentsOf: more) }

    mutating func integer(_ value: some BinaryInteger) {
        // A picture is mostly numbers, and a String for each is a third of the time.
        if value < 0 { bytes.append(UInt8(ascii: "-")) }
        var rest = UInt64(value.magnitude)
        let first = bytes.count
        repeat {
            bytes.append(UInt8(ascii: "0") + UInt8(rest % 10))
            rest /= 10
        } while rest > 0
        bytes[first...].reverse()
    }

    /// A length in pixels, to the hundredth, without trailing zeros.
    mutating func pixels(_ value: Double) {
        var hundredths = Int((value * 100).rounded())
        if hundredths < 0 {
            bytes.append(UInt8(ascii: "-"))
            hundredths = -hundredths
        }
        integer(hundredths / 100)
        let fraction = hundredths % 100
        guard fraction != 0 else { return }
        bytes.append(UInt8(ascii: "."))
        bytes.append(UInt8(ascii: "0") + UInt8(fraction / 10))
        if fraction % 10 != 0 { bytes.append(UInt8(ascii: "0") + UInt8(fraction % 10)) }
    }

    /// Character data or an attribute's value.
    package mutating func escaped(_ text: String) { escaped(Array(text.utf8)) }

    mutating func escaped(_ text: some Collection<UInt8>) {
        forEachDisplayScalar(text) { escaped($0) }
    }

    mutating func escaped(_ scalar: Unicode.Scalar) {
        switch scalar {
        case "<": literal("&lt;")
        case ">": literal("&gt;")
        case "&": literal("&amp;")
        case "\"": literal("&quot;")
        case "'": literal("&#39;")
        default: bytes.append(contentsOf: scalar.utf8)
        }
    }

    /// A JSON string. Markup characters are written as `\u` escapes, so the text is the same in XML and out of it.
    mutating func jsonString(_ text: some Collection<UInt8>) {
        bytes.append(UInt8(ascii: "\""))
        forEachDisplayScalar(text) { scalar in
            switch scalar {
            case "\"": literal("\\u0022")
            case "\\": literal("\\\\")
            case "<": literal("\\u003c")
            case ">": literal("\\u003e")
            case "&": literal("\\u0026")
            default: bytes.append(contentsOf: scalar.utf8)
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }
}
