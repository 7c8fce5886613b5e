import KilnModel

/// Calls of functions or system calls as text.
protocol CallText {
    var table: [Line] { get }
    /// The complete histogram of each shown row.
    var histograms: [Line] { get }
}

/// Functions or system calls as tables on standard output: after each interval, and at the end for the whole session.
struct CallTableSink: Sink {
    /// The number of rows of a table; nil: as many as fit.
    private let top: Int?
    private let histograms: Bool
    /// The last lines of the output name its files.
    private let directory: DirectorySink
    private let text: (Snapshot, Int) -> any CallText
    private let output = Output.standardOutput

    /// `text`: of an interval's counts, with this number of rows.
    init(top: Int?, histograms: Bool, directory: DirectorySink, text: @escaping (Snapshot, Int) -> any CallText) {
        self.top = top
        self.histograms = histograms
        self.directory = directory
        self.text = text
    }

    func interval(_ interval: SessionInterval) throws {
        let text = text(interval.counts, top ?? output.tableRows)
        var lines = [Line(bold: interval.time.timeOfDay, "  " + interval.targets.map(sessionTitle).joined(separator: ", "))] + text.table
        if histograms { lines += text.histograms }
        if !interval.counts.losses.isEmpty { lines.append("\(IntervalText(interval: interval.counts, isTotal: false, tableRows: 0).lostText)") }
        try output.write(lines + [Line()])
    }

    func end(_ result: SessionResult) throws {
        var lines: [Line] = []
        for record in result.records {
            let session = SessionText(record, tableRows: top, histograms: histograms)
            lines += session.lines
            lines += session.losses
        }
        try output.write(lines + directory.wroteLines)
    }
}
