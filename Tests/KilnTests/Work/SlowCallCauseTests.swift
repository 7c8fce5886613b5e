import Foundation
import Glibc
import KilnModel
import TestSupport
import Testing

extension KernelTests {
    /// Known causes of slow calls, one at a time: each has most of the time in the stacks of slow calls.
    @Suite(.enabled(if: Program.canCompile, "no C compiler")) struct SlowCallCauseTests {
        /// The slow calls' stacks on the CPU, and off it, and what the calls took.
        private func slowCalls(
            of command: String, slowerThan time: String, _ options: [String] = [], on server: RedisServer, during load: () throws -> Void
        ) throws -> (session: WorkSession, onCPU: Stacks, offCPU: Stacks, calls: SessionRecord.KeptCalls.Calls) {
            let session = try WorkSession(server, ["--slower-than", time, "--off-cpu"] + options, during: load)
            session.expectSums()
            let waits = try #require(session.waitsByCommand)
            func own(_ stacks: Stacks) -> Stacks { Stacks(lines: stacks.lines.filter { $0.frames.dropFirst().first == command + " (slow)" }) }
            return (session, own(session.byCommand), own(waits), try session.judged(command).slow)
        }

        @Test(.tags(.timing)) func branch() throws {
            let server = try KnownWork.server(), times = load(211)
            let (_, onCPU, offCPU, calls) = try slowCalls(of: "BRANCH", slowerThan: "1ms", on: server) {
                try server.repeating(times, ["BRANCH", "0"], ["BRANCH", "1"], ["GET", "key"])
            }
            #expect(calls.count >= times)
            let branch = onCPU.samples(through: "exec", "branch_command", "slow_branch")
            #expect(branch > onCPU.total * 9 / 10, "\(branch) of \(onCPU.total)")
            #expect(offCPU.total < calls.serviceNs / 2)
        }

        @Test(.tags(.timing)) func lock() throws {
            let server = try KnownWork.server()
            let (_, _, offCPU, calls) = try slowCalls(of: "LOCK.WAIT", slowerThan: "1ms", on: server) {
                let client = try Connection(port: server.port)
                for turn in 0..<load(101) {
                    try client.ask(["LOCK.WAIT"])
                    usleep(UInt32(turn % 7) * 1000)
                }
            }
            #expect(calls.count > 5, "\(calls)")
            let waiting = offCPU.samples(through: "exec", "(sleeping)", "lock_command", "wait_for_lock", "futex_wait_[k]")
            #expect(waiting > offCPU.total / 2 && waiting > calls.serviceNs / 2, "\(waiting) of \(offCPU.total), service \(calls.serviceNs)")
        }

        /// A process that the scheduler prefers, for 8 ms of every 16, on the server's CPU.
        private static let hog = """
            #define _GNU_SOURCE
            #include <sched.h>
            #include <stdio.h>
            #include <sys/resource.h>
            #include <time.h>
            #include <unistd.h>
            static long now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000L + t.tv_nsec; }
            int main(void) {
                struct sched_param first = { .sched_priority = 10 };
                if (sched_setscheduler(0, SCHED_FIFO, &first)) setpriority(PRIO_PROCESS, 0, -20);
                for (;;) {
                    for (long end = now() + 8000000; now() < end;);
                    usleep(8000);
                }
            }
            """

        @Test(.tags(.timing)) func preemption() throws {
            let cpu = try #require(firstUsableCPU()), server = try KnownWork.server(onCPU: cpu)
            let hog = try Program(Self.hog, prepare: { ["taskset", "-c", "\(cpu)", $0 + "/program"] })
            let (_, _, offCPU, calls) = try withExtendedLifetime(hog) {
                try slowCalls(of: "BURN.A", slowerThan: "5ms", on: server) { try server.repeating(load(307), ["BURN.A", "1000"]) }
            }
            #expect(calls.count > 5, "\(calls)")
            let ready = offCPU.samples(through: "exec", "(runnable)", "burn_a")
            #expect(ready > offCPU.total * 8 / 10 && ready > calls.serviceNs / 2, "\(ready) of \(offCPU.total), service \(calls.serviceNs)")
        }

        @Test(.tags(.timing)) func diskBehindAnAppendOnlyFile() throws {
            let server = try KnownWork.server(["--appendonly", "yes", "--appendfsync", "always"]), value = String(repeating: "v", count: 100_000)
            let kind = try Child.output(of: ["stat", "-f", "-c", "%T", server.directory]).trimmingCharacters(in: .newlines)
            if kind == "tmpfs" || kind == "ramfs" { try Test.cancel("REFUSED by this host: \(server.directory) is in memory (\(kind))") }
            let (_, onCPU, offCPU, calls) = try slowCalls(of: "SET", slowerThan: "100us", on: server) {
                try server.repeating(load(151), ["SET", "key", value], ["GET", "none"])
            }
            #expect(calls.count > 50, "\(calls)")
            let disk = offCPU.samples(through: "exec", "flushAppendOnlyFile", "do_fsync_[k]")
            #expect(disk > offCPU.total * 8 / 10 && disk > calls.serviceNs / 4, "\(disk) of \(offCPU.total), service \(calls.serviceNs)")
            #expect(onCPU.samples(through: "exec", "flushAppendOnlyFile") > 0)
        }

        @Test(.tags(.timing)) func clientThatDoesNotRead() throws {
            let server = try KnownWork.server()
            let writer = try Connection(port: server.port), slow = try Connection(port: server.port, receiveBuffer: 65536)
            try writer.ask(["SET", "big", String(repeating: "x", count: 20_000_000)])
            let (_, _, offCPU, calls) = try slowCalls(of: "GET", slowerThan: "100ms", on: server) {
                // Where its requests begin is known once it has been idle.
                try slow.ask(["PING"])
                try slow.send(request("GET", "big"))
                for _ in 0..<10 {
                    usleep(50_000)
                    try writer.ask(["GET", "none"])
                }
                try slow.receive(bytes: 20_000_000 + 13)
            }
            #expect(calls.count == 1 && calls.sendBlockedNs > 400_000_000, "\(calls)")
            let unread = offCPU.samples(through: "reply", WorkSession.betweenSends)
            #expect(
                unread == calls.sendBlockedNs && unread > offCPU.total * 9 / 10 && unread > calls.serviceNs * 9 / 10, "\(unread) of \(offCPU.total), \(calls)")
        }

