import RESP
import TestSupport

/// Random values, and their bytes written by the letter of the protocol: what the decoder is held against.
struct RandomValue {
    var random: SeededGenerator

    mutating func value(depth: Int = 0) -> RESPValue {
        switch Int.random(in: 0..<(depth < 4 ? 17 : 12), using: &random) {
        case 0: .simpleString(RESPString(line()))
        case 1: .error(RESPString(line()))
        case 2, 3: .bulkString(RESPString(bytes()))
        case 4: .bulkError(RESPString(bytes()))
        case 5: .verbatimString(format: RESPString(Array("txt".utf8)), text: RESPString(bytes()))
        case 6: .integer([0, 1, -1, .max, .min, Int64.random(in: .min ... .max, using: &random)].randomElement(using: &random) ?? 0)
        case 7: .double(RESPString(Array((["1.5", "inf", "-inf", "nan", "1e-7"].randomElement(using: &random) ?? "").utf8)))
        case 8: .bigNumber(RESPString(Array("-3492890328409238509324850943850943825024385".utf8)))
        case 9: .boolean(Bool.random(using: &random))
        case 10: .null
        case 11: Bool.random(using: &random) ? .nullBulkString : .nullArray
        case 12, 13: .array(elements(depth, 0...4))
        case 14: .set(elements(depth, 0...3))
        case 15: .map(elements(depth, 0...2, perEntry: 2))
        default:
            depth == 0 && Bool.random(using: &random)
                ? .push(elements(depth, 1...3)) : .attributed(elements(depth, 1...1, perEntry: 2), value(depth: depth + 1))
        }
    }

    private mutating func elements(_ depth: Int, _ count: ClosedRange<Int>, perEntry: Int = 1) -> RESPElements {
        let count = Int.random(in: count, using: &random) * perEntry
        return RESPElements((0..<count).map { _ in value(depth: depth + 1) })
    }

    private mutating func line() -> [UInt8] {
        (0..<Int.random(in: 0...6, using: &random)).map { _ in [0x20, 0x41, 0x24, 0x0d, 0xff].randomElement(using: &random) ?? 0 }
            .filter { $0 != 0x0d || Bool.random(using: &random) }
    }

    private mutating func bytes() -> [UInt8] {
        (0..<Int.random(in: 0...8, using: &random)).map { _ in [0x0d, 0x0a, 0x24, 0x2a, 0x31, 0x00, 0xc3].randomElement(using: &random) ?? 0 }
    }

    /// `streamed`: strings and aggregates without a count, where the protocol has them.
    mutating func encode(_ value: RESPValue, streamed: Bool) -> [UInt8] {
        func type(_ character: Character, _ rest: String) -> [UInt8] { Array("\(character)\(rest)\r\n".utf8) }
        switch value {
        case .simpleString(let text): return Array("+".utf8) + text.bytes + [13, 10]
        case .error(let text): return Array("-".utf8) + text.bytes + [13, 10]
        case .double(let text): return Array(",".utf8) + text.bytes + [13, 10]
        case .bigNumber(let text): return Array("(".utf8) + text.bytes + [13, 10]
        case .bulkString(let text):
            guard streamed, Bool.random(using: &random) else { return type("$", "\(text.bytes.count)") + text.bytes + [13, 10] }
            var rest = text.bytes[...], result = type("$", "?")
            while !rest.isEmpty {
                let part = rest.prefix(Int.random(in: 1...3, using: &random))
                result += type(";", "\(part.count)") + part + [13, 10]
                rest = rest.dropFirst(part.count)
            }
            return result + type(";", "0")
        case .bulkError(let text): return type("!", "\(text.bytes.count)") + text.bytes + [13, 10]
        case .verbatimString(let format, let text):
            return type("=", "\(text.bytes.count + 4)") + format.bytes + [UInt8(ascii: ":")] + text.bytes + [13, 10]
        case .integer(let number): return type(":", "\(number)")
        case .boolean(let value): return type("#", value ? "t" : "f")
        case .null: return type("_", "")
        case .nullBulkString: return type("$", "-1")
        case .nullArray: return type("*", "-1")
        case .array(let elements): return encode("*", elements, 1, streamed)
        case .set(let elements): return encode("~", elements, 1, streamed)
        case .push(let elements): return encode(">", elements, 1, false)
        case .map(let elements): return encode("%", elements, 2, streamed)
        case .attributed(let elements, let value): return encode("|", elements, 2, false) + encode(value, streamed: streamed)
        case .cut: return []
        }
    }

    private mutating func encode(_ type: Character, _ elements: RESPElements, _ perEntry: Int, _ streamed: Bool) -> [UInt8] {
        let isStreamed = streamed && Bool.random(using: &random)
        var bytes = Array("\(type)\(isStreamed ? "?" : "\(elements.values.count / perEntry)")\r\n".utf8)
        for value in elements.values { bytes += encode(value, streamed: streamed) }
        return isStreamed ? bytes + Array(".\r\n".utf8) : bytes
    }
}
