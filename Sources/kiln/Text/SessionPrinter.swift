import KilnKernel
import KilnModel
import KilnTargets

/// What a session shows while it runs and at its end: tables, or JSON lines.
struct SessionPrinter {
    let options: RedisCommand
    private let output = Output.standardOutput

    init(options: RedisCommand) { self.options = options }

    func begin(_ targets: [Target], hook: CommandHook) {
        let rate = options.sampling.frequency > 0 ? "\(options.sampling.frequency) Hz" : "no stacks"
        say("kiln \(kilnVersion): attached to \(targets.map(title).joined(separator: ", ")); hook \(hook.rawValue), \(rate), \(options.length.words(options.command))")
    }

    /// `lines`: of all targets.
    func interval(_ targets: [Target], _ interval: Snapshot, lines: [IntervalLines], time: WallTime, ownCPU: Nanoseconds, ownRSS: UInt64) throws {
        guard !options.json else { return try jsonInterval(interval, lines: lines, time: time, ownCPU: ownCPU, ownRSS: ownRSS) }
        let text = IntervalText(interval: interval, isTotal: false, tableRows: output.tableRows)
        var lines: [Line] = []
        for (process, target) in targets.enumerated() {
            lines.append(Line(bold: time.timeOfDay, "  " + title(target)))
            lines += text.tables(process: process, waits: 3)
            if options.histograms { lines += text.histograms(process: process) }
        }
        let share = ownCPU.seconds / max(interval.time.seconds, 1e-9) * 100
        lines.append("\(text.lostText) · kiln: \(oneDecimal(share)) % of a core, \(ownRSS >> 20) MiB")
        try output.write(lines + [Line()])
    }

    /// In JSON: what session.json holds, a line for each target.
    func end(_ records: [SessionRecord], _ directories: [SessionDirectory]) throws {
        guard !options.json else { return try output.write(jsonLines(records)) }
        var lines: [Line] = []
        for record in records { lines += SessionText(record).lines }
        if let record = records.first { lines += SessionText(record).losses }
        for directory in directories { lines += directory.wroteLines }
        try output.write(lines)
    }

    private func jsonInterval(_ interval: Snapshot, lines: [IntervalLines], time: WallTime, ownCPU: Nanoseconds, ownRSS: UInt64) throws {
        var text = lines.flatMap { $0.commands + $0.syscalls }
        text += try jsonLines([IntervalEnd(
            time: time.rfc3339, interval_s: interval.time.seconds, lost: interval.losses, own_cpu_s: ownCPU.seconds,
            own_peak_rss_bytes: ownRSS
        )])
        try output.write(text)
    }

    /// The line that ends an interval's JSON.
    private struct IntervalEnd: Encodable {
        var time: String
        var interval_s: Double
        var lost: [String: UInt64]
        var own_cpu_s: Double
        var own_peak_rss_bytes: UInt64
    }

    private func title(_ target: Target) -> String {
        sessionTitle(comm: target.comm, pid: target.pid, ports: target.ports, container: target.container.map { String(describing: $0) })
    }

    private func oneDecimal(_ value: Double) -> String { "\((value * 10).rounded() / 10)" }
}
