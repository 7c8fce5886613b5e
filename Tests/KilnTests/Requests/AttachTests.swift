import Foundation
import TestSupport
import Testing

extension KernelTests {
    /// Attaching to connections that are already in use: counting starts at the first provable request boundary.
    @Suite struct AttachTests {
        @Test(arguments: Capability.hooks, [false, true])
        func attachingInsideAValueMakesNoPhantomCommand(hook: String, overUnix: Bool) throws {
            let server = try RedisServer()
            let client = overUnix ? try Connection(unixSocket: server.unixSocket) : try Connection(port: server.port)
            let trap = request("PING") + request("FLUSHALL")
            let value = Array("start".utf8) + Array(repeating: trap, count: 9).flatMap { $0 } + Array("the end".utf8)
            let stream = request([Array("SET".utf8), Array("key".utf8), value])
            let head = stream.count - 2 - 7 - 9 * trap.count
            try client.send(stream[..<head])
            usleep(100_000)
            let session = try Session.recording(pid: server.pid, ["--hook", hook]) {
                // Each piece is whole requests, as far as anyone can see who came late.
                for piece in 0..<9 {
                    try client.send(stream[(head + piece * trap.count)...].prefix(trap.count))
                    usleep(20_000)
                }
                try client.send(stream[(head + 9 * trap.count)...])
                try client.receive(until: "+OK\r\n")
                for _ in 0..<10 { _ = try client.reply(to: "GET", "nothing") }
            }
            // The value's end and the reply to it prove the boundary.
            #expect(session.counts == ["GET": 10])
            #expect(session.record.lost == ["unsynchronised_bytes": UInt64(stream.count - head)])
        }

        @Test(arguments: Capability.hooks)
        func aBinaryValueCostsOneMoreRequest(hook: String) throws {
            let server = try RedisServer()
            let client = try Connection(port: server.port)
            let stream = request([Array("SET".utf8), Array("key".utf8), [UInt8](repeating: 1, count: 1000)])
            try client.send(stream[..<500])
            usleep(100_000)
            let session = try Session.recording(pid: server.pid, ["--hook", hook]) {
                try client.send(stream[500...])
                try client.receive(until: "+OK\r\n")
                for _ in 0..<10 { _ = try client.reply(to: "GET", "nothing") }
            }
            #expect(session.counts == ["GET": 9])
            #expect(session.record.lost == ["unsynchronised_bytes": UInt64(stream.count - 500 + request("GET", "nothing").count)])
        }

        @Test(arguments: Capability.hooks, [false, true])
        func idleConnectionsAreCountedFromTheirSecondRequest(hook: String, overUnix: Bool) throws {
            let server = try RedisServer()
            let clients = try (0..<5).map { _ in
                overUnix ? try Connection(unixSocket: server.unixSocket) : try Connection(port: server.port)
            }
            for client in clients { _ = try client.reply(to: "INCR", "n") }
            let session = try Session.recording(pid: server.pid, ["--hook", hook]) {
                for client in clients { for _ in 0..<101 { _ = try client.reply(to: "INCR", "n") } }
            }
            #expect(session.counts == ["INCR": 500])
            #expect(session.record.lost == ["unsynchronised_bytes": UInt64(5 * request("INCR", "n").count)])
        }

        @Test(arguments: Capability.hooks)
        func aPipelineThatNeverEndsWithItsReceivesIsTakenUpAfterItsEnd(hook: String) throws {
            let server = try RedisServer()
            let client = try Connection(port: server.port)
            // The server reads 16 KiB at a time: requests of 31 bytes are cut in every receive but the last.
            let batch = Array(repeating: request("GET", "nothing"), count: 2000).flatMap { $0 } + request("ECHO", "done")
            try client.send(batch)
            try client.receive(until: "done\r\n")
            let session = try Session.recording(pid: server.pid, ["--hook", hook]) {
                for _ in 0..<3 {
                    try client.send(batch)
                    try client.receive(until: "done\r\n")
                }
            }
            // Three batches, of which at most the first is spent on finding the boundary. Each byte is counted or told as lost.
            let gets = try #require(session.counts["GET"]), echoes = try #require(session.counts["ECHO"])
            #expect((4000...6000).contains(gets))
            let counted = gets * UInt64(request("GET", "nothing").count) + echoes * UInt64(request("ECHO", "done").count)
            #expect(counted + (session.record.lost["unsynchronised_bytes"] ?? 0) == UInt64(3 * batch.count))
        }

        @Test func aProtocolErrorIsCountedAndOthersGoOn() throws {
            let server = try RedisServer()
            let session = try Session.recording(pid: server.pid) {
                let good = try Connection(port: server.port), bad = try Connection(port: server.port)
                _ = try bad.reply(to: "GET", "x")
                try bad.send("*1\r\n!bad\r\n".utf8)
                _ = try bad.receive(until: "Protocol error")
                try good.settle()
            }
            #expect(session.counts == ["GET": 1, "ECHO": 1])
            #expect(session.record.lost == ["protocol_errors": 1])
        }

        @Test func anEncryptedConnectionIsCountedAsUnseen() throws {
            let server = try RedisServer()
            let session = try Session.recording(pid: server.pid) {
                let client = try Connection(port: server.port)
                try client.send([0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0, 10])
                try Connection(port: server.port).settle()
            }
            #expect(session.counts == ["ECHO": 1])
            #expect(session.record.lost == ["tls_connections": 1])
        }
    }
}
