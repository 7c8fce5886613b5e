import Foundation
import LoadClient
import TestSupport

extension Bench {
    /// Server CPU time per command with traces, beside counting alone, and beside one perf-buffer record with 1 KiB of payload for
    /// each request (kiln-observer, where it was built).
    func traceCPU(rounds: Int) throws {
        let pid = "\(server.pid)"
        var cells: [(name: String, command: [String]?)] = [
            ("nothing", nil), ("kiln redis -F 0", nil),
            ("trace, nothing matches", [kiln, "trace", "redis", "-p", pid, "--command", "NOSUCH"]),
            ("trace, none is as slow", [kiln, "trace", "redis", "-p", pid, "--slower-than", "10000"]),
            ("trace of everything", [kiln, "trace", "redis", "-p", pid, "--brief"]),
        ]
        let shipping = Observer.program(beside: kiln)
        if FileManager.default.isExecutableFile(atPath: shipping) { cells.append(("1 KiB perf records", [shipping, "ship", pid])) }
        report("Server CPU per command with traces (ns of its CPU clock; medians of \(rounds) interleaved rounds)")
        // At a rate that all of them keep up with: where the client waits for the CPU that an observer's reader takes, the server gets
        // fewer commands at a time, and each costs it more.
        var paced = load_request()
        paced.kind = LOAD_GET
        paced.connections = 50
        paced.pipeline = 1
        paced.rate = 25_000
        paced.seconds = 2
        paced.keys = 10_000
        try server.flush()
        let loads: [(name: String, perCommand: () throws -> Double)] = [
            (
                "GET, 25,000/s",
                {
                    let (result, cpuNs) = try self.server.load(paced, traffic: "GET")
                    return Double(cpuNs) / Double(result.commands)
                }
            ),
            (
                Workload.all[1].name,
                {
                    let before = try self.server.clock.nanoseconds()
                    try self.server.load(Workload.all[1], share: 0.4)
                    return Double(try self.server.clock.nanoseconds() - before) / (Double(Workload.all[1].commands) * 0.4)
                }
            ),
        ]
        for load in loads {
            var measured = [[Double]](repeating: [], count: cells.count), lost: [String: [String]] = [:]
            for _ in 0..<rounds {
                for (index, cell) in cells.enumerated() {
                    let counting = index == 1 ? try Session(kiln, server.pid, ["--no-syscalls", "-F", "0"]) : nil
                    let watcher = try cell.command.map { try Watcher($0) }
                    measured[index].append(try load.perCommand())
                    if let said = try watcher?.end() {
                        // A trace says `nothing lost`, or how many of what were; so does the observer.
                        lost[cell.name, default: []].append(said.split(separator: "\n").first { $0.contains("lost") }.map(String.init) ?? "silent")
                    }
                    try counting?.end(expecting: nil)
                }
            }
            reportRatios(cells.map(\.name), measured, workload: load.name)
            for cell in cells { if let said = lost[cell.name]?.max() { report("  \(cell.name), in one of the rounds: \(said)") } }
        }
        report("")
    }
}
