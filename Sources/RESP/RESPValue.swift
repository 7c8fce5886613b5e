/// A value of RESP2 or RESP3, whole or as far as its bytes reach.
///
/// Types: https://redis.io/docs/latest/develop/reference/protocol-spec/
public indirect enum RESPValue: Hashable, Sendable {
    /// `+`, `-`: a line.
    case simpleString(RESPString)
    case error(RESPString)
    /// `$`, `!`: counted bytes.
    case bulkString(RESPString)
    case bulkError(RESPString)
    /// `=`: counted bytes of a text in a format of three bytes (`txt`, `mkd`).
    case verbatimString(format: RESPString, text: RESPString)
    /// `:`
    case integer(Int64)
    /// `,` and `(`: the number's text, as it came.
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
    /// `%`: keys and values in turn.
    case map(RESPElements)
    /// `|`: what was said about a value, keys and values in turn, and the value.
    case attributed(RESPElements, RESPValue)
    /// Nothing more than perhaps a type and a part of a number came of it.
    case cut
}

/// Bytes, and how many there were to be.
public struct RESPString: Hashable, Sendable {
    public var bytes: [UInt8]
    /// nil: not known, because the line's end, or a streamed string's, didn't come.
    public var announced: Int?

    public init(_ bytes: some Sequence<UInt8>, announced: Int?) {
        self.bytes = Array(bytes)
        self.announced = announced
    }

    /// A whole one.
    public init(_ bytes: some Sequence<UInt8>) {
        self.bytes = Array(bytes)
        announced = self.bytes.count
    }

    public var isWhole: Bool { announced == bytes.count }
}

/// Elements, and how many there were to be.
public struct RESPElements: Hashable, Sendable {
    /// As far as they came; the last one may be cut.
    public var values: [RESPValue]
    /// nil: not known, because a streamed aggregate's end didn't come.
    public var announced: Int?

    public init(_ values: [RESPValue], announced: Int?) {
        self.values = values
        self.announced = announced
    }

    /// All of them.
    public init(_ values: [RESPValue]) {
        self.values = values
        announced = values.count
    }
}

/// What a decoder takes at most. What is beyond is refused, not cut.
public struct RESPLimits: Sendable {
    /// Values inside each other.
    public var depth: Int
    /// Values in all, nested ones counted.
    public var elements: Int
    /// Bytes that a string may announce; also the most elements that an aggregate may.
    public var announced: Int

    /// Redis itself takes strings of 512 MiB as shipped, and nests replies of scripts some ten levels deep.
    public init(depth: Int = 64, elements: Int = 1 << 20, announced: Int = 512 << 20) {
        // A level takes a few hundred bytes of the thread's stack: what is left of 512 KiB would be enough.
        self.depth = min(max(depth, 1), 256)
        self.elements = max(elements, 1)
        self.announced = min(max(announced, 0), 1 << 40)
    }
}

/// Why bytes are no RESP, and where.
public enum RESPError: Error, Equatable, CustomStringConvertible {
    /// No type begins with this byte.
    case unknownType(UInt8, at: Int)
    /// A length, count or number that is none, or lies beyond what is representable.
    case badNumber(at: Int)
    /// A counted string is not followed by CR LF, or a type's line is not what it may be.
    case badEnd(at: Int)
    case tooDeep(at: Int)
    case tooManyElements(at: Int)
    case tooLong(at: Int)

    public var description: String {
        switch self {
        case .unknownType(let byte, let at): "byte \(at) (\(byte)) begins no RESP type"
        case .badNumber(let at): "the number at byte \(at) is none"
        case .badEnd(let at): "the value at byte \(at) doesn't end as it should"
        case .tooDeep(let at): "the value at byte \(at) is nested too deep"
        case .tooManyElements(let at): "the value at byte \(at) is one too many"
        case .tooLong(let at): "the value at byte \(at) is too long"
        }
    }
}
