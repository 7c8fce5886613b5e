import RESPHost
import TestSupport
import Testing

/// The reply scanner's own source, compiled for user space, against streams whose replies are known.
struct ReplyScannerTests {
    @Test func randomRepliesCutAnywhereAreCountedOnce() {
        var random = SeededGenerator(seed: 21)
        for round in 0..<600 {
            let made = ReplyStream.make(Int.random(in: 1...40, using: &random), using: &random)
            let scanner = ReplyScanner()
            var rest = made.bytes[...], largest = true
            while !rest.isEmpty {
                let most = [1, 3, 20, 200, 5000, 100_000][round % 6]
                let piece = rest.prefix(Int.random(in: 1...most, using: &random))
                scanner.send(piece)
                rest = rest.dropFirst(piece.count)
                let ended = made.replies.filter { piece.startIndex < $0.end && $0.end <= piece.endIndex }.map(\.bytes)
                let bytes = ended.max() ?? 0
                largest = largest && scanner.largest.bytes == bytes && scanner.largest.index == ended.firstIndex(of: bytes) ?? 0
            }
            #expect(largest)
            let same = !scanner.failed && scanner.atBoundary && scanner.events == made.events && scanner.pushes == made.pushes
            if !same {
                let shown = String(decoding: made.bytes.prefix(300), as: UTF8.self).debugDescription
                Issue.record("\(shown): \(scanner.events) instead of \(made.events)")
            }
        }
    }

    @Test func everyCutOfOneStreamCountsTheSame() {
        let stream = Array("+OK\r\n$-1\r\n-WRONGTYPE no\r\n*2\r\n-ERR in\r\n:1\r\n>2\r\n+a\r\n$1\r\nb\r\n|1\r\n+k\r\n:2\r\n%1\r\n+a\r\n*0\r\n_\r\n".utf8)
        let expected: [ReplyEvent] = [.reply, .reply, .error("WRONGTYPE"), .nestedError("ERR"), .reply, .reply, .reply]
        for first in 0...stream.count {
            for second in first...stream.count {
                let scanner = ReplyScanner()
                scanner.send(stream[..<first])
                scanner.send(stream[first..<second])
                scanner.send(stream[second...])
                if scanner.events != expected || scanner.pushes != 1 { Issue.record("cut at \(first) and \(second): \(scanner.events)") }
            }
        }
    }

    @Test(arguments: ["HTTP/1.1 200 OK\r\n", "*1\r\n>1\r\n+a\r\n", "$x\r\n", "$99999999999\r\n", "\r\n"])
    func whatIsNoReplyIsRefused(text: String) {
        let scanner = ReplyScanner()
        scanner.send(Array(text.utf8)[...])
        #expect(scanner.failed)
    }

    /// Line ends are whole or, every other time, halves, which a cut may read another way.
    @Test func anyBytesAreScannedAlikeWholeAndInPieces() {
        var random = SeededGenerator(seed: 22)
        let bytes = "+-:$*%~>|_#,(=!0123456789 abE".utf8.map { [$0] }
        for round in 0..<100_000 {
            let tokens = bytes + (round % 2 == 0 ? [[13, 10]] : [[13], [10]])
            let text = (0..<Int.random(in: 3...60, using: &random)).flatMap { _ in tokens.randomElement(using: &random) ?? [] }
            let first = Int.random(in: 0...text.count, using: &random), second = Int.random(in: first...text.count, using: &random)
            let scanner = ReplyScanner(), whole = ReplyScanner()
            for piece in [text[..<first], text[first..<second], text[second...]] { scanner.send(piece) }
            whole.send(text[...])
            let same = scanner.failed == whole.failed && scanner.events == whole.events && scanner.pushes == whole.pushes
            let lineEnds = text.count { $0 == 13 || $0 == 10 }
            if round % 2 == 0 && !same || scanner.events.count + scanner.pushes > lineEnds {
                Issue.record(
                    "\(String(decoding: text, as: UTF8.self).debugDescription) cut at \(first) and \(second): \(scanner.events), whole: \(whole.events)")
                return
            }
        }
    }
}

enum ReplyEvent: Equatable {
    case reply
    case error(String)
    case nestedError(String)
}

/// Random replies of every type, nested, with what they are.
private struct ReplyStream {
    var bytes: [UInt8] = []
    var events: [ReplyEvent] = []
    var pushes = 0
    /// Where each reply ends, and how long it is.
    var replies: [(end: Int, bytes: Int)] = []

