import Foundation
import KilnModel
import TestSupport

/// What the rounds say together.
struct ComparisonSummary {
    struct Cell {
        var observer, traffic: String
        /// Relative, and ns a command; medians over rounds, with the quartiles of the first.
        var cost, costLow, costHigh, addedNs: Double
        var commandsPerSecond: Double
        /// Of all rounds together.
        var latency: Histogram
        /// Share of a core, median.
        var ownCPU: Double
        var ownPeakRSSBytes: UInt64
    }

    let observers, traffics: [String]
    let perCommand: Set<String>
    let cells: [Cell]
    /// Nothing watches.
    let baseline: [Cell]
    let rounds: Int
    let notes: [String]

    init(_ comparison: Comparison, rounds: Int) {
        let measured = comparison.measurements
        observers = comparison.observers.map(\.name).filter { name in measured.contains { $0.observer == name } }
        perCommand = Set(comparison.observers.filter(\.perCommand).map(\.name))
        traffics = Traffic.all.map(\.name)
        self.rounds = rounds
        cells = observers.flatMap { observer in
            Traffic.all.map { traffic in
                Self.cell(observer, traffic.name, measured.filter { $0.observer == observer && $0.traffic == traffic.name })
            }
        }
        baseline = Traffic.all.map { traffic in Self.baseline(traffic.name, measured.filter { $0.traffic == traffic.name }) }
        notes = comparison.failures + comparison.missing.map { "\($0): not installed" }
    }

    func cell(_ observer: String, _ traffic: String) -> Cell? { cells.first { $0.observer == observer && $0.traffic == traffic } }

    private static func cell(_ observer: String, _ traffic: String, _ rounds: [Measurement]) -> Cell {
        // Pair by pair: what drifts between rounds cancels.
        let ratios = rounds.map { $0.with.cpuPerCommand / $0.without.cpuPerCommand - 1 }.sorted()
        return Cell(
            observer: observer, traffic: traffic, cost: median(ratios), costLow: quantile(ratios, 1), costHigh: quantile(ratios, 3),
            addedNs: median(rounds.map { $0.with.cpuPerCommand - $0.without.cpuPerCommand }),
            commandsPerSecond: median(rounds.map { Double($0.with.commands) / $0.with.seconds }), latency: sum(rounds.map(\.with)),
            ownCPU: median(rounds.map(\.ownCPU)), ownPeakRSSBytes: rounds.map(\.ownPeakRSSBytes).max() ?? 0
        )
    }

    private static func baseline(_ traffic: String, _ rounds: [Measurement]) -> Cell {
        Cell(
            observer: "nothing", traffic: traffic, cost: 0, costLow: 0, costHigh: 0, addedNs: median(rounds.map(\.without.cpuPerCommand)),
            commandsPerSecond: median(rounds.map { Double($0.without.commands) / $0.without.seconds }), latency: sum(rounds.map(\.without)),
            ownCPU: 0, ownPeakRSSBytes: 0
        )
    }

    private static func quantile(_ sorted: [Double], _ quarter: Int) -> Double {
        sorted.isEmpty ? 0 : sorted[min(sorted.count - 1, sorted.count * quarter / 4)]
    }

    private static func sum(_ sides: [Measurement.Side]) -> Histogram {
        sides.reduce(into: Histogram()) { $0.add($1.latency) }
    }
}

/// Machine and versions.
func surroundings(kiln: String) -> [String] {
    func said(_ command: String) -> String {
        ((try? Child.output(of: ["sh", "-c", command])) ?? "").trimmingCharacters(in: .whitespacesAndNewlines)
    }
    let versions = [
        ("kiln", "'\(kiln)' --version"), ("redis-server", "redis-server --version | sed 's/.*v=\\([^ ]*\\).*/\\1/'"),
        ("bpftrace", "bpftrace --version | sed 's/.* v*//'"),
        ("libbpf-tools", "dpkg-query -W -f '${Version}' libbpf-tools"), ("perf", "perf --version | sed 's/.* //'"),
        ("strace", "strace -V | sed -n '1s/.* //p'"),
    ].map { name, command in (name, said(command + " 2>/dev/null")) }.filter { !$0.1.isEmpty }.map { "\($0) \($1)" }
    let machine = said("sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1")
    return [
        "\(machine), \(said("nproc")) CPUs, Linux \(said("uname -r")), load average \(said("cut -d' ' -f1 /proc/loadavg")) at the end",
        versions.joined(separator: ", "),
    ]
}

