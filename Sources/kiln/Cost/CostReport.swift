import Glibc
import KilnModel

/// The result of `kiln cost`, as text and as JSON.
struct CostReport {
    let name: String
    let measurement: CostMeasurement
    /// Round trips of PING; nil without `--ping`.
    private let pings: Pings?
    /// The record of a session with BPF run-time statistics.
    let accounted: SessionRecord?
    let unit: CostUnit
    let cost: CostEstimate
    /// In seconds.
    let window: Double
    /// In percentage points.
    let precision: Double
    /// The time of a block, in seconds.
    let blockSeconds: Double

    init(
        name: String, measurement: CostMeasurement, accounted: SessionRecord?, unit: CostUnit, cost: CostEstimate, window: Double,
        precision: Double, blockSeconds: Double
    ) {
        self.name = name
        self.measurement = measurement
        self.accounted = accounted
        self.unit = unit
        self.cost = cost
        self.window = window
        self.precision = precision
        self.blockSeconds = blockSeconds
        pings = Pings(measurement.roundTrips)
    }

    private var windows: [CostWindow] { measurement.windows }

    /// All round trips with and without the observer. Single windows have too few for percentiles.
    private struct Pings {
        let without, with: Int
        let p50, p90, p99: PercentileEstimate?

        init?(_ times: [[UInt64]]) {
            func count(_ watched: Bool) -> Int {
                let order = CostEstimate.order
                return times.indices.reduce(0) { $0 + (order[$1 % order.count] == watched ? times[$1].count : 0) }
            }
            without = count(false)
            with = count(true)
            guard without > 0 || with > 0 else { return nil }
            p50 = PercentileEstimate(0.5, times: times)
            p90 = PercentileEstimate(0.9, times: times)
            p99 = PercentileEstimate(0.99, times: times)
        }

        var rows: [(name: String, share: Double, estimate: PercentileEstimate?)] {
            [("PING p50", 0.5, p50), ("PING p90", 0.9, p90), ("PING p99", 0.99, p99)]
        }

        var line: String {
            let counts = "PING: \(grouped(UInt64(without))) without and \(grouped(UInt64(with))) with"
            guard let missing = rows.first(where: { $0.estimate == nil }) else { return counts }
            return counts + "; too few for \(missing.name.dropFirst(5)), which takes \(grouped(UInt64(PercentileEstimate.timesNeeded(missing.share)))) of each"
        }
    }

    var lines: [Line] {
        let target = measurement.target
        let title = sessionTitle(comm: target.comm, pid: target.pid, ports: target.ports, container: nil)
        var lines = [
            Line(bold: "Overhead of `\(name)`", "  \(title), \(cost.blocks) blocks of \(CostEstimate.order.count) windows of \(significantSeconds(window))")
        ]
        var table = Table(["", "without", "with", "change", "\(Int(CostEstimate.confidence * 100)) % interval"], leftAligned: 1)
        table.add(row("CPU time a \(unit.rawValue)", cost))
        if let execution = windows.execution { table.add(row("execution, by the server", execution)) }
        for ping in pings?.rows ?? [] { if let estimate = ping.estimate { table.add(row(ping.name, estimate)) } }
        lines += [Line].table(table.lines)
        let interval = cost.addedInterval
        lines.append("added CPU time a \(unit.rawValue): \(time(cost.added)), between \(time(interval.lowerBound)) and \(time(interval.upperBound))")
        if let account {
            lines.append("BPF run-time statistics: \(time(account.perCommand)) a command, \(percentText(account.share)) of the target's CPU time")
            lines.append(
                "  (measured in a separate session of \(significantSeconds(accounted?.durationS ?? 0)); they include calls of other processes, leave out the dispatch to the programs, and cost time themselves)"
            )
        }
        let service = measurement.service
        if let p50 = service.percentile(0.5), let p99 = service.percentile(0.99) {
            lines.append("service with the session: p50 \(p50), p99 \(p99)\(pings == nil ? "; for percentiles without the session, use --ping" : "")")
        }
        if let pings { lines.append(Line(pings.line)) }
        let traffic = windows.rate(of: unit)
        if unit != .second {
            lines.append(
                "traffic: \(grouped(UInt64(saturating: traffic.mean))) \(unit.rawValue)s/s, varying by \(percentText(traffic.variation)) from window to window")
        } else {
            lines.append("divided by seconds: the result is right only if the server had the same load with and without the session")
        }
        return lines
    }

