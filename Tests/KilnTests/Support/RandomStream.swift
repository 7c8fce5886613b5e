import Foundation
import TestSupport

/// Requests that a real server answers in any order: arrays and inline commands, values that look like requests.
enum RandomStream {
    private static let names = [
        "GET", "get", "Incr", "PING", "STRLEN", "EXISTS", "MGET", "TTL", "TYPE", "HGETALL", "ZRANGEBYSCORE", "GEORADIUSBYMEMBER_RO",
        "SINTERSTORE", "SCARD", "DBSIZE", "LRANGE", "APPEND", "nosuchcommand",
    ]
    private static let inline = ["PING\r\n", "  ping\n", "\r\n", "*0\r\n", "*-1\r\n", "get   a  \r\n", "SET a b\r\n", "\"GET\" a\r\n"]

    static func make(commands: Int, using random: inout SeededGenerator) -> [UInt8] {
        var stream: [UInt8] = []
        for _ in 0..<commands {
            switch Int.random(in: 0..<10, using: &random) {
            case 0: stream += Array((inline.randomElement(using: &random) ?? "").utf8)
            case 1...3: stream += request([Array("SET".utf8), Array("k".utf8), value(using: &random)])
            default:
                let count = Int.random(in: 0...12, using: &random)
                let words = (0..<count).map { Array("a\($0)".utf8) }
                stream += request([Array((names.randomElement(using: &random) ?? "GET").utf8)] + words)
            }
        }
        return stream
    }

    private static func value(using random: inout SeededGenerator) -> [UInt8] {
        let request = Array("*2\r\n$3\r\nGET\r\n$1\r\nx\r\nPING\r\n$5\r\n".utf8)
        switch Int.random(in: 0..<4, using: &random) {
        case 0: return []
        case 1: return (0..<Int.random(in: 0..<40, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
        case 2: return Array(Array(repeating: request, count: 12).joined().dropFirst(Int.random(in: 0..<30, using: &random)))
        default: return Array(Array(repeating: request, count: 900).joined().prefix(Int.random(in: 0..<26_000, using: &random)))
        }
    }
}

/// Run `body` in `count` threads at once; the first error is thrown when all have ended.
func withThrowingThreads(_ count: Int, _ body: @escaping @Sendable (Int) throws -> Void) throws {
    let group = DispatchGroup()
    let lock = NSLock()
    nonisolated(unsafe) var failure: (any Error)?
    for index in 0..<count {
        DispatchQueue.global().async(group: group) {
            do { try body(index) } catch { lock.withLock { failure = failure ?? error } }
        }
    }
    group.wait()
    if let failure { throw failure }
}
