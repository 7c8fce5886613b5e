import KilnModel

/// A session as tables on standard output: some for each interval, and the whole session's at its end.
struct TableSink: Sink {
    /// Full histograms, too.
    let histograms: Bool
    /// Its last lines say which files hold the session.
    let directory: DirectorySink
    private let output = Output.standardOutput

    init(histograms: Bool, directory: DirectorySink) {
        self.histograms = histograms
        self.directory = directory
    }

    func interval(_ interval: SessionInterval) throws {
        let text = IntervalText(interval: interval.counts, isTotal: false, tableRows: output.tableRows)
        var lines: [Line] = []
        for (process, target) in interval.targets.enumerated() {
            lines.append(Line(bold: interval.time.timeOfDay, "  " + sessionTitle(target)))
            lines += text.tables(process: process, waits: 3)
            if histograms { lines += text.histograms(process: process) }
        }
        let share = interval.ownCPU.seconds / max(interval.counts.time.seconds, 1e-9) * 100
        lines.append("\(text.lostText) · kiln: \(oneDecimal(share)) % of a core, \(interval.ownPeakRSS >> 20) MiB")
        try output.write(lines + [Line()])
    }

    func end(_ result: SessionResult) throws {
        var lines: [Line] = []
        for record in result.records { lines += SessionText(record).lines }
        if let record = result.records.first { lines += SessionText(record).losses }
        try output.write(lines + directory.wroteLines)
    }

    private func oneDecimal(_ value: Double) -> String { "\((value * 10).rounded() / 10)" }
}
