/// The value at the beginning of some bytes.
public struct RESPDecoded: Hashable, Sendable {
    public var value: RESPValue
    /// The number of its bytes.
    public var length: Int
    /// All of the value is present.
    public var isWhole: Bool
}

/// Decodes the value at the beginning of the bytes. If the bytes end inside the value, or are empty, returns the part that is present.
public func decodeRESP(_ bytes: some Sequence<UInt8>, limits: RESPLimits = RESPLimits()) throws(RESPError) -> RESPDecoded {
    var decoder = Decoder(bytes: Array(bytes), limits: limits)
    let value = try decoder.value(depth: 1)
    return RESPDecoded(value: value, length: decoder.position, isWhole: !decoder.ended)
}

/// The words of a request: an array of bulk strings, or an inline command. The last one may be truncated.
public struct RESPRequest: Hashable, Sendable {
    public var words: [RESPString]
    /// The announced number of words; nil if unknown.
    public var announced: Int?
    public var isWhole: Bool
}

/// Decodes the request at the beginning of the bytes.
public func decodeRESPRequest(_ bytes: some Sequence<UInt8>, limits: RESPLimits = RESPLimits()) throws(RESPError) -> RESPRequest {
    var decoder = Decoder(bytes: Array(bytes), limits: limits)
    return try decoder.request()
}

/// The ranges of the first `count` requests in the bytes, without blank lines and empty arrays, which a server ignores. Fewer if the bytes
/// end, or are not a request.
public func rangesOfRESPRequests(_ count: Int, in bytes: [UInt8], limits: RESPLimits = RESPLimits()) -> [Range<Int>] {
    ranges(count, in: bytes, limits) { (decoder) throws(RESPError) in try decoder.request().words.contains { !$0.bytes.isEmpty } }
}

/// The ranges of the first `count` consecutive values in the bytes. Fewer if the bytes end, or are not a value.
public func rangesOfRESP(_ count: Int, in bytes: [UInt8], limits: RESPLimits = RESPLimits()) -> [Range<Int>] {
    ranges(count, in: bytes, limits) { (decoder) throws(RESPError) in
        _ = try decoder.value(depth: 1)
        return true
    }
}

/// `take` decodes one item, and returns whether its range is included.
private func ranges(
    _ count: Int, in bytes: [UInt8], _ limits: RESPLimits, _ take: (inout Decoder) throws(RESPError) -> Bool
) -> [Range<Int>] {
    var ranges: [Range<Int>] = [], start = 0
    while ranges.count < count, start < bytes.count {
        var decoder = Decoder(bytes: bytes, limits: limits, position: start)
        guard let isOne = try? take(&decoder), !decoder.ended else { break }
        if isOne { ranges.append(start..<decoder.position) }
        start = decoder.position
    }
    return ranges
}

private struct Decoder {
    let bytes: [UInt8]
    let limits: RESPLimits
    var position = 0
    /// The bytes ended inside the value.
    var ended = false
    private var elements = 0

    init(bytes: [UInt8], limits: RESPLimits, position: Int = 0) {
        self.bytes = bytes
        self.limits = limits
        self.position = position
    }

    mutating func request() throws(RESPError) -> RESPRequest {
        guard position < bytes.count, bytes[position] == UInt8(ascii: "*") else { return inlineRequest() }
        let start = position
        guard case .array(let elements) = try value(depth: 1) else {
            return RESPRequest(words: [], announced: ended ? nil : 0, isWhole: !ended)
        }
        var words: [RESPString] = []
        for value in elements.values {
            switch value {
            case .bulkString(let word): words.append(word)
            case .cut: break
            default: throw .badEnd(at: start)
            }
        }
        return RESPRequest(words: words, announced: elements.announced, isWhole: !ended)
    }

