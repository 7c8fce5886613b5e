/// The fields of a protobuf message one by one, to tell what a file is: https://protobuf.dev/programming-guides/encoding/
struct ProtobufFields {
    struct Field {
        var number: UInt64
        /// Of a field with a length; cut where the bytes end.
        var content: ArraySlice<UInt8>?
        var isCut = false
        /// Of four or eight bytes.
        var isFixed = false
    }

    private var rest: ArraySlice<UInt8>

    init(_ bytes: ArraySlice<UInt8>) { rest = bytes }

    var isAtEnd: Bool { rest.isEmpty }

    /// The bytes that are left.
    var count: Int { rest.count }

    /// Nil at the end, or where no field is.
    mutating func next() -> Field? {
        guard let tag = varint(), tag >> 3 > 0 else { return nil }
        switch tag & 7 {
        case 0: return varint().map { _ in Field(number: tag >> 3) }
        case 1: return skip(8) ? Field(number: tag >> 3, isFixed: true) : nil
        case 2:
            guard let length = varint() else { return nil }
            let content = rest.prefix(Int(clamping: length))
            rest = rest.dropFirst(content.count)
            return Field(number: tag >> 3, content: content, isCut: UInt64(content.count) < length)
        case 5: return skip(4) ? Field(number: tag >> 3, isFixed: true) : nil
        default: return nil
        }
    }

    private mutating func skip(_ count: Int) -> Bool {
        let isWhole = rest.count >= count
        rest = rest.dropFirst(count)
        return isWhole
    }

    private mutating func varint() -> UInt64? {
        var value: UInt64 = 0
        for shift in stride(from: 0, to: 64, by: 7) {
            guard let byte = rest.popFirst() else { return nil }
            value |= UInt64(byte & 0x7f) << shift
            if byte < 0x80 { return value }
        }
        return nil
    }
}

/// What a field may be.
indirect enum ProtobufShape: Sendable {
    case number
    /// One, or several with a length.
    case numbers
    /// Of four or eight bytes.
    case fixed
    case manyFixed
    case bytes
    /// Without control characters.
    case text
    case message([UInt64: ProtobufShape])
}

extension ProtobufFields {
    /// The numbers of the fields that are whole and not empty; nil where a field is not one of these. What is cut off at the end of the bytes fits as far
    /// as it goes, and its own fields count instead.
    static func numbers(of bytes: ArraySlice<UInt8>, in shape: [UInt64: ProtobufShape], isCut: Bool = true) -> Set<UInt64>? {
        var fields = ProtobufFields(bytes), numbers = Set<UInt64>()
        while !fields.isAtEnd {
            // The last field may end before its content begins.
            guard let field = fields.next() else { return isCut && fields.isAtEnd ? numbers : nil }
            guard !field.isCut || isCut else { return nil }
            switch (shape[field.number], field.content) {
            case (.number, nil), (.numbers, nil):
                guard !field.isFixed else { return nil }
                numbers.insert(field.number)
            case (.fixed, nil), (.manyFixed, nil):
                guard field.isFixed else { return nil }
                numbers.insert(field.number)
            case (.numbers, let content?), (.manyFixed, let content?), (.bytes, let content?):
                if !field.isCut, !content.isEmpty { numbers.insert(field.number) }
            case (.text, let content?):
                guard content.allSatisfy({ $0 >= 0x20 }) else { return nil }
                if !field.isCut, !content.isEmpty { numbers.insert(field.number) }
            case (.message(let inner), let content?):
                guard let seen = self.numbers(of: content, in: inner, isCut: field.isCut) else { return nil }
                if !seen.isEmpty { numbers.insert(field.number) }
            default: return nil
            }
        }
        return numbers
    }
}
