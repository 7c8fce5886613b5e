/// The fields of a protobuf message one by one, to tell what a file is: https://protobuf.dev/programming-guides/encoding/
struct ProtobufFields {
    struct Field {
        var number: UInt64
        /// Of a field with a length; cut where the bytes end.
        var content: ArraySlice<UInt8>?
    }

    private var rest: ArraySlice<UInt8>

    init(_ bytes: ArraySlice<UInt8>) { rest = bytes }

    var isAtEnd: Bool { rest.isEmpty }

    /// Nil at the end, or where no field is.
    mutating func next() -> Field? {
        guard let tag = varint(), tag >> 3 > 0 else { return nil }
        switch tag & 7 {
        case 0: return varint().map { _ in Field(number: tag >> 3) }
        case 1: return skip(8) ? Field(number: tag >> 3) : nil
        case 2:
            guard let length = varint() else { return nil }
            let content = rest.prefix(Int(clamping: length))
            rest = rest.dropFirst(content.count)
            return Field(number: tag >> 3, content: content)
        case 5: return skip(4) ? Field(number: tag >> 3) : nil
        default: return nil
        }
    }

    private mutating func skip(_ count: Int) -> Bool {
        guard rest.count >= count else { return false }
        rest = rest.dropFirst(count)
        return true
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
