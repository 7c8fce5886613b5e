import Foundation
import KilnKernel
import KilnModel
import KilnTargets

/// One kind of traffic.
struct Workload {
    let name: String
    let arguments: [String]
    let commands: Int

    static let all = [
        Workload(name: "GET -c 50", arguments: ["-t", "get", "-c", "50"], commands: 150_000),
        Workload(name: "GET -c 50 -P 16", arguments: ["-t", "get", "-c", "50", "-P", "16"], commands: 1_600_000),
        Workload(name: "SET -c 50 -d 1000 -P 16", arguments: ["-t", "set", "-c", "50", "-P", "16", "-d", "1000"], commands: 480_000),
    ]
}

final class Bench {
    let kiln: String
    let server: Server

    init(kiln: String) throws {
        self.kiln = kiln
        server = try Server()
    }

    /// What watches a server while its CPU time is taken.
    struct Cell {
        let name: String
        /// Returns how it is ended.
        let begin: (_ server: Server) throws -> () throws -> Void

        static var nothing: Cell { Cell(name: "nothing") { _ in {} } }

        static func session(_ kiln: String, _ options: [String]) -> Cell {
            Cell(name: (["kiln"] + options).joined(separator: " ")) {
                let session = try Session(kiln, $0.pid, options)
                return { try session.end(expecting: nil) }
            }
        }

        /// What sees each receive and send, and does nothing with it.
        static func looking(beside kiln: String) -> Cell {
            Cell(name: Observer.looking) { server in
                let observer = try Watcher([Observer.program(beside: kiln), "look", "\(server.pid)"])
                let before = try server.receivesAndSends().sends
                return {
                    // What the server read without finding anything is no receive.
                    let sends = try server.receivesAndSends().sends - before, said = try observer.end()
                    guard let looks = Observer.looks(in: said), looks > sends else {
                        throw BenchFailure("what only looks missed some: \(said)")
                    }
                }
            }
        }
    }

    /// Server CPU time per command: without kiln, with what only looks, with kiln, with it and system calls; and the ratios. Short loads in
    /// many rounds: a shared machine's speed moves within seconds, and only what lies close together can be compared.
    func serverCPU(rounds: Int) throws {
        let cells: [Cell] = [.nothing, .looking(beside: kiln)] + [["--no-syscalls"], [], ["--hook", "syscall"]].map { .session(kiln, $0) }
        report("Server CPU per command (ns of its CPU clock; medians of \(rounds) interleaved rounds)")
        try serverCPU(of: server, under: Workload.all, cells, rounds: rounds)
    }

    func serverCPU(of server: Server, under workloads: [Workload], _ cells: [Cell], rounds: Int) throws {
        for workload in workloads {
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
        }
        report("")
    }

    /// A line for each cell; the first is what the others are compared with.
    func reportRatios(_ names: [String], _ measured: [[Double]], workload: String = "") {
        for (name, values) in zip(names, measured) {
            // Pair by pair within a round: what drifts between rounds cancels.
            let ratios = zip(values, measured[0]).map { $0 / $1 - 1 }.sorted()
            let quartiles = "quartiles \(percent(ratios[ratios.count / 4])) to \(percent(ratios[ratios.count * 3 / 4]))"
            report(row([workload, name, "\(Int(median(values)))", percent(median(ratios)), quartiles]))
        }
    }

    /// BPF run time by the kernel's statistics, the filter's share for processes that are not watched taken out.
    func bpfTime(rounds: Int) throws {
        report("BPF run time (ns, run-time statistics on; medians of \(rounds))")
        let idle = try Server()
        var nothing: [Double] = []
        for _ in 0..<rounds { nothing.append(try costOfNothing()) }
        report(row(["", "nothing", decimal(2 * median(nothing)) + " a command", "two programs that do nothing"]))
        for hook in ["socket", "syscall"] {
            let filter = try costOfOthers(hook: hook, idle: idle)
            for workload in Workload.all {
                var perCommand: [Double] = [], perReceive: [Double] = []
                for _ in 0..<rounds {
                    let session = try Session(kiln, server.pid, ["--hook", hook, "--no-syscalls", "-F", "0", "--bpf-statistics"])
                    let before = try server.receivesAndSends()
                    try server.load(workload)
                    let after = try server.receivesAndSends()
                    let record = try session.end(expecting: workload)
                    let programs = record.cost.programs ?? [:]
                    let receives = Double(after.receives - before.receives), sends = Double(after.sends - before.sends)
                    let own = hook == "socket" ? ["socket_receive": receives, "socket_send": sends] : ["syscall_exit": receives + sends]
                    var total = 0.0
                    for (name, seen) in own {
                        guard let program = programs[name] else { throw BenchFailure("session.json has no program \(name)") }
                        total += Double(program.runTimeNs) - (Double(program.runs) - seen) * (filter[name] ?? 0)
                        if name != "socket_send" {
                            perReceive.append((Double(program.runTimeNs) - (Double(program.runs) - seen) * (filter[name] ?? 0)) / receives)
                        }
                    }
                    perCommand.append(total / Double(workload.commands))
                }
                report(row([workload.name, "hook \(hook)", decimal(median(perCommand)) + " a command", decimal(median(perReceive)) + " a receive"]))
            }
            report(
                row(["", "hook \(hook)", "others' calls", filter.sorted { $0.key < $1.key }.map { "\($0.key) \(decimal($0.value))" }.joined(separator: ", ")]))
        }
        report("")
    }