        /// A server that sends 64 KB of a list in each turn of its event loop, and executes another client's commands in between: the client reads all
        /// the time.
        @Test(.tags(.timing)) func replyThatTheServerItselfCuts() throws {
            let server = try KnownWork.server(), times = load(101)
            let list = (0..<256).map { _ in String(repeating: "v", count: 1000) }
            try server.repeating(1, ["RPUSH", "list"] + list)
            let (_, _, offCPU, calls) = try slowCalls(of: "LRANGE", slowerThan: "1ms", on: server) {
                let burning = try Child("redis-benchmark", ["-p", "\(server.port)", "-q", "-n", "1000000", "-c", "1", "BURN.B", "3000"])
                let client = try Connection(port: server.port)
                for _ in 0..<times {
                    try client.send(request("LRANGE", "list", "0", "-1"))
                    try client.receive(bytes: 6 + 256 * 1009)
                }
                kill(burning.pid, SIGKILL)
                burning.wait()
            }
            #expect(calls.count > times / 10, "\(calls)")
            #expect(offCPU.samples(through: WorkSession.betweenSends) > calls.serviceNs / 2)
        }

        @Test(.tags(.timing)) func copiesOfABigReply() throws {
            let server = try KnownWork.server()
            try server.repeating(1, ["SET", "big", String(repeating: "x", count: 8_000_000)])
            let (session, onCPU, _, calls) = try slowCalls(of: "GET", slowerThan: "1ms", on: server) {
                try server.repeating(load(41), ["GET", "big"], ["GET", "none"])
            }
            #expect(calls.count > 30, "\(calls)")
            // Copied into the reply's list, and from there into the socket.
            let listed = onCPU.samples(through: "exec", "getGenericCommand", "_addReplyProtoToList"), sent = onCPU.samples(through: "reply", "tcp_sendmsg_[k]")
            let replies = session.rows.first { $0.name == "GET" }?.replySamples ?? 0
            #expect(listed + sent > onCPU.total * 8 / 10 && sent > replies * 8 / 10 && sent > 0, "\(listed) and \(sent) of \(onCPU.total)")
        }

        /// Pages that a child shares are copied when they are written: the first time after the fork.
        @Test(.tags(.timing)) func pageFaultsAfterAFork() throws {
            let server = try KnownWork.server(), values = 150, value = String(repeating: "w", count: 1_000_000)
            let writer = try Connection(port: server.port)
            func overwrite(_ index: Int) throws { try writer.ask(["SETRANGE", "key:\(index)", "0", value]) }
            for index in 0..<values { try overwrite(index) }
            // The child lives as long as the test needs.
            try writer.ask(["CONFIG", "SET", "rdb-key-save-delay", "20000"])
            let (_, onCPU, _, calls) = try slowCalls(of: "SETRANGE", slowerThan: "p90", ["-i", "0.2"], on: server) {
                let begin = Date()
                while Date().timeIntervalSince(begin) < 0.8 { for index in 0..<20 { try overwrite(index) } }
                try writer.ask(["BGSAVE"])
                for index in 0..<values { try overwrite(index) }
            }
            #expect(calls.count > 20, "\(calls)")
            let written = onCPU.samples(through: "exec", "setrangeCommand"),
                faults = onCPU.samples(through: "exec", "setrangeCommand", "asm_exc_page_fault_[k]")
            let copied = onCPU.samples(through: "exec", "setrangeCommand", "asm_exc_page_fault_[k]", "do_wp_page_[k]")
            #expect(faults > onCPU.total / 2 && faults > written * 7 / 10 && copied > faults / 3, "\(faults) and \(copied) of \(written) of \(onCPU.total)")
        }
    }
}

extension Connection {
    /// Read so many bytes, and forget them.
    func receive(bytes: Int) throws {
        var piece = [UInt8](repeating: 0, count: 1 << 18), left = bytes
        while left > 0 {
            let count = recv(fd, &piece, min(piece.count, left), 0)
            guard count > 0 else { throw TestFailure("the server closed the connection or was silent") }
            left -= count
        }
    }
}