    mutating func value(depth: Int) throws(RESPError) -> RESPValue {
        guard depth <= limits.depth else { throw .tooDeep(at: position) }
        guard elements < limits.elements else { throw .tooManyElements(at: position) }
        elements += 1
        guard position < bytes.count else {
            ended = true
            return .cut
        }
        let start = position, type = bytes[position]
        position += 1
        switch type {
        case UInt8(ascii: "+"): return .simpleString(line())
        case UInt8(ascii: "-"): return .error(line())
        case UInt8(ascii: ","): return .double(line())
        case UInt8(ascii: "("): return .bigNumber(line())
        case UInt8(ascii: ":"):
            let text = line()
            guard text.isWhole else { return .cut }
            return .integer(try number(text.bytes, at: start))
        case UInt8(ascii: "#"):
            let text = line()
            guard text.isWhole else { return .cut }
            guard text.bytes == [UInt8(ascii: "t")] || text.bytes == [UInt8(ascii: "f")] else { throw .badEnd(at: start) }
            return .boolean(text.bytes == [UInt8(ascii: "t")])
        case UInt8(ascii: "_"):
            let text = line()
            guard text.isWhole else { return .cut }
            guard text.bytes.isEmpty else { throw .badEnd(at: start) }
            return .null
        case UInt8(ascii: "$"), UInt8(ascii: "!"), UInt8(ascii: "="): return try string(type, start)
        case UInt8(ascii: "*"), UInt8(ascii: "~"), UInt8(ascii: ">"), UInt8(ascii: "%"), UInt8(ascii: "|"):
            return try aggregate(type, start, depth)
        default: throw .unknownType(type, at: start)
        }
    }

    private mutating func string(_ type: UInt8, _ start: Int) throws(RESPError) -> RESPValue {
        var text: RESPString
        switch try length(at: start) {
        case .cut: return .cut
        case .null:
            guard type == UInt8(ascii: "$") else { throw .badNumber(at: start) }
            return .nullBulkString
        case .streamed:
            guard type == UInt8(ascii: "$") else { throw .badNumber(at: start) }
            return .bulkString(try chunks())
        case .count(let count): text = try counted(count, at: start)
        }
        switch type {
        case UInt8(ascii: "!"): return .bulkError(text)
        case UInt8(ascii: "="):
            // The text begins after three bytes and a colon.
            let format = RESPString(text.bytes.prefix(3), announced: 3)
            guard let announced = text.announced, announced >= 4, text.bytes.count < 4 || text.bytes[3] == UInt8(ascii: ":") else {
                throw .badEnd(at: start)
            }
            return .verbatimString(format: format, text: RESPString(text.bytes.dropFirst(4), announced: announced - 4))
        default: return .bulkString(text)
        }
    }

    private mutating func aggregate(_ type: UInt8, _ start: Int, _ depth: Int) throws(RESPError) -> RESPValue {
        let perEntry = type == UInt8(ascii: "%") || type == UInt8(ascii: "|") ? 2 : 1
        var elements = RESPElements([], announced: nil)
        switch try length(at: start) {
        case .cut: return .cut
        case .null:
            guard type == UInt8(ascii: "*") else { throw .badNumber(at: start) }
            return .nullArray
        case .count(let count):
            // Memory is allocated as elements arrive, because the announced number may be false.
            elements.announced = count * perEntry
            while elements.values.count < count * perEntry, !ended { elements.values.append(try value(depth: depth + 1)) }
        case .streamed:
            while !ended {
                if position < bytes.count, bytes[position] == UInt8(ascii: ".") {
                    position += 1
                    guard line().bytes.isEmpty, elements.values.count % perEntry == 0 else { throw .badEnd(at: start) }
                    if !ended { elements.announced = elements.values.count }
                    break
                }
                elements.values.append(try value(depth: depth + 1))
            }
        }
        switch type {
        case UInt8(ascii: "~"): return .set(elements)
        case UInt8(ascii: ">"): return .push(elements)
        case UInt8(ascii: "%"): return .map(elements)
        case UInt8(ascii: "|"): return .attributed(elements, ended ? .cut : try value(depth: depth + 1))
        default: return .array(elements)
        }
    }

    /// The parts of a streamed string (`$?`), up to the part of length 0.
    private mutating func chunks() throws(RESPError) -> RESPString {
        var text = RESPString([], announced: nil)
        while true {
            let start = position
            guard position < bytes.count else { break }
            guard bytes[position] == UInt8(ascii: ";") else { throw .badEnd(at: start) }
            position += 1
            guard case .count(let count) = try length(at: start) else {
                if ended { break }
                throw .badNumber(at: start)
            }
            if count == 0 {
                text.announced = text.bytes.count
                return text
            }
            text.bytes += try counted(count, at: start).bytes
            guard text.bytes.count <= limits.announced else { throw .tooLong(at: start) }
            if ended { break }
        }
        ended = true
        return text
    }

