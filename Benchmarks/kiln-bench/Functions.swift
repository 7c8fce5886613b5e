import Foundation
import KilnKernel
import KilnModel
import KilnSymbols
import TestSupport

/// What probes of functions cost: attaching and releasing them, and a call.
extension Bench {
    private static let redis = "/usr/bin/redis-server"

    func functions(rounds: Int) throws {
        let list = try FunctionList(of: Self.redis)
        let sites = (0..<list.count).map { list.function($0) }.filter { $0.obstacle == nil && $0.source != .callFrames }
            .map { FunctionSite(name: $0.name, file: Self.redis, entry: FunctionPlace(offset: $0.offset)) }
        var attaching: [Double] = [], releasing: [Double] = []
        for _ in 0..<rounds {
            let (attach, release) = try times(of: sites)
            attaching.append(attach)
            releasing.append(release)
        }
        report("Probes of \(sites.count) functions of a running redis-server (ms; medians of \(rounds))")
        report(row(["kiln attaches them", String(format: "%.1f", median(attaching) * 1000), "(goal: 150)"]))
        report(row(["kiln releases them", String(format: "%.1f", median(releasing) * 1000), "(goal: 300)"]))
        try otherTool(Array(sites.prefix(500)))
        report("")
        try call(.none, "Time that a probe adds to a call that is counted", goal: 1.1, rounds: rounds)
        try call(.returnInstructions, "Time that probes add to a call that is timed", goal: 1.15, rounds: rounds)
        try call(.returnProbes, "The same with return probes", goal: 1.15, rounds: rounds)
    }

    private func times(of sites: [FunctionSite]) throws -> (attach: Double, release: Double) {
        guard let watched = WatchedProcesses(pids: [server.pid]) else { throw BenchFailure("no server") }
        var probe = try FunctionProbe(sites, of: Members(watched), timing: .none, onlyProcess: server.pid)
        let began = MonotonicClock.now()
        let refused = try probe.attach().refused
        let attached = MonotonicClock.now()
        guard refused.isEmpty else { throw BenchFailure("the kernel refused \(refused.count) functions") }
        probe.detach()
        return ((attached - began).seconds, (MonotonicClock.now() - attached).seconds)
    }

    /// bpftrace attaches one by one.
    private func otherTool(_ sites: [FunctionSite]) throws {
        guard (try? launch(["bpftrace", "--version"]))?.wait() == 0 else { return report(row(["bpftrace is not installed"])) }
        let directory = temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let script = sites.map { "uprobe:\(Self.redis):\($0.name)" }.joined(separator: ",\n") + " { @[probe] = count(); }\ninterval:ms:1 { exit(); }\n"
        try script.write(toFile: directory + "/script.bt", atomically: true, encoding: .utf8)
        let began = MonotonicClock.now()
        let status = try launch(["env", "BPFTRACE_MAX_PROBES=1000", "bpftrace", "-p", "\(server.pid)", directory + "/script.bt"]).wait()
        let time = (MonotonicClock.now() - began).seconds
        report(row(["bpftrace, \(sites.count) of them, there and back", status == 0 ? String(format: "%.0f", time * 1000) : "failed (status \(status))"]))
    }

    private func call(_ timing: FunctionTiming, _ title: String, goal: Double, rounds: Int) throws {
        guard let watched = WatchedProcesses(pids: [getpid()]) else { throw BenchFailure("no process") }
        let probe = try FunctionProbe([], of: Members(watched), timing: timing, onlyProcess: getpid())
        var own: [FunctionProbe.CallCosts] = [], empty: [FunctionProbe.CallCosts] = []
        for _ in 0..<2 * rounds {
            empty.append(try probe.measureCost(calls: 5_000, empty: true))
            own.append(try probe.measureCost(calls: 5_000))
        }
        report("\(title) (ns; medians of \(2 * rounds) interleaved rounds, beside an empty program at the same places)")
        for (name, part) in [("first instruction emulated", { $0.emulated }), ("in single step", { $0.stepped })]
            as [(String, (FunctionProbe.CallCosts) -> Nanoseconds)]
        {
            let kiln = median(own.map { Double(part($0).count) }), nothing = median(empty.map { Double(part($0).count) })
            report(row([name, "\(Int(kiln))", "empty \(Int(nothing))", String(format: "%.2f of it (goal: %.2f)", kiln / nothing, goal)]))
        }
        report("")
    }
}
