import TestSupport
import Testing

@testable import KilnHosts

struct FrameTests {
    private static let frames: [Frame] = [
        .order([1, 2, 3]), .signal(15), .alive, .directory("/tmp/x"), .output(Array("table\n".utf8)), .errors([]), .append(file: "commands.jsonl", [7]),
        .replace(file: "a/session.json", [], isLast: false), .replace(file: "session.json", [1, 0, 10], isLast: true), .ended(status: 130),
        .failed(Array("why".utf8)),
    ]

    @Test(arguments: frames) func arrivesAsSent(_ frame: Frame) throws {
        var reader = FrameReader()
        reader.add(frame.bytes)
        #expect(try reader.next() == frame)
        #expect(try reader.next() == nil)
    }

    @Test func arrivesInAnyPieces() throws {
        let bytes = Self.frames.flatMap(\.bytes)
        for size in [1, 2, 3, 7, 1000] {
            var reader = FrameReader(), arrived: [Frame] = [], rest = bytes[...]
            while !rest.isEmpty {
                reader.add(rest.prefix(size))
                rest = rest.dropFirst(size)
                while let frame = try reader.next() { arrived.append(frame) }
            }
            #expect(arrived == Self.frames)
        }
    }

    @Test(
        arguments: [
            [0, 0, 0, 0, 0], [99, 0, 0, 0, 0],  // no such kind
            [3, 0, 0, 0, 1, 1],  // a sign of life with content
            [2, 0, 0, 0, 3, 0, 0, 1],  // a signal of three bytes
            [7, 0, 0, 0, 0], [7, 0, 0, 0, 1, 0], [7, 0, 0, 0, 2, 5, 65], [7, 0, 0, 0, 2, 1, 0xff],  // a file without a whole name, or one that is no UTF-8
            [5, 0, 0x10, 0, 1], [5, 0xff, 0xff, 0xff, 0xff],  // longer than a frame may be
        ] as [[UInt8]])
    func othersAreRefused(_ bytes: [UInt8]) {
        var reader = FrameReader()
        reader.add(bytes)
        #expect(throws: FrameReader.Malformed.self) { try reader.next() }
    }

    @Test func noBytesCrashTheReader() {
        var generator = SeededGenerator(seed: 28)
        for _ in 0..<20_000 {
            var bytes = Self.frames.randomElement(using: &generator)!.bytes + Self.frames.randomElement(using: &generator)!.bytes
            for _ in 0..<Int.random(in: 1...3, using: &generator) {
                bytes[Int.random(in: bytes.indices, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
            }
            var reader = FrameReader()
            reader.add(bytes)
            while let _ = try? reader.next() {}
        }
    }
}
