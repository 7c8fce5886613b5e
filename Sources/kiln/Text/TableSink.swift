import KilnModel

/// A session as tables on standard output: after each interval, and at the end for the whole session.
struct TableSink: Sink {
    /// Prints complete histograms, too.
    let histograms: Bool
    /// The last lines of the output name its files.
    let directory: DirectorySink
    let side: Side
    /// The number of functions that are shown of each command.
    let top: Int
    private let output = Output.standardOutput

    init(histograms: Bool, side: Side, top: Int, directory: DirectorySink) {
        self.histograms = histograms
        self.side = side
        self.top = top
        self.directory = directory
    }

    /// Defines the columns.
    func begin(_ start: SessionStart) throws {
        try output.write(
            side == .client
                ? ["total: from the return of the send of a request to the return of the read that brings its reply"]
                : [
                    "service: from the return of the read that brings a command to the return of the send that takes the last byte of its reply",
                    "queue: from the command's arrival at the socket to the read; exec: from the read to the next read or the send; reply: the rest of service",
                ])
    }

    func interval(_ interval: SessionInterval) throws {
        let estimates = interval.counts[Estimates.self]
        var text = IntervalText(interval: interval.counts, isTotal: false, tableRows: output.tableRows)
        var lines: [Line] = []
        for (process, target) in interval.targets.enumerated() {
            lines.append(Line(bold: interval.time.timeOfDay, "  " + sessionTitle(target)))
            text.estimates = { name in
                let key = CommandKey(process: process, name: name)
                return ShownEstimate(estimates, key, interval.counts.commands[key] ?? CommandCounts())
            }
            lines += text.tables(process: process, waits: 3)
            if let calls = interval.counts[SyscallTimes.self]?.named(pid: target.pid) {
                lines += SyscallText(calls, interval: interval.counts.time, withCallers: false, most: output.tableRows).table
            }
            if histograms { lines += text.histograms(process: process) }
        }
        let share = interval.ownCPU.seconds / max(interval.counts.time.seconds, 1e-9) * 100
        if let estimates, !estimates.isExact { lines.append("watched: \(percentText(estimates.fraction)) of \(estimates.whole); ± is the 95 % interval") }
        lines.append("\(text.lostText) · kiln: \(oneDecimal(share)) % of a core, \(interval.ownPeakRSS >> 20) MiB")
        try output.write(lines + [Line()])
    }

    func end(_ result: SessionResult) throws {
        var lines: [Line] = []
        for record in result.records { lines += SessionText(record, top: top).lines }
        if let record = result.records.first { lines += SessionText(record).losses }
        try output.write(lines + directory.wroteLines)
    }

    private func oneDecimal(_ value: Double) -> String { "\((value * 10).rounded() / 10)" }
}