    /// kiln's own CPU, memory and start.
    func ownCost() throws {
        var attached: [Double] = []
        for _ in 0..<5 {
            let session = try Session(kiln, server.pid, [])
            attached.append(session.attachedAfter)
            try session.end(expecting: nil)
        }
        let session = try Session(kiln, server.pid, [])
        let clock = try ProcessCPUClock(pid: session.pid)
        // What it does at its beginning takes some seconds: programs and mappings are new to it.
        for _ in 0..<2 { try server.load(Workload.all[0]) }
        let start = MonotonicClock.now(), before = try clock.nanoseconds()
        while MonotonicClock.now() < start + Nanoseconds(10_000_000_000) { try server.load(Workload.all[0]) }
        let share = Double(try clock.nanoseconds() - before) / 1e9 / (MonotonicClock.now() - start).seconds
        let record = try session.end(expecting: nil)
        report("kiln itself, interval 1 s, under GET -c 50")
        report(row(["own CPU", String(format: "%.2f %% of a core", share * 100)]))
        report(row(["", decimal(record.cost.ownCPUS) + " s in all, of a session of \(decimal(record.durationS)) s, start and end included"]))
        report(row(["peak memory", "\(record.cost.ownPeakRSSBytes >> 20) MiB"]))
        report(row(["start to attached", decimal(median(attached) * 1000) + " ms (median of 5; max \(decimal((attached.max() ?? 0) * 1000)))"]))
        report(row(["samples", "\(record.samples.onCPU.recorded) recorded, \(record.samples.onCPU.expected ?? 0) expected"]))
    }

    /// What the statistics say of a run of a program that does nothing: of each figure here so much is their own.
    private func costOfNothing() throws -> Double {
        let file = NSTemporaryDirectory() + "kiln-bench-\(UUID().uuidString).nothing"
        defer { try? FileManager.default.removeItem(atPath: file) }
        let observer = try Watcher([Observer.program(beside: kiln), "nothing", file])
        try server.load(Workload.all[0], share: 0.4)
        _ = try observer.end()
        let numbers = try String(contentsOfFile: file, encoding: .utf8).split(whereSeparator: \.isWhitespace).compactMap { Double($0) }
        guard numbers.count == 2, numbers[0] > 0 else { throw BenchFailure("the programs that do nothing did not run") }
        return numbers[1] / numbers[0]
    }

    /// What a run of each program costs for a process that isn't watched.
    private func costOfOthers(hook: String, idle: Server) throws -> [String: Double] {
        let session = try Session(kiln, idle.pid, ["--hook", hook, "--no-syscalls", "-F", "0", "--bpf-statistics"])
        try server.load(Workload.all[0])
        return (try session.end(expecting: nil).cost.programs ?? [:]).filter { $0.value.runs > 1000 }
            .mapValues { Double($0.runTimeNs) / Double($0.runs) }
    }
}

func median(_ values: [Double]) -> Double {
    let sorted = values.sorted()
    guard !sorted.isEmpty else { return 0 }
    return sorted.count % 2 == 1 ? sorted[sorted.count / 2] : (sorted[sorted.count / 2 - 1] + sorted[sorted.count / 2]) / 2
}

func decimal(_ value: Double) -> String { String(format: "%.1f", value) }

func percent(_ share: Double) -> String { String(format: "%+.1f %%", share * 100) }

func row(_ cells: [String]) -> String {
    "  " + zip(cells, [26, 20, 16, 16, 0, 0]).map { $0.count < $1 ? $0 + String(repeating: " ", count: $1 - $0.count) : $0 + "  " }.joined()
}

/// A line at once, also into a pipe.
func report(_ line: String) {
    print(line)
    fflush(nil)
}