    private enum Length { case count(Int), null, streamed, cut }

    /// The number after a type, up to and including CR LF.
    private mutating func length(at start: Int) throws(RESPError) -> Length {
        let text = line()
        guard text.isWhole else { return .cut }
        if text.bytes == [UInt8(ascii: "?")] { return .streamed }
        let number = try number(text.bytes, at: start)
        if number == -1 { return .null }
        guard number >= 0 else { throw .badNumber(at: start) }
        guard number <= limits.announced else { throw .tooLong(at: start) }
        return .count(Int(number))
    }

    /// Bytes up to and including CR LF.
    private mutating func line() -> RESPString {
        let start = position
        while position < bytes.count {
            if bytes[position] == 13, position + 1 < bytes.count, bytes[position + 1] == 10 {
                position += 2
                return RESPString(bytes[start..<(position - 2)])
            }
            position += 1
        }
        ended = true
        // A CR at the very end belongs to the line end.
        let end = bytes.last == 13 && bytes.count > start ? bytes.count - 1 : bytes.count
        return RESPString(bytes[start..<end], announced: nil)
    }

    /// A counted number of bytes, and their CR LF.
    private mutating func counted(_ count: Int, at start: Int) throws(RESPError) -> RESPString {
        let here = min(count, bytes.count - position)
        let text = RESPString(bytes[position..<(position + here)], announced: count)
        position += here
        for byte: UInt8 in [13, 10] {
            guard position < bytes.count else {
                ended = true
                break
            }
            guard bytes[position] == byte else { throw .badEnd(at: start) }
            position += 1
        }
        return text
    }

    private func number(_ text: [UInt8], at start: Int) throws(RESPError) -> Int64 {
        // Not `Int64(String)`, which accepts digits of other scripts.
        var digits = text[...]
        let sign = digits.first
        if sign == UInt8(ascii: "-") || sign == UInt8(ascii: "+") { digits = digits.dropFirst() }
        guard !digits.isEmpty, digits.count <= 19 else { throw .badNumber(at: start) }
        var value: Int64 = 0
        for digit in digits {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else { throw .badNumber(at: start) }
            let (product, tooLarge) = value.multipliedReportingOverflow(by: 10)
            // Subtracts, because the least number has no positive counterpart.
            let (sum, carried) = product.subtractingReportingOverflow(Int64(digit - UInt8(ascii: "0")))
            guard !tooLarge, !carried else { throw .badNumber(at: start) }
            value = sum
        }
        if sign == UInt8(ascii: "-") { return value }
        guard value != .min else { throw .badNumber(at: start) }
        return -value
    }

    /// Words separated by blanks. Quotes enclose blanks, and a backslash inside double quotes escapes a quote.
    private mutating func inlineRequest() -> RESPRequest {
        var request = RESPRequest(words: [], announced: nil, isWhole: false)
        var word: [UInt8]?, quote: UInt8?
        while position < bytes.count {
            let byte = bytes[position]
            position += 1
            if byte == 10, quote == nil {
                if let last = word { request.words.append(RESPString(last)) }
                request.announced = request.words.count
                request.isWhole = true
                return request
            }
            if let open = quote {
                if byte == open {
                    quote = nil
                } else if open == UInt8(ascii: "\""), byte == UInt8(ascii: "\\"), position < bytes.count {
                    word?.append(bytes[position])
                    position += 1
                } else {
                    word?.append(byte)
                }
            } else if byte == 32 || (9...13).contains(byte) {
                if let last = word { request.words.append(RESPString(last)) }
                word = nil
            } else if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "'") {
                quote = byte
                word = word ?? []
            } else {
                word = (word ?? []) + [byte]
            }
        }
        ended = true
        if let last = word { request.words.append(RESPString(last, announced: nil)) }
        return request
    }
}