extension ComparisonSummary {
    /// Costs of all traffics, then what the client saw and what the observers took themselves.
    func markdown(_ surroundings: [String]) -> String {
        var lines = ["# What watching a Redis server costs", ""]
        lines += surroundings.map { "- " + $0 }
        lines += [
            "- server on one CPU, client with \(Comparison.connections) connections on another, observers anywhere; \(rounds) rounds of \(Comparison.seconds) s, each observer between the same load without it, before and after",
            "", "Server CPU time a command more than with nothing, median of the rounds (quartiles):", "",
        ]
        lines += table(
            ["observer"] + traffics,
            observers.map { observer in
                [label(observer)]
                    + traffics.map { traffic in cell(observer, traffic).map { "\(percent($0.cost)) (\(whole($0.costLow)) to \(whole($0.costHigh)))" } ?? "" }
            } + [["nothing: CPU time a command"] + baseline.map { "\(microseconds($0.addedNs))" }])
        let explanations = [
            (Observer.looking, "Floor: the least work that can time a request. It reads the first bytes of each receive and each send, and the clock."),
            (Observer.perRequest, "An event for each request: a perf-buffer record of 1 KiB whatever its length, in pipelines too; replies are not shipped."),
        ].filter { observers.contains($0.0) }.map(\.1)
        lines += ["", (["\\* tells how long each command takes. `kiln -F 0` takes no stacks."] + explanations).joined(separator: " "), ""]
        for traffic in traffics {
            lines += ["## \(traffic)", ""]
            let rows = baseline.filter { $0.traffic == traffic } + cells.filter { $0.traffic == traffic }
            lines += table(["observer", "added CPU a command", "commands/s", "client mean", "p50", "p99", "p99.9", "observer's CPU", "memory"], rows.map(row))
            lines.append("")
        }
        if !notes.isEmpty { lines += ["Left out: " + notes.joined(separator: "; "), ""] }
        return lines.joined(separator: "\n")
    }

    func csv(_ measurements: [Measurement]) -> String {
        var lines = [
            "observer,traffic,round,side,commands,seconds,server_cpu_ns,latency_mean_ns,latency_p50_ns,latency_p99_ns,latency_p99_9_ns,latency_max_ns,own_cpu_share,own_peak_rss_bytes"
        ]
        for one in measurements {
            for (name, side) in [("without", one.without), ("with", one.with)] {
                let percentiles = [0.5, 0.99, 0.999, 1].map { "\(side.latency.percentile($0)?.count ?? 0)" }.joined(separator: ",")
                let own = name == "with" ? String(format: "%.4f,%d", one.ownCPU, one.ownPeakRSSBytes) : ","
                lines.append(
                    "\"\(one.observer)\",\"\(one.traffic)\",\(one.round + 1),\(name),\(side.commands),\(String(format: "%.4f", side.seconds)),\(side.cpuNs),\(Int(side.meanLatency)),\(percentiles),\(own)"
                )
            }
        }
        return lines.joined(separator: "\n") + "\n"
    }

    private func row(_ cell: Cell) -> [String] {
        let watched = cell.observer != "nothing"
        let mean = Double(cell.latency.sum.count) / Double(max(cell.latency.count, 1))
        return [label(cell.observer), watched ? microseconds(cell.addedNs) : "", String(format: "%.0f", cell.commandsPerSecond), microseconds(mean)]
            + [0.5, 0.99, 0.999].map { microseconds(Double(cell.latency.percentile($0)?.count ?? 0)) }
            + (watched ? [String(format: "%.1f %% of a core", cell.ownCPU * 100), "\(cell.ownPeakRSSBytes >> 20) MiB"] : ["", ""])
    }

    private func label(_ observer: String) -> String { perCommand.contains(observer) ? observer + " \\*" : observer }

    private func table(_ header: [String], _ rows: [[String]]) -> [String] {
        let line = { (cells: [String]) in "| " + cells.joined(separator: " | ") + " |" }
        return [line(header), line(header.indices.map { $0 == 0 ? "---" : "---:" })] + rows.map(line)
    }

    private func whole(_ share: Double) -> String { String(format: "%.0f", share * 100) }

    private func microseconds(_ nanoseconds: Double) -> String { String(format: "%.2f us", nanoseconds / 1000) }
}
