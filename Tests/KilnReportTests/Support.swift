import CZlib
import Foundation
import TestSupport
@testable import KilnReport
@testable import KilnSessions

/// A session's files from memory. Pieces are small, so that lines are cut.
struct MemoryFiles: SessionFiles {
    var place = "session"
    var texts: [String: String]
    var pieceLength = 7

    func read(_ name: String, _ piece: (UnsafeRawBufferPointer) throws -> Void) throws -> Bool {
        guard let text = texts[name] else { return false }
        let bytes = Array(text.utf8)
        for start in stride(from: 0, to: bytes.count, by: pieceLength) {
            try bytes[start..<min(start + pieceLength, bytes.count)].withUnsafeBytes(piece)
        }
        return true
    }

    func report() throws -> (session: ReportSession, trie: StackTrie) {
        var trie = StackTrie()
        let session = try ReportSession(self, into: &trie)
        return (session, trie)
    }
}

struct DiskFiles: SessionFiles {
    let url: URL
    var place: String { url.path }

    func read(_ name: String, _ piece: (UnsafeRawBufferPointer) throws -> Void) throws -> Bool {
        guard let data = try? Data(contentsOf: url.appendingPathComponent(name)) else { return false }
        try data.withUnsafeBytes(piece)
        return true
    }
}

func page(of files: some SessionFiles) throws -> [UInt8] {
    var trie = StackTrie()
    let session = try ReportSession(files, into: &trie)
    return try ReportPage(session, trie: trie, version: "test") { _ in "a meaning" }.html
}

func scanned<Value>(_ text: String, _ body: (inout JSONScanner) throws -> Value) throws -> Value {
    try Array(text.utf8).withUnsafeBytes { bytes in
        var scanner = JSONScanner(bytes)
        let value = try body(&scanner)
        try scanner.end()
        return value
    }
}

/// session.json with nothing in it.
let emptyRecord = """
    {"kiln":{"version":"1"},"kernel":"6.1","hook":"socket","started":"2026-11-30T12:00:00.000Z","duration_s":10,"interval_s":1,"ended":"duration",
    "target":{"pid":7,"comm":"redis-server","ports":[6379]},"commands":{},"phases_unknown":{},"waits":[],"clients":{},
    "samples":{"on_cpu":{"frequency_hz":99,"unit":"samples","recorded":0,"complete":0,"ends":{},"kernel_truncated":0}},"lost":{},
    "cost":{"own_cpu_s":0.1,"own_peak_rss_bytes":1048576,"target_cpu_s":1,"attach_s":0.1}}
    """

func row(_ second: Int, _ command: String = "GET", phase: String = "service", calls: Int = 1, errors: Int = 0, slots: String = "[1024,1088,1]") -> String {
    """
    {"calls":\(calls),"command":"\(command)","count":1,"errors":\(errors),"interval_s":1.0,"max_ns":1,"phase":"\(phase)","pid":7,"slots":[\(slots)],"sum_ns":1,"time":"\(GeneratedSession.time(second))"}

    """
}

/// samples.jsonl of `kiln record`: in each interval samples of `main`, and of `burst` in the frames above it where there are any.
///
/// - Parameters:
///   - length: Of an interval, in milliseconds; the first one ends that long after 12:00:00.
///   - samples: By the interval's number, from 1: of `main` and of `burst`.
func recordedSamples(intervals: Int, of length: Int, _ samples: (Int) -> (main: Int, burst: Int)) -> String {
    var text = "{\"samples\":1,\"slots_per_band\":8,\"kinds\":[{\"kind\":\"on-cpu\",\"unit\":\"samples\"}]}\n{\"frame\":\"main\"}\n{\"frame\":\"burst\"}\n"
    text += "{\"caller\":-1,\"in\":0}\n{\"caller\":0,\"in\":1}\n{\"group\":{\"kind\":\"on-cpu\",\"process\":\"burn\"}}\n"
    for place in 1...intervals {
        let end = place * length, (main, burst) = samples(place)
        func padded(_ number: Int, _ digits: Int) -> String { String(String(1_000 + number).suffix(digits)) }
        let time = "2026-11-30T12:00:\(padded(end / 1_000, 2)).\(padded(end % 1_000, 3))Z"
        text += "{\"time\":\"\(time)\",\"interval_s\":\(Double(length) / 1_000),\"samples\":[[0,0,\(main)\(burst > 0 ? ",1,\(burst)" : "")]]}\n"
    }
    return text
}

/// A second implementation of what a page's script reads, from the page's bytes.
struct PageReader {
    let html: String

    init(_ page: [UInt8]) { html = String(decoding: page, as: UTF8.self) }

    func block(_ id: String) -> [UInt8]? {
        guard let start = html.range(of: "<script type=\"application/octet-stream\" id=\"\(id)\">"),
            let end = html.range(of: "</script>", range: start.upperBound..<html.endIndex),
            let packed = Data(base64Encoded: String(html[start.upperBound..<end.lowerBound]))
        else { return nil }
        var bytes = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            var length = uLong(bytes.count)
            let status = packed.withUnsafeBytes { uncompress(&bytes, &length, $0.bindMemory(to: UInt8.self).baseAddress, uLong(packed.count)) }
            if status == Z_OK { return Array(bytes.prefix(Int(length))) }
            guard status == Z_BUF_ERROR else { return nil }
            bytes = [UInt8](repeating: 0, count: bytes.count * 4)
        }
    }

    func json(_ id: String) throws -> [String: Any] { try JSONSerialization.jsonObject(with: Data(block(id) ?? [])) as? [String: Any] ?? [:] }

    /// The numbers of a block.
    func numbers(_ id: String) -> [UInt64]? { block(id).map { Self.numbers($0[...]) } }

    static func numbers(_ bytes: ArraySlice<UInt8>) -> [UInt64] {
        var numbers: [UInt64] = [], value: UInt64 = 0, shift: UInt64 = 0
        for byte in bytes {
            value |= UInt64(byte & 127) << shift
            shift += 7
            if byte < 128 {
                numbers.append(value)
                (value, shift) = (0, 0)
            }
        }
        return numbers
    }
}
