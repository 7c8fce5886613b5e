import Foundation
import KilnKernel
import KilnModel
import KilnSymbols
import StackCheck
import SystemPackage
import TestSupport

/// What whole stacks cost, each number beside its bound.
extension Bench {
    /// One sample of the server under load, its parts timed in the kernel.
    func sampleTime(rounds: Int) throws {
        report("One sample of the server under \(Workload.all[0].name) (ns; means, the clock's own cost taken out)")
        for frequency in [99, 999] {
            var sum = stack_times()
            for _ in 0..<rounds {
                let check = try StackCheck(.times, pid: server.pid, frequency: frequency)
                let start = Date()
                while Date().timeIntervalSince(start) < (frequency == 99 ? 8 : 2) { try server.load(Workload.all[0], share: 0.4) }
                sum = try sum + check.times()
            }
            let samples = Double(max(sum.samples, 1)), clock = Double(sum.clock_ns) / samples
            let mean = { (total: UInt64) in Double(total) / samples - clock }
            report(
                row([
                    "\(frequency) Hz", "user side \(Int(mean(sum.user_ns))) (goal: \(frequency == 99 ? 8000 : 3000))",
                    "again, warm \(Int(mean(sum.again_ns))) (goal: 700)",
                    "kernel side \(Int(mean(sum.kernel_ns)))",
                    "user depth \(decimal(Double(sum.user_frames) / samples)), kernel depth \(decimal(Double(sum.kernel_frames) / samples)), \(sum.samples) samples",
                ]))
        }
        let session = try Session(kiln, server.pid, ["--no-syscalls", "-F", "99", "--bpf-statistics"])
        let before = try server.clock.nanoseconds()
        let start = Date()
        while Date().timeIntervalSince(start) < 10 { try server.load(Workload.all[0], share: 0.4) }
        let wall = Date().timeIntervalSince(start) * 1e9
        let busy = Double(try server.clock.nanoseconds() - before)
        let record = try session.end(expecting: nil)
        guard let program = record.cost.programs?["sample"] else { throw BenchFailure("session.json has no program sample") }
        // All runs, those for other processes too, which end at once.
        let time = Double(program.runTimeNs)
        report(
            row([
                "99 Hz, the whole program", String(format: "%.2f %% of a core (goal: 0.3 %%)", time / wall * 100),
                String(format: "%.2f %% of the server's CPU time", time / busy * 100), "\(record.samples.onCPU.recorded) samples, \(program.runs) runs",
            ]))
        report("")
    }

    /// Unwind tables: the fastest of several builds, and their bytes.
    func tables() throws {
        report("Unwind tables")
        let largest = Self.largestLibrary()
        let paths = [("/usr/bin/redis-server", " (goal: 4)"), ("/lib/x86_64-linux-gnu/libc.so.6", "")] + (largest.map { [($0, " (goal: 60)")] } ?? [])
        for (path, goal) in paths {
            var best = Double.infinity, bytes = 0, rows = 0
            for _ in 0..<10 {
                let elapsed = try ContinuousClock().measure {
                    let file = try FileDescriptor.open(FilePath(path), .readOnly, options: .closeOnExec)
                    let table = try file.closeAfter { try UnwindTable(reading: file, named: path) }
                    bytes = table.byteCount
                    rows = table.rowCount
                }
                best = min(best, elapsed / .milliseconds(1))
            }
            report(row([FilePath(path).lastComponent?.string ?? path, decimal(best) + " ms" + goal, "\(rows) rows", "\(bytes) bytes"]))
        }
        let files = Set(try Symbolizer(pid: server.pid).executableMappings().compactMap(\.file))
        let bytes = files.reduce(0) { $0 + ((try? $1.unwindTable())?.byteCount ?? 0) }
        report(row(["redis-server, all files", "\(files.count) files", "", "\(bytes) bytes (goal: 3000000)"]))
        report("")
    }

