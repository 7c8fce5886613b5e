import RESPHost
import TestSupport
import Testing

/// The scanner's own source, compiled for user space, against a plain parser.
struct ScannerTests {
    @Test func randomStreamsCutAnywhereCountTheSame() {
        var random = SeededGenerator(seed: 11)
        for round in 0..<3000 {
            let stream = Streams.requests(Int.random(in: 1...60, using: &random), using: &random)
            check(stream, cutLike: round, using: &random)
        }
    }

    @Test func brokenStreamsStopAtTheSameRequest() {
        var random = SeededGenerator(seed: 12)
        for round in 0..<10_000 {
            var stream = Streams.requests(Int.random(in: 1...12, using: &random), using: &random)
            for _ in 0..<Int.random(in: 1...4, using: &random) where !stream.isEmpty {
                let at = Int.random(in: 0..<stream.count, using: &random)
                switch Int.random(in: 0..<3, using: &random) {
                case 0: stream[at] = UInt8.random(in: 0...255, using: &random)
                case 1: stream.remove(at: at)
                default: stream.insert("*$-\r\n0199 ".utf8.randomElement(using: &random) ?? 0, at: at)
                }
            }
            check(stream, cutLike: round, using: &random)
        }
    }

    @Test func everyCutOfOneStreamCountsTheSame() {
        let stream = Array("*3\r\n$3\r\nSET\r\n$10\r\n*1\r\n$4\r\nPI\r\n$0\r\n\r\nping\r\n*1\r\n$12\r\nlongername12\r\n*2\r\n$3\r\nget\r\n$1\r\nx\r\n".utf8)
        let expected = ReferenceParser(stream)
        for first in 0...stream.count {
            for second in first...stream.count {
                let scanner = Scanner()
                scanner.receive(stream[..<first])
                scanner.receive(stream[first..<second])
                scanner.receive(stream[second...])
                if scanner.counts != expected.counts { Issue.record("cut at \(first) and \(second): \(scanner.counts)") }
            }
        }
    }

    @Test func aNameAtTheWindowsEdgeIsReadWhole() {
        // The window is 4 KiB: requests of every length before a name shift it over the edge.
        for padding in 3900...4200 {
            let stream =
                Streams.array(["SET", "k", String(repeating: "v", count: padding)])
                + Streams.array(["GEORADIUSBYMEMBER_RO", "a"]) + Streams.array([String(repeating: "n", count: 64)])
            let scanner = Scanner()
            scanner.receive(stream[...])
            #expect(scanner.counts == ["SET": 1, "GEORADIUSBYMEMBER_RO": 1, String(repeating: "N", count: 64): 1])
        }
    }

    @Test func fiveHundredDifferentCommandsInOneReceiveAreAllCounted() {
        let stream = (0..<500).flatMap { Streams.array(["CMD\($0)"]) }
        let scanner = Scanner()
        scanner.receive(stream[...])
        #expect(scanner.counts.count == 500)
        #expect(scanner.counts.values.allSatisfy { $0 == 1 })
    }

    @Test func aGigabyteArgumentIsRefusedAndAHalfGigabyteOneIsAwaited() {
        let refused = Scanner(), awaited = Scanner()
        refused.receive(Array("*2\r\n$3\r\nGET\r\n$1073741824\r\n".utf8)[...])
        awaited.receive(Array("*2\r\n$3\r\nGET\r\n$536870912\r\nx".utf8)[...])
        #expect(refused.failed)
        #expect(!awaited.failed)
        #expect(!awaited.atBoundary)
    }

    private func check(_ stream: [UInt8], cutLike round: Int, using random: inout SeededGenerator) {
        let expected = ReferenceParser(stream), scanner = Scanner()
        var rest = stream[...]
        while !rest.isEmpty {
            let most = [1, 3, 20, 200, 5000, 100_000][round % 6]
            let piece = rest.prefix(Int.random(in: 1...most, using: &random))
            scanner.receive(piece)
            rest = rest.dropFirst(piece.count)
        }
        // Compared before anything is said: the streams are many.
        let same =
            scanner.counts == expected.counts && scanner.failed == expected.failed
            && (expected.failed || scanner.atBoundary == expected.endsAtBoundary)
        guard !same else { return }
        let shown = String(decoding: stream.prefix(400), as: UTF8.self).debugDescription
        Issue.record("\(shown): scanner \(scanner.counts), \(scanner.failed); parser \(expected.counts), \(expected.failed)")
    }
}

/// One connection of the scanner.
private final class Scanner {
    private let host = resp_host_create()
    private(set) var failed = false

    deinit { resp_host_free(host) }

    func receive(_ bytes: ArraySlice<UInt8>) {
        guard !bytes.isEmpty else { return }
        if !bytes.withUnsafeBufferPointer({ resp_host_receive(host, $0.baseAddress, UInt32($0.count)) }) { failed = true }
    }

    var atBoundary: Bool { resp_host_at_boundary(host) }

    var counts: [String: UInt64] {
        var counts: [String: UInt64] = [:]
        for row in 0..<resp_host_rows(host) where resp_host_count(host, row) > 0 {
            let name = UnsafeBufferPointer(start: resp_host_name(host, row), count: 64)
            var length = 64
            while length > 0, name[length - 1] == 0 { length -= 1 }
            counts[row == 0 ? "other" : String(decoding: name[..<length], as: UTF8.self)] = resp_host_count(host, row)
        }
        return counts
    }
}
