import Foundation
import TestSupport
import Testing

extension KernelTests {
    /// Latencies that are known beforehand.
    @Suite struct LatencyTests {
        @Test(.tags(.timing), arguments: Capability.hooks)
        func aSleepShowsInItsOwnRow(hook: String) throws {
            let server = try RedisServer()
            var seen: [Double] = []
            let session = try Session.recording(pid: server.pid, ["--hook", hook]) {
                let client = try Connection(port: server.port)
                for _ in 0..<9 { seen.append(try Self.timed { _ = try client.reply(to: "DEBUG", "SLEEP", "0.05") }) }
                for _ in 0..<9 { _ = try client.reply(to: "GET", "x") }
            }
            let service = try #require(session.record.commands["DEBUG"]?.phases["service"])
            #expect(service.count == 9)
            let p50 = Double(try #require(service.p50Ns))
            // Within 3.2 % of 50 ms; where the machine let the server sleep longer, of what the client saw.
            #expect(p50 > 50e6 * (1 - 0.032) && p50 < max(50e6, seen.sorted()[4]) * (1 + 0.032), "p50 \(p50) ns, client \(seen)")
            #expect(service.maxNs >= 50_000_000)
            #expect(service.sumNs >= 9 * 50_000_000)
            let get = try #require(session.record.commands["GET"]?.phases["service"]?.p99Ns)
            #expect(get < 25_000_000)
        }

        @Test(.tags(.timing)) func percentilesOfKnownSleepsAreRight() throws {
            let server = try RedisServer()
            var seen: [Double] = []
            let session = try Session.recording(pid: server.pid) {
                let client = try Connection(port: server.port)
                for (seconds, times) in [("0.01", 50), ("0.025", 40), ("0.06", 9), ("0.15", 1)] {
                    for _ in 0..<times { seen.append(try Self.timed { _ = try client.reply(to: "DEBUG", "SLEEP", seconds) }) }
                }
            }
            let service = try #require(session.record.commands["DEBUG"]?.phases["service"])
            // The slot's midpoint is within 1/32. A sleep may end late, never early; no later than the client saw.
            seen.sort()
            let expected = [
                (service.p50Ns, 10e6, seen[49]), (service.p90Ns, 25e6, seen[89]), (service.p99Ns, 60e6, seen[98]),
                (service.p999Ns, 150e6, seen[99]),
            ]
            for (reported, slept, client) in expected {
                let reported = Double(try #require(reported))
                #expect(reported > slept * (1 - 1.0 / 32) && reported < client * (1 + 1.0 / 32), "\(slept) ns reported as \(reported)")
            }
            #expect(service.slots.map { $0[2] }.reduce(0, +) == 100)
        }

        /// Nanoseconds that the client waited.
        private static func timed(_ body: () throws -> Void) throws -> Double {
            let start = DispatchTime.now().uptimeNanoseconds
            try body()
            return Double(DispatchTime.now().uptimeNanoseconds - start)
        }

        @Test(.tags(.timing), arguments: Capability.hooks)
        func aReplyOfManyPiecesIsMeasuredAtOnce(hook: String) throws {
            let server = try RedisServer()
            let session = try Session.recording(pid: server.pid, ["--hook", hook]) {
                let client = try Connection(port: server.port)
                // Replies of unknown length are a piece each: one writev of 25.
                for member in 0..<100 { try client.send(request("ZADD", "z", "\(member)", "member-\(member)")) }
                try client.settle()
                try client.send(Array(repeating: request("ZRANGEBYSCORE", "z", "-inf", "+inf", "LIMIT", "0", "2"), count: 25).flatMap { $0 })
                usleep(1_000_000)
                try client.settle()
            }
            let range = try #require(session.record.commands["ZRANGEBYSCORE"]?.phases["service"])
            #expect(range.count == 25)
            #expect(range.maxNs < 500_000_000)
        }

        @Test(arguments: Capability.hooks)
        func aLargeReplyToAClientThatLeavesIsMeasured(hook: String) throws {
            let server = try RedisServer()
            let setup = try Connection(port: server.port)
            try setup.send(request([Array("SET".utf8), Array("big".utf8), [UInt8](repeating: 120, count: 100_000)]))
            try setup.receive(until: "+OK\r\n")
            let session = try Session.recording(pid: server.pid, ["--hook", hook]) {
                for _ in 0..<5 {
                    let client = try Connection(port: server.port)
                    try client.send(request("GET", "big"))
                    try client.receive(until: "x\r\n")
                }
                try Connection(port: server.port).settle()
            }
            #expect(session.record.commands["GET"]?.phases["service"]?.count == 5)
        }

        @Test(arguments: Capability.hooks)
        func aLargeReplyIsMeasuredToItsLastByte(hook: String) throws {
            let server = try RedisServer()
            let client = try Connection(port: server.port)
            let value = [UInt8](repeating: 120, count: 8_000_000)
            try client.send(request([Array("SET".utf8), Array("big".utf8), value]))
            try client.receive(until: "+OK\r\n")
            let session = try Session.recording(pid: server.pid, ["--hook", hook]) {
                _ = try client.reply(to: "PING")
                try client.send(request("GET", "big"))
                usleep(200_000)  // the reply waits in the server: the socket can't take it all
                try client.receive(until: "x\r\n")
                _ = try client.reply(to: "PING")
            }
            let get = try #require(session.record.commands["GET"]?.phases["service"])
            #expect(get.count == 1)
            #expect(get.maxNs > 190_000_000)
        }
    }
}
