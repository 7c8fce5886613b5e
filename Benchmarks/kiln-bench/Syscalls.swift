import Foundation
import KilnModel
import TestSupport

/// What times of system calls cost a server.
extension Bench {
    private static let syscount = "/usr/sbin/syscount"

    /// The server's CPU time per command while its system calls are timed: by kiln with histograms, by `syscount -L` with sums only.
    func timingSyscalls(rounds: Int) throws {
        let hasOther = access(Self.syscount, X_OK) == 0
        let workload = Workload.all[0]
        let cells = [Cell.nothing] + (hasOther ? [Self.syscountCell] : []) + [timingCell(["syscalls"]), timingCell(["redis", "--syscall-latency", "-F", "0"])]
        report("Server CPU per command while system calls are timed (ns; medians of \(rounds) interleaved rounds)")
        var measured = [[Double]](repeating: [], count: cells.count)
        for _ in 0..<rounds {
            for (index, cell) in cells.enumerated() {
                let end = try cell.begin(server)
                let before = try server.clock.nanoseconds()
                try server.load(workload, share: 0.4)
                measured[index].append(Double(try server.clock.nanoseconds() - before) / (Double(workload.commands) * 0.4))
                try end()
            }
        }
        reportRatios(cells.map(\.name), measured, workload: workload.name)
        if hasOther {
            let added = measured.map { zip($0, measured[0]).map { $0 - $1 } }
            let ratios = zip(added[2], added[1]).map { $0 / $1 }
            report(row(["", "kiln syscalls", String(format: "%.2f of what syscount -L adds (goal: 0.75)", median(ratios))]))
        } else {
            report(row(["", "syscount is not installed (libbpf-tools)"]))
        }
        report("")
    }

    private static var syscountCell: Cell {
        Cell(name: "syscount -L") { server in
            let directory = temporaryDirectory()
            let child = try launch([syscount, "-L", "-p", "\(server.pid)"], output: directory + "/out")
            sleep(1)  // it doesn't say when it watches
            return {
                interrupt(child)
                defer { try? FileManager.default.removeItem(atPath: directory) }
                let said = (try? String(contentsOfFile: directory + "/out", encoding: .utf8)) ?? ""
                guard said.contains("read") || said.contains("write") else { throw BenchFailure("syscount counted nothing: \(said)") }
            }
        }
    }

    private func timingCell(_ subcommand: [String]) -> Cell {
        Cell(name: (["kiln"] + subcommand).joined(separator: " ")) { [kiln] server in
            let directory = temporaryDirectory()
            let options = ["-p", "\(server.pid)", "-d", "600", "-o", directory + "/session"]
            let watcher = try Watcher(["taskset", "-c", "1", kiln] + subcommand + options)
            return {
                _ = try watcher.end()
                defer { try? FileManager.default.removeItem(atPath: directory) }
                let record = try JSONDecoder().decode(SessionRecord.self, from: Data(contentsOf: URL(fileURLWithPath: directory + "/session/session.json")))
                // A session that misses calls is fast: each command has a read and a write, or more.
                let counted = (record.syscallTimes ?? []).reduce(0) { $0 + $1.latency.count }
                guard counted > UInt64(Double(Workload.all[0].commands) * 0.4) * 2 else { throw BenchFailure("kiln timed \(counted) calls only") }
            }
        }
    }
}
