import Foundation
import Glibc
import KilnModel
import TestSupport
import Testing

extension KernelTests {
    /// Servers whose io threads receive and send for the thread that executes: nothing is another command's.
    @Suite(.enabled(if: Program.canCompile, "no C compiler")) struct WorkIoThreadTests {
        @Test(arguments: ServerBuild.available([.redis7, .redis8, .valkey8]))
        func whatCannotBeFollowedIsNoCommands(build: ServerBuild) throws {
            let server = try KnownWork.server(["--io-threads", "4"] + (build == .redis7 ? ["--io-threads-do-reads", "yes"] : []), build: build)
            let session = try WorkSession(server, ["--threads", "--off-cpu"]) {
                // io threads that spin leave the clients little time on a small machine.
                let clients = try [["BURN.A", "100"], ["GET", "key"]].map {
                    try Child("redis-benchmark", ["-p", "\(server.port)", "-q", "-n", "10000000", "-c", "4"] + $0)
                }
                usleep(1_500_000)
                for client in clients {
                    kill(client.pid, SIGKILL)
                    client.wait()
                }
            }
            session.expectSums()
            let stacks = session.byCommand, burning = stacks.owners(of: "burn_a", at: 2)
            #expect(burning.values.reduce(0, +) > 0)
            let unknown = ["[unknown: io-threads]", "[unknown: edge of the session]"]
            #expect(Set(burning.keys).isSubset(of: unknown + ["BURN.A"]), "\(burning)")
            #expect(burning[unknown[0]] ?? 0 > 0, "\(burning)")
            // The main thread of redis 8 receives nothing: no execution is known.
            if build == .redis8 { #expect(burning["BURN.A"] == nil && session.rows.allSatisfy { $0.execSamples ?? 0 == 0 }, "\(burning)") }
            // What io threads receive and send belongs to the commands that it has; they execute nothing.
            let inThreads = stacks.lines.filter { $0.frames.count > 3 && $0.frames[1].hasPrefix("io_thd_") }
            let commands = inThreads.filter { ["BURN.A", "GET"].contains($0.frames[2]) }
            #expect(!commands.isEmpty && commands.allSatisfy { ["read", "reply"].contains($0.frames[3]) }, "\(commands.map { $0.frames.prefix(4) })")
            for (function, phase) in [("tcp_sendmsg_[k]", "reply"), ("tcp_recvmsg_[k]", "read")] {
                let others = inThreads.filter {
                    $0.frames.contains(function) && !(["BURN.A", "GET", "CONFIG"].contains($0.frames[2]) && $0.frames[3] == phase)
                }
                // The session begins and ends in the middle of some.
                #expect(others.reduce(0) { $0 + $1.samples } <= 3, "\(others)")
            }
        }
    }
}
