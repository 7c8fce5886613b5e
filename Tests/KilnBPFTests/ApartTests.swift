import RESPHost
import TestSupport
import Testing

/// Where each request and each reply lies, as a trace needs it, of streams cut anywhere.
struct ApartTests {
    @Test func eachRequestLiesWhereItWasPut() {
        var random = SeededGenerator(seed: 51)
        for round in 0..<300 {
            let requests = (0..<Int.random(in: 1...60, using: &random)).map { index -> [UInt8] in
                if index % 7 == 0 { return Array("ping a\r\n".utf8) }
                let value = [UInt8](repeating: UInt8(ascii: "$"), count: Int.random(in: 0...(index % 11 == 0 ? 9000 : 30), using: &random))
                return Streams.array([Array("SET".utf8), Array("k\(index)".utf8), value])
            }
            var found: [Range<Int>] = []
            send(requests, round, &random) { host, offset, piece in
                _ = piece.withUnsafeBufferPointer { resp_host_receive(host, $0.baseAddress, UInt32($0.count)) }
                for index in 0..<resp_host_received_requests(host) {
                    let begin = offset + Int(resp_host_received_begin(host, index))
                    found.append(begin..<(begin + Int(resp_host_received_bytes(host, index))))
                }
            }
            if found != ranges(requests) { Issue.record("round \(round): \(found) instead of \(ranges(requests))") }
        }
    }

    @Test func eachReplyEndsWhereItWasPut() {
        var random = SeededGenerator(seed: 52)
        let kinds = [
            "+OK\r\n", ":1\r\n", "-ERR no\r\n", "$-1\r\n", "$0\r\n\r\n", "$5\r\nhello\r\n", "*2\r\n$1\r\na\r\n-ERR in\r\n", "*0\r\n", ">2\r\n+a\r\n:1\r\n",
            "%1\r\n+a\r\n*1\r\n_\r\n",
            "|1\r\n+a\r\n:1\r\n$2\r\nbc\r\n", "$600\r\n" + String(repeating: "x", count: 600) + "\r\n", "#t\r\n",
        ].map { Array($0.utf8) }
        for round in 0..<300 {
            let replies = (0..<Int.random(in: 1...80, using: &random)).map { _ in kinds.randomElement(using: &random) ?? [] }
            var found: [Int] = []
            send(replies, round, &random) { host, offset, piece in
                _ = piece.withUnsafeBufferPointer { resp_host_send(host, $0.baseAddress, UInt32($0.count)) }
                found += (0..<resp_host_sent_ends(host)).map { offset + Int(resp_host_sent_end(host, $0)) }
            }
            let expected = ranges(replies).map(\.upperBound)
            if found != expected { Issue.record("round \(round): \(found) instead of \(expected)") }
        }
    }

    private func send(
        _ parts: [[UInt8]], _ round: Int, _ random: inout SeededGenerator, _ piece: (OpaquePointer?, Int, ArraySlice<UInt8>) -> Void
    ) {
        let host = resp_host_create(), stream = parts.flatMap { $0 }
        defer { resp_host_free(host) }
        resp_host_tell_apart(host)
        var rest = stream[...]
        while !rest.isEmpty {
            let most = [1, 3, 20, 200, 5000, 100_000][round % 6]
            let next = rest.prefix(Int.random(in: 1...most, using: &random))
            piece(host, next.startIndex, next)
            rest = rest.dropFirst(next.count)
        }
    }

    private func ranges(_ parts: [[UInt8]]) -> [Range<Int>] {
        var end = 0
        return parts.map { part in
            defer { end += part.count }
            return end..<(end + part.count)
        }
    }
}
