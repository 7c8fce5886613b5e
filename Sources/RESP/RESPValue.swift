/// A value of RESP2 or RESP3, complete or truncated.
///
/// Types: https://redis.io/docs/latest/develop/reference/protocol-spec/
public indirect enum RESPValue: Hashable, Sendable {
    /// `+`, `-`: a line.
    case simpleString(RESPString)
    case error(RESPString)
    /// `$`, `!`: counted bytes.
    case bulkString(RESPString)
    case bulkError(RESPString)
    /// `=`: counted bytes of a text with a format of three bytes (`txt`, `mkd`).
    case verbatimString(format: RESPString, text: RESPString)
    /// `:`
    case integer(Int64)
    /// `,` and `(`: the text of the number.
    case double(RESPString)
    case bigNumber(RESPString)
    /// `#`
    case boolean(Bool)
    /// `_`, and the nulls of RESP2: `$-1` and `*-1`.
    case null
    case nullBulkString
    case nullArray
    /// `*`, `~`, `>`
    case array(RESPElements)
    case set(RESPElements)
    case push(RESPElements)
    /// `%`: alternating keys and values.
    case map(RESPElements)
    /// `|`: attributes (alternating keys and values), and the value that they describe.
    case attributed(RESPElements, RESPValue)
    /// Truncated so early that at most a type and a part of a number are present.
    case cut
}

/// Bytes, and their announced number.
public struct RESPString: Hashable, Sendable {
    public var bytes: [UInt8]
    /// Nil if unknown, because the end of a line or of a streamed string is missing.
    public var announced: Int?

    public init(_ bytes: some Sequence<UInt8>, announced: Int?) {
        self.bytes = Array(bytes)
        self.announced = announced
    }

    /// A complete string.
    public init(_ bytes: some Sequence<UInt8>) {
        self.bytes = Array(bytes)
        announced = self.bytes.count
    }

    public var isWhole: Bool { announced == bytes.count }
}

/// Elements, and their announced number.
public struct RESPElements: Hashable, Sendable {
    /// The elements that are present; the last one may be truncated.
    public var values: [RESPValue]
    /// Nil if unknown, because the end of a streamed aggregate is missing.
    public var announced: Int?

    public init(_ values: [RESPValue], announced: Int?) {
        self.values = values
        self.announced = announced
    }

    /// A complete aggregate.
    public init(_ values: [RESPValue]) {
        self.values = values
        announced = values.count
    }
}

/// The limits of a decoder. A value beyond them is an error; it is not truncated.
public struct RESPLimits: Sendable {
    /// Nesting of values.
    public var depth: Int
    /// The total number of values, including nested ones.
    public var elements: Int
    /// The announced length of a string in bytes, and the announced number of elements of an aggregate.
    public var announced: Int

    /// By default, Redis accepts strings of 512 MiB, and nests replies of scripts about ten levels deep.
    public init(depth: Int = 64, elements: Int = 1 << 20, announced: Int = 512 << 20) {
        // A level takes a few hundred bytes of the thread's stack, so 256 levels fit even into the rest of a 512 KiB stack.
        self.depth = min(max(depth, 1), 256)
        self.elements = max(elements, 1)
        self.announced = min(max(announced, 0), 1 << 40)
    }
}

/// Why bytes are not RESP, and where.
public enum RESPError: Error, Equatable, CustomStringConvertible {
    /// No type begins with this byte.
    case unknownType(UInt8, at: Int)
    /// A malformed length, count or number, or one beyond what is representable.
    case badNumber(at: Int)
    /// A counted string without CR LF at its end, or a malformed line of a type.
    case badEnd(at: Int)
    case tooDeep(at: Int)
    case tooManyElements(at: Int)
    case tooLong(at: Int)

    public var description: String {
        switch self {
        case .unknownType(let byte, let at): "byte \(at) (\(byte)) is not the beginning of a RESP type"
        case .badNumber(let at): "the number at byte \(at) is not a number"
        case .badEnd(let at): "the value at byte \(at) doesn't end as it should"
        case .tooDeep(let at): "the value at byte \(at) is nested too deep"
        case .tooManyElements(let at): "the value at byte \(at) is one too many"
        case .tooLong(let at): "the value at byte \(at) is too long"
        }
    }
}
