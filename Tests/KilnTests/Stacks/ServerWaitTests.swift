import Foundation
import Glibc
import TestSupport
import Testing

extension KernelTests {
    /// Waits of a stock server: needs no compiler.
    struct ServerWaitTests {
        @Test func waitsOfAServerHaveTheirStacksAndWakers() throws {
            let server = try RedisServer(), commands = UInt64(load(2003)), directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let client = try Connection(port: server.port)
            _ = try client.reply(to: "PING")
            let kiln = try KilnRun(
                ["-p", "\(server.pid)", "-F", "0", "--off-cpu", "--wakers", "--idle", "-o", directory + "/session"], subcommand: "record")
            guard kiln.attached() else { throw TestFailure("kiln did not attach: \(kiln.errorText)") }
            // Long enough for the server to sleep before each of them.
            for _ in 0..<commands {
                usleep(500)
                _ = try client.reply(to: "PING")
            }
            #expect(kiln.stop() == 0, "\(kiln.errorText)")
            let record = try Session(directory: directory + "/session").record
            let waits = try #require(record.samples.offCPU), wakers = try #require(waits.wakers)
            #expect(waits.recorded >= commands && waits.complete >= waits.recorded * 995 / 1000, "\(waits)")
            #expect(wakers.recorded >= commands * 9 / 10, "\(wakers)")
            #expect(record.otherLosses.isEmpty, "\(record.lost)")
            let stacks = Stacks(try String(contentsOfFile: directory + "/session/stacks.off-cpu.folded", encoding: .utf8))
            // Its threads for work in the background never wake.
            #expect(stacks.samples(through: "(sleeping)", "bioProcessBackgroundJobs") > 0)
            let main = stacks.samples(through: "(sleeping)", "_start", "main", "aeMain", "epoll_wait")
            #expect(main > UInt64(record.durationS * 1e9 / 2), "\(main)")
            let woken = Stacks(try String(contentsOfFile: directory + "/session/stacks.wakers.folded", encoding: .utf8))
            #expect(woken.samples(through: "main", "aeMain", "epoll_wait", "(woken by)", "try_to_wake_up_[k]") > 0)
        }
    }
}
