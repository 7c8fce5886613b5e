@testable import RESP
import TestSupport
import Testing

struct DecoderTests {
    @Test(arguments: [
        ("+OK\r\n", RESPValue.simpleString(text("OK"))), ("-ERR no\r\n", .error(text("ERR no"))), (":-42\r\n", .integer(-42)),
        ("$5\r\nhello\r\n", .bulkString(text("hello"))), ("$0\r\n\r\n", .bulkString(text(""))), ("$-1\r\n", .nullBulkString),
        ("*-1\r\n", .nullArray), ("_\r\n", .null), ("#t\r\n", .boolean(true)), (",1.25\r\n", .double(text("1.25"))),
        ("(12345678901234567890\r\n", .bigNumber(text("12345678901234567890"))), ("!3\r\nERR\r\n", .bulkError(text("ERR"))),
        ("=7\r\nmkd:abc\r\n", .verbatimString(format: text("mkd"), text: text("abc"))),
        ("*2\r\n:1\r\n*1\r\n+a\r\n", .array(RESPElements([.integer(1), .array(RESPElements([.simpleString(text("a"))]))]))),
        ("~1\r\n:1\r\n", .set(RESPElements([.integer(1)]))), (">1\r\n+a\r\n", .push(RESPElements([.simpleString(text("a"))]))),
        ("%1\r\n+a\r\n:1\r\n", .map(RESPElements([.simpleString(text("a")), .integer(1)]))),
        ("|1\r\n+a\r\n:1\r\n:2\r\n", .attributed(RESPElements([.simpleString(text("a")), .integer(1)]), .integer(2))),
        ("$?\r\n;2\r\nhe\r\n;3\r\nllo\r\n;0\r\n", .bulkString(text("hello"))), ("*?\r\n:1\r\n.\r\n", .array(RESPElements([.integer(1)]))),
    ])
    func everyTypeIsDecoded(bytes: String, value: RESPValue) throws {
        let decoded = try decodeRESP(bytes.utf8)
        #expect(decoded == RESPDecoded(value: value, length: bytes.utf8.count, isWhole: true))
    }

    @Test(arguments: [
        "x", ":\r\n", ":1a\r\n", ":9223372036854775808\r\n", "$-2\r\n", "$1\r\nab\r\n", "$99999999999\r\n", "#x\r\n", "_1\r\n", "=2\r\nab\r\n",
        "*1\r\nx", "%?\r\n+a\r\n.\r\n", "~-1\r\n", "$?\r\n:1\r\n",
    ])
    func whatIsNoRESPIsRefused(bytes: String) {
        #expect(throws: RESPError.self) { try decodeRESP(bytes.utf8) }
    }

    @Test func limitsAreKept() throws {
        let nested = Array(String(repeating: "*1\r\n", count: 100_000).utf8)
        #expect(throws: RESPError.tooDeep(at: 256)) { try decodeRESP(nested) }
        let many = Array("*1000000000\r\n".utf8) + Array(String(repeating: ":1\r\n", count: 20).utf8)
        #expect(throws: RESPError.tooManyElements(at: 49)) { try decodeRESP(many, limits: RESPLimits(elements: 10, announced: 1 << 32)) }
        #expect(throws: RESPError.tooLong(at: 0)) { try decodeRESP("$11\r\n".utf8, limits: RESPLimits(announced: 10)) }
        // What is announced takes no memory.
        let decoded = try decodeRESP(many, limits: RESPLimits(announced: 1 << 32))
        #expect(!decoded.isWhole)
    }

    @Test(arguments: [
        ("*2\r\n$3\r\nGET\r\n$1\r\na\r\n", ["GET", "a"], true), ("get a\r\n", ["get", "a"], true), ("set 'a b' \"c\\\"d\"\n", ["set", "a b", "c\"d"], true),
        ("*3\r\n$3\r\nSET\r\n$9\r\nab", ["SET", "ab"], false), ("*2\r\n$3\r\nGET\r\n$1", ["GET"], false), ("get ab", ["get", "ab"], false), ("", [], false),
    ])
    func requestsAreTheirWords(bytes: String, words: [String], isWhole: Bool) throws {
        let request = try decodeRESPRequest(bytes.utf8)
        #expect(request.words.map { String(decoding: $0.bytes, as: UTF8.self) } == words)
        #expect(request.isWhole == isWhole)
    }

