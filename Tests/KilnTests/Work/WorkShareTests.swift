import Foundation
import KilnModel
import TestSupport
import Testing

extension KernelTests {
    /// Shares of the CPU by command against what the server knows of its commands, and against what they burned.
    @Suite(.enabled(if: Program.canCompile, "no C compiler")) struct WorkShareTests {
        @Test(.tags(.timing)) func sharesAreTheServersOwn() throws {
            let server = try KnownWork.server(), calls = load(1201)
            let before = try usec(server)
            let session = try WorkSession(server) {
                let clients = try [["BURN.A", "300"], ["BURN.B", "700"], ["GET", "key"]].map {
                    try Child("redis-benchmark", ["-p", "\(server.port)", "-q", "-n", "\(calls)", "-c", "3"] + $0)
                }
                for client in clients { #expect(client.wait() == 0) }
            }
            session.expectSums()
            let commands = ["BURN.A", "BURN.B", "GET"], after = try usec(server)
            // The server counts wall time inside its commands, without reads and replies: what is executed, as a share of all that is. The thread is
            // preempted in each command as often as it computes there.
            let known = commands.map { (after[$0] ?? 0) - (before[$0] ?? 0) }, knownSum = known.reduce(0, +)
            let rows = commands.map { name in session.rows.first { $0.name == name } }
            let executed = rows.map { Double($0?.execSamples ?? 0) }, sum = executed.reduce(0, +)
            for (index, name) in commands.enumerated() {
                let share = executed[index] / sum, own = known[index] / knownSum
                #expect(abs(share - own) < 0.02, "\(name): \(share) of the samples, \(own) of the server's usec")
                #expect(rows[index]?.calls ?? 0 >= calls)
            }
            // CPU time is what the functions burn. Its samples are a random number, with a standard deviation of 2 % at most.
            for (function, name, each) in [("burn_a", "BURN.A", 300e-6), ("burn_b", "BURN.B", 700e-6)] {
                let owners = session.byCommand.owners(of: function), burned = Double(rows[name == "BURN.A" ? 0 : 1]?.calls ?? 0) * each
                #expect(Array(owners.keys) == [name], "\(function): \(owners)")
                let sampled = Double(owners[name] ?? 0) / Double(WorkSession.frequency)
                #expect(abs(sampled / burned - 1) < 0.1, "\(name): \(sampled) s of \(burned) s")
            }
        }

        /// Time inside each command, in microseconds, by the server's own clock.
        private func usec(_ server: RedisServer) throws -> [String: Double] {
            try Connection(port: server.port).reply(to: "INFO", "commandstats").split(separator: "\r\n").reduce(into: [:]) { times, line in
                guard line.hasPrefix("cmdstat_"), let colon = line.firstIndex(of: ":"), let field = line.range(of: ",usec=") else { return }
                times[line[..<colon].dropFirst("cmdstat_".count).uppercased()] = Double(line[field.upperBound...].prefix { $0 != "," })
            }
        }
    }
}
