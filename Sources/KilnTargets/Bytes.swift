// Splits the kernel's text files into lines, fields and numbers without copying them into strings.

typealias Bytes = ArraySlice<UInt8>

extension UInt8 {
    var isFieldSeparator: Bool { self == 0x20 || self == 0x09 || self == 0x0a }

    /// The value of a digit in bases up to 16; nil for other bytes.
    var digitValue: UInt8? {
        switch self {
        case 0x30...0x39: self - 0x30
        case 0x41...0x46: self - 0x41 + 10
        case 0x61...0x66: self - 0x61 + 10
        default: nil
        }
    }
}

extension Bytes {
    var text: String { String(decoding: self, as: UTF8.self) }

    /// Lines without their newline; empty lines are left out.
    var lines: [Bytes] { split(separator: 0x0a, omittingEmptySubsequences: true) }

    /// The parts between blanks.
    var fields: [Bytes] { split(omittingEmptySubsequences: true) { $0.isFieldSeparator } }

    /// Removes and returns the next field; nil if there is none.
    mutating func takeField() -> Bytes? {
        guard let start = firstIndex(where: { !$0.isFieldSeparator }) else { return nil }
        let end = self[start...].firstIndex(where: \.isFieldSeparator) ?? endIndex
        defer { self = self[end...] }
        return self[start..<end]
    }

    /// The unsigned number in these bytes; nil if they are not exactly one number, or if it is too large.
    func number<Number: FixedWidthInteger & UnsignedInteger>(radix: UInt8 = 10, as: Number.Type = Number.self) -> Number? {
        guard !isEmpty else { return nil }
        var value: Number = 0
        for byte in self {
            guard let digit = byte.digitValue, digit < radix else { return nil }
            let (product, tooLarge) = value.multipliedReportingOverflow(by: Number(radix))
            let (sum, carried) = product.addingReportingOverflow(Number(digit))
            guard !tooLarge, !carried else { return nil }
            value = sum
        }
        return value
    }

    /// A process id: a positive number that fits pid_t.
    var pid: Int32? {
        guard let value = number(as: UInt32.self), value > 0 else { return nil }
        return Int32(exactly: value)
    }

    /// The number in `socket:[123]` or `net:[4026531833]`, if the kind matches.
    func inode(ofKind kind: StaticString) -> UInt64? {
        let length = kind.utf8CodeUnitCount
        guard count > length + 3, last == UInt8(ascii: "]"),
            self[startIndex + length] == UInt8(ascii: ":"), self[startIndex + length + 1] == UInt8(ascii: "[")
        else { return nil }
        for offset in 0..<length where self[startIndex + offset] != kind.utf8Start[offset] { return nil }
        return self[(startIndex + length + 2)..<(endIndex - 1)].number()
    }
}

extension String {
    /// The part after the last slash.
    var baseName: String { lastIndex(of: "/").map { String(self[index(after: $0)...]) } ?? self }

    /// Padded with blanks to the width of a column.
    func padded(to width: Int) -> String {
        count < width ? self + String(repeating: " ", count: width - count) : self
    }
}
