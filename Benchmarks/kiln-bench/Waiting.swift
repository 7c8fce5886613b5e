import Foundation
import KilnModel
import TestSupport

/// What off-CPU time costs: at each switch, and a server.
extension Bench {
    private static let operations = 100_000
    private static let offcputime = "/usr/sbin/offcputime"

    /// Time of a switch between two processes on one CPU, with nothing, with the fastest other tool, and with kiln on all processes.
    func switching(rounds: Int) throws {
        guard (try? launch(["perf", "--version"]))?.wait() == 0 else { return report("Time of a switch: needs perf (linux-perf)\n") }
        let hasOther = access(Self.offcputime, X_OK) == 0
        report("Time of a switch (ns; perf bench sched pipe on one CPU, medians of \(rounds) interleaved rounds)")
        var nothing: [Double] = [], other: [Double] = [], own: [Double] = []
        for _ in 0..<rounds {
            nothing.append(try Self.switchTime())
            if hasOther { other.append(try withOffcputime { try Self.switchTime() }) }
            own.append(try withOffCPU { try Self.switchTime() })
        }
        let base = median(nothing), kiln = median(own) - base
        report(row(["nothing", "\(Int(base))"]))
        if hasOther { report(row(["offcputime (libbpf-tools)", "\(Int(median(other)))", "adds \(Int(median(other) - base))"])) }
        let ratio = hasOther ? String(format: "%.2f of offcputime's (goal: 0.7)", kiln / (median(other) - base)) : "offcputime is not installed (libbpf-tools)"
        report(row(["kiln record --off-cpu", "\(Int(median(own)))", "adds \(Int(kiln))", ratio]))
        report("")
    }

    /// The server's CPU time per command while its waits are recorded.
    func waitingCPU(rounds: Int) throws {
        let cells =
            [Cell.nothing]
            + [["--off-cpu"], ["--off-cpu", "--wakers"]].map { options in
                Cell(name: (["record"] + options).joined(separator: " ")) { [kiln] server in
                    let directory = temporaryDirectory()
                    let watcher = try Watcher(
                        ["taskset", "-c", "1", kiln, "record", "-p", "\(server.pid)", "-F", "0", "-d", "600", "-o", directory + "/session"] + options
                    )
                    return {
                        _ = try watcher.end()
                        defer { try? FileManager.default.removeItem(atPath: directory) }
                        try Self.checkWaits(directory + "/session", atLeast: 100)
                    }
                }
            }
        report("Server CPU per command while waits are recorded (ns; medians of \(rounds) interleaved rounds; goal: +4 %)")
        try serverCPU(of: server, under: [Workload.all[0]], cells, rounds: rounds)
    }

    private static func switchTime() throws -> Double {
        let said = try Child.output(of: ["taskset", "-c", "1", "perf", "bench", "sched", "pipe", "-l", "\(operations)"])
        guard let line = said.split(separator: "\n").first(where: { $0.contains("usecs/op") }), let time = Double(line.split(separator: " ")[0]) else {
            throw BenchFailure("perf bench says no time: \(said)")
        }
        return time * 1000 / 2  // there and back
    }

    private func withOffcputime(_ body: () throws -> Double) throws -> Double {
        let directory = temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let child = try launch(["taskset", "-c", "0", Self.offcputime, "600"], output: directory + "/out")
        sleep(2)  // it doesn't say when it watches
        let time = try body()
        kill(child.pid, SIGINT)
        func said() -> String { (try? String(contentsOfFile: directory + "/out", encoding: .utf8)) ?? "" }
        // It names its stacks for a while.
        guard eventually(within: 60, { !child.isRunning || said().contains("sched-pipe") }), said().contains("sched") else {
            throw BenchFailure("offcputime recorded nothing")
        }
        return time
    }

    private func withOffCPU(_ body: () throws -> Double) throws -> Double {
        let directory = temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let watcher = try Watcher(["taskset", "-c", "0", kiln, "record", "-a", "-F", "0", "--off-cpu", "-d", "600", "-o", directory + "/session"])
        // A first run, after which perf's code is known.
        guard try launch(["taskset", "-c", "1", "perf", "bench", "sched", "pipe", "-l", "10000"]).wait() == 0 else { throw BenchFailure("perf bench failed") }
        sleep(1)
        let time = try body()
        _ = try watcher.end()
        try Self.checkWaits(directory + "/session", atLeast: UInt64(2 * Self.operations))
        return time
    }

    /// A session that misses waits is fast.
    private static func checkWaits(_ directory: String, atLeast waits: UInt64) throws {
        let record = try JSONDecoder().decode(SessionRecord.self, from: Data(contentsOf: URL(fileURLWithPath: directory + "/session.json")))
        let recorded = record.samples.offCPU?.recorded ?? 0
        guard recorded >= waits else { throw BenchFailure("kiln recorded \(recorded) of \(waits) waits") }
    }
}