    /// Why there is no result, and how to get one.
    var doubt: String {
        let traffic = windows.rate(of: unit == .second ? .call : unit)
        let wanted =
            "the overhead is known to +-\(percentText(cost.uncertainty)), and --precision asks for \(precision) points; traffic varies by \(percentText(traffic.variation)) from window to window. "
        guard let seconds = wantedSeconds else { return wanted + "A day would not be enough: measure when traffic is more even." }
        return wanted + "About \(Int(seconds.rounded(.up))) s are enough: --duration \(Int(seconds.rounded(.up)))."
    }

    /// The necessary length of a measurement with this noise; nil if it is more than a day.
    private var wantedSeconds: Double? {
        cost.blocksWanted(precision: precision / 100, most: Int(86_400 / blockSeconds)).map { Double($0) * blockSeconds }
    }

    /// The run time of the programs: ns per command, and as a share of the target's CPU time.
    private var account: (perCommand: Double, share: Double)? {
        guard let accounted, let programs = accounted.cost.programs, accounted.cost.targetCPUS > 0 else { return nil }
        let run = programs.values.reduce(0.0) { $0 + Double($1.runTimeNs) }
        let commands = accounted.commands.values.reduce(0.0) { $0 + Double($1.count) }
        return commands > 0 ? (run / commands, run / 1e9 / accounted.cost.targetCPUS) : nil
    }

    private func row(_ name: String, _ estimate: some ComparedSides) -> [String] {
        let interval = estimate.interval
        return [
            name, time(estimate.without), time(estimate.with), signed(estimate.change),
            "\(signed(interval.lowerBound)) to \(signed(interval.upperBound))",
        ]
    }

    private func signed(_ share: Double) -> String { (share > 0 ? "+" : "") + percentText(share) }

    private func time(_ nanoseconds: Double) -> String {
        (nanoseconds < 0 ? "-" : "") + "\(Nanoseconds(UInt64(saturating: abs(nanoseconds))))"
    }

    func json() throws -> [UInt8] {
        let interval = cost.interval, added = cost.addedInterval
        return try jsonLines([
            Record(
                kiln: kilnVersion, observer: name, pid: measurement.target.pid, comm: measurement.target.comm, unit: unit.rawValue,
                blocks: cost.blocks, window_s: window, confidence_percent: CostEstimate.confidence * 100,
                without_cpu_ns: cost.without, with_cpu_ns: cost.with, cost_percent: cost.change * 100,
                cost_least_percent: interval.lowerBound * 100, cost_most_percent: interval.upperBound * 100,
                added_cpu_ns: cost.added, added_least_cpu_ns: added.lowerBound, added_most_cpu_ns: added.upperBound,
                is_conclusive: cost.isConclusive(precision: precision / 100), wanted_s: wantedSeconds,
                bpf_ns_per_command: account?.perCommand, bpf_percent: account.map { $0.share * 100 },
                execution: windows.execution.map(Change.init), pings_without: pings?.without, pings_with: pings?.with,
                ping_p50: pings?.p50.map(Change.init), ping_p90: pings?.p90.map(Change.init), ping_p99: pings?.p99.map(Change.init),
                windows: windows
            )
        ])
    }

    private struct Change: Encodable {
        var without_ns, with_ns, change_percent, change_least_percent, change_most_percent: Double

        init(_ estimate: some ComparedSides) {
            without_ns = estimate.without
            with_ns = estimate.with
            change_percent = estimate.change * 100
            change_least_percent = estimate.interval.lowerBound * 100
            change_most_percent = estimate.interval.upperBound * 100
        }
    }

    private struct Record: Encodable {
        var kiln, observer: String
        var pid: Int32
        var comm, unit: String
        var blocks: Int
        var window_s, confidence_percent: Double
        /// For each unit.
        var without_cpu_ns, with_cpu_ns, cost_percent, cost_least_percent, cost_most_percent: Double
        var added_cpu_ns, added_least_cpu_ns, added_most_cpu_ns: Double
        var is_conclusive: Bool
        var wanted_s, bpf_ns_per_command, bpf_percent: Double?
        var execution: Change?
        var pings_without, pings_with: Int?
        var ping_p50, ping_p90, ping_p99: Change?
        var windows: [CostWindow]
    }
}