    /// Names for all addresses of a session's stacks, looked up for the first time, as at a session's end.
    func names() throws {
        report("Names of a session's stacks")
        guard let watched = WatchedProcesses(pids: [server.pid]) else { throw BenchFailure("cannot watch \(server.pid)") }
        let symbolizer = try Symbolizer(pid: server.pid)
        let mappings = symbolizer.executableMappings().map(StackCheck.code)
        var probe = try StackProbe(of: Members(watched)) { _ in ProcessCode(mappings) }
        try probe.attach(frequency: 999)
        let start = Date()
        while Date().timeIntervalSince(start) < 5 {
            try server.load(Workload.all[0], share: 0.4)
            try probe.drain()
        }
        probe.stop()
        let stacks = try probe.stacks().stacks(of: .onCPU).map(\.frames)
        let user = Set(stacks.flatMap(\.user)), kernel = Set(stacks.flatMap(\.kernel))
        guard !user.isEmpty else { throw BenchFailure("no stack was sampled") }
        let elapsed = ContinuousClock().measure {
            let kernelSymbolizer = KernelSymbolizer()
            for address in kernel { _ = kernelSymbolizer.symbolize(.returnAddress(address)) }
            for address in user { _ = symbolizer.frames(.returnAddress(address)) }
        }
        report(
            row([
                "\(stacks.count) stacks", decimal(elapsed / .milliseconds(1)) + " ms (goal: 1000)",
                "\(user.count) addresses, and \(kernel.count) of the kernel",
            ]))
        report("")
    }

    private static func largestLibrary() -> String? {
        let folder = "/usr/lib/x86_64-linux-gnu"
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        let paths = names.filter { $0.contains(".so") }.map { folder + "/" + $0 }
        let sizes = paths.map { path in
            var status = stat()
            return stat(path, &status) == 0 ? Int(status.st_size) : 0
        }
        return zip(paths, sizes).max { $0.1 < $1.1 }?.0
    }

    /// The server's CPU time per command while its stacks are sampled; nothing else watches it.
    func samplingCPU(rounds: Int) throws {
        let hasPerf = (try? launch(["perf", "--version"]))?.wait() == 0
        let cells: [(name: String, sampler: (() throws -> Sampler)?)] =
            [("nothing", nil)]
            + [99, 999].flatMap { frequency in
                var cells: [(String, (() throws -> Sampler)?)] = [("kiln, \(frequency) Hz", { [server] in try KilnSampler(server.pid, frequency) })]
                for method in ["dwarf", "fp"] where hasPerf {
                    cells.append(("perf \(method), \(frequency) Hz", { [server] in try PerfSampler(server.pid, frequency, method) }))
                }
                return cells
            }
        report("Server CPU per command while stacks are sampled (ns; medians of \(rounds) interleaved rounds, \(Workload.all[0].name))")
        var measured = [[Double]](repeating: [], count: cells.count)
        for _ in 0..<rounds {
            for (index, cell) in cells.enumerated() {
                let sampler = try cell.sampler?()
                let before = try server.clock.nanoseconds()
                try server.load(Workload.all[0], share: 0.4)
                measured[index].append(Double(try server.clock.nanoseconds() - before) / (Double(Workload.all[0].commands) * 0.4))
                try sampler?.end()
            }
        }
        reportRatios(cells.map(\.name), measured)
        report("")
    }
}

private protocol Sampler { func end() throws }

/// What `kiln redis` samples with, alone.
private final class KilnSampler: Sampler {
    private var probe: StackProbe

    init(_ pid: Int32, _ frequency: Int) throws {
        guard let watched = WatchedProcesses(pids: [pid]) else { throw BenchFailure("cannot watch \(pid)") }
        let mappings = try Symbolizer(pid: pid).executableMappings().map(StackCheck.code)
        probe = try StackProbe(of: Members(watched)) { _ in ProcessCode(mappings) }
        try probe.attach(frequency: frequency)
    }

    func end() throws {
        probe.stop()
        var snapshot = Snapshot(time: MonotonicClock.now())
        try probe.read(into: &snapshot)
        guard let samples = snapshot.samples.first, samples.seen > 0 else { throw BenchFailure("no stack was sampled") }
    }
}

private final class PerfSampler: Sampler {
    private let perf: Child
    private let data = NSTemporaryDirectory() + "kiln-bench-\(UUID().uuidString).perf"

    init(_ pid: Int32, _ frequency: Int, _ method: String) throws {
        perf = try launch([
            "perf", "record", "-q", "-e", "cpu-clock", "-F", "\(frequency)", "--call-graph", method, "-p", "\(pid)", "-o", data,
        ])
        usleep(300_000)
    }

    func end() throws {
        interrupt(perf)
        let size = (try? FileManager.default.attributesOfItem(atPath: data))?[.size] as? Int ?? 0
        try? FileManager.default.removeItem(atPath: data)
        guard size > 10_000 else { throw BenchFailure("perf recorded nothing") }
    }
}

private func + (one: stack_times, other: stack_times) -> stack_times {
    var sum = one
    sum.samples += other.samples
    sum.user_frames += other.user_frames
    sum.kernel_frames += other.kernel_frames
    sum.kernel_ns += other.kernel_ns
    sum.user_ns += other.user_ns
    sum.again_ns += other.again_ns
    sum.clock_ns += other.clock_ns
    return sum
}