    static func make(_ count: Int, using random: inout SeededGenerator) -> ReplyStream {
        var stream = ReplyStream()
        for _ in 0..<count {
            let begin = stream.bytes.count, pushes = stream.pushes
            defer { if stream.pushes == pushes { stream.replies.append((stream.bytes.count, stream.bytes.count - begin)) } }
            switch Int.random(in: 0..<10, using: &random) {
            case 0:
                let words = ["ERR", "WRONGTYPE", "NOAUTH", "A", String(repeating: "W", count: 40)]
                let word = words.randomElement(using: &random) ?? ""
                stream.bytes += Array("-\(word) Operation against a key\r\n".utf8)
                stream.events.append(.error(String(word.prefix(32))))
            case 1:
                stream.bytes += Array(">3\r\n+invalidate\r\n:1\r\n$3\r\na\r\n\r\n".utf8)
                stream.pushes += 1
            default:
                stream.element(depth: 0, using: &random)
                stream.events.append(.reply)
            }
        }
        return stream
    }

    private mutating func element(depth: Int, using random: inout SeededGenerator) {
        switch Int.random(in: 0..<(depth < 4 ? 16 : 9), using: &random) {
        case 0: bytes += Array("+\(String(repeating: "s", count: Int.random(in: 0...90, using: &random)))\r\n".utf8)
        case 1: bytes += Array(":\(Int.random(in: -5...1_000_000_000, using: &random))\r\n".utf8)
        case 2:
            bytes += Array(
                (["$-1\r\n", "*-1\r\n", "_\r\n", "#t\r\n", ",3.14\r\n", "(3492890328409238509324850943850943825024385\r\n"].randomElement(using: &random) ?? "")
                    .utf8)
        case 3: bulk("=", Int.random(in: 4...50, using: &random), using: &random)
        case 4: bulk("$", Int.random(in: 0...9000, using: &random), using: &random)
        case 5...8: bulk("$", Int.random(in: 0...20, using: &random), using: &random)
        case 9: aggregate("%", 2, depth, using: &random)
        case 10: aggregate("~", 1, depth, using: &random)
        case 11:
            let pairs = Int.random(in: 1...2, using: &random)
            bytes += Array("|\(pairs)\r\n".utf8)
            for _ in 0..<(2 * pairs) { element(depth: depth + 1, using: &random) }
            element(depth: depth, using: &random)
        case 12 where depth > 0:
            bytes += Array("-EXECABORT inside\r\n".utf8)
            events.append(.nestedError("EXECABORT"))
        default: aggregate("*", 1, depth, using: &random)
        }
    }

    private mutating func bulk(_ type: String, _ length: Int, using random: inout SeededGenerator) {
        bytes += Array("\(type)\(length)\r\n".utf8)
        let trap = Array("-ERR\r\n$5\r\n*3\r\n".utf8)
        bytes += (0..<length).map { trap[$0 % trap.count] } + [13, 10]
    }

    private mutating func aggregate(_ type: String, _ each: Int, _ depth: Int, using random: inout SeededGenerator) {
        let count = Int.random(in: 0...4, using: &random)
        bytes += Array("\(type)\(count)\r\n".utf8)
        for _ in 0..<(count * each) { element(depth: depth + 1, using: &random) }
    }
}

/// The replies of one connection.
private final class ReplyScanner {
    private let host = resp_host_create()
    private(set) var failed = false
    private(set) var events: [ReplyEvent] = []
    private(set) var pushes = 0

    deinit { resp_host_free(host) }

    func send(_ bytes: ArraySlice<UInt8>) {
        guard !bytes.isEmpty, !failed else { return }
        if !bytes.withUnsafeBufferPointer({ resp_host_send(host, $0.baseAddress, UInt32($0.count)) }) { failed = true }
        for index in 0..<resp_host_sent_errors(host) {
            let error = resp_host_sent_error(host, index)
            events += [ReplyEvent](repeating: .reply, count: Int(error.replies_before))
            let word = String(decoding: UnsafeBufferPointer(start: error.word, count: 32).prefix { $0 != 0 }, as: UTF8.self)
            events.append(error.nested ? .nestedError(word) : .error(word))
        }
        events += [ReplyEvent](repeating: .reply, count: Int(resp_host_sent_replies(host)))
        pushes += Int(resp_host_sent_pushes(host))
    }

    /// Of the last send.
    var largest: (bytes: Int, index: Int) {
        var index: UInt32 = 0
        let bytes = resp_host_largest_reply(host, &index)
        return (Int(bytes), Int(index))
    }

    var atBoundary: Bool { resp_host_replies_at_boundary(host) }
}