    @Test func requestsBehindEachOtherAreToldApart() throws {
        let pieces = ["*1\r\n$4\r\nPING\r\n", "\"\"\r\n", "get a\r\n", "*0\r\n", "  \r\n", "*2\r\n$3\r\nGET\r\n$6\r\n*1\r\n$1\r\n", "*1\r\n$4\r\nPI"]
        let bytes = Array(pieces.joined().utf8)
        let words = { (range: Range<Int>) in String(decoding: bytes[range], as: UTF8.self) }
        #expect(rangesOfRESPRequests(2, in: bytes).map(words) == [pieces[0], pieces[2]])
        #expect(rangesOfRESPRequests(9, in: bytes).map(words) == [pieces[0], pieces[2], pieces[5]])
        #expect(rangesOfRESPRequests(2, in: Array("get\r\n*1\r\n:1\r\nget\r\n".utf8)) == [0..<5])
    }

    @Test func valuesBehindEachOtherAreToldApart() throws {
        var made = RandomValue(random: SeededGenerator(seed: 9))
        for count in 1..<300 {
            let pieces = (0..<count).map { _ in made.encode(made.value(), streamed: false) }, bytes = pieces.flatMap { $0 }
            #expect(rangesOfRESP(count, in: bytes).map { Array(bytes[$0]) } == pieces)
            #expect(rangesOfRESP(count, in: bytes.dropLast()).count == count - 1)
        }
    }

    /// With all their cuts some 600,000 inputs.
    @Test(arguments: [1, 2, 3, 4] as [UInt64])
    func whatIsWrittenIsReadAgainAndEveryCutOfItAgrees(seed: UInt64) throws {
        var made = RandomValue(random: SeededGenerator(seed: seed)), inputs = 0
        while inputs < 150_000 {
            let value = made.value(), streamed = inputs % 3 == 0
            let bytes = made.encode(value, streamed: streamed)
            let decoded = try decodeRESP(bytes + [UInt8(ascii: "+")])
            if decoded != RESPDecoded(value: value, length: bytes.count, isWhole: true) { Issue.record("\(bytes): \(decoded), not \(value)") }
            for end in bytes.indices {
                let cut = try decodeRESP(bytes[..<end])
                if cut.isWhole || cut.length != end || !agrees(cut.value, value) { Issue.record("\(bytes[..<end]): \(cut), of \(value)") }
            }
            inputs += bytes.count + 1
        }
    }

    /// 400,000 inputs.
    @Test(arguments: [5, 6, 7, 8] as [UInt64])
    func noBytesBreakTheDecoder(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let alphabet = Array("+-:$*%~>|_#,(=!;?.\r\n\r\n\r\n0123456789-tf GET\"'\\".utf8)
        for _ in 0..<100_000 {
            var word = random.next()
            let bytes = (0..<Int(word >> 56 & 31)).map { index in
                if index % 8 == 0 { word = random.next() }
                defer { word >>= 8 }
                return index == 0 || word & 0x1f != 0 ? alphabet[Int(word & 0xff) % alphabet.count] : UInt8(truncatingIfNeeded: word >> 8)
            }
            if let decoded = try? decodeRESP(bytes), decoded.length > bytes.count { Issue.record("\(bytes): \(decoded)") }
            _ = try? decodeRESPRequest(bytes)
        }
    }
}

private func text(_ text: String) -> RESPString { RESPString(text.utf8) }

/// A cut value is its whole one as far as it goes.
private func agrees(_ cut: RESPValue, _ whole: RESPValue) -> Bool {
    func strings(_ cut: RESPString, _ whole: RESPString) -> Bool {
        whole.bytes.starts(with: cut.bytes) && (cut.announced == nil || cut.announced == whole.bytes.count)
    }
    func elements(_ cut: RESPElements, _ whole: RESPElements) -> Bool {
        cut.values.count <= whole.values.count + 1 && (cut.announced == nil || cut.announced == whole.values.count)
            && zip(cut.values, whole.values).allSatisfy { agrees($0, $1) }
            && (cut.values.count <= whole.values.count || cut.values.last == .cut)
    }
    switch (cut, whole) {
    case (.cut, _): return true
    case (.simpleString(let a), .simpleString(let b)), (.error(let a), .error(let b)), (.bulkString(let a), .bulkString(let b)),
        (.bulkError(let a), .bulkError(let b)), (.double(let a), .double(let b)), (.bigNumber(let a), .bigNumber(let b)):
        return strings(a, b)
    case (.verbatimString(let format, let a), .verbatimString(let whole, let b)): return strings(format, whole) && strings(a, b)
    case (.array(let a), .array(let b)), (.set(let a), .set(let b)), (.push(let a), .push(let b)), (.map(let a), .map(let b)):
        return elements(a, b)
    case (.attributed(let a, let value), .attributed(let b, let whole)): return elements(a, b) && agrees(value, whole)
    default: return cut == whole
    }
}
