import ArgumentParser
import KilnModel
import KilnReport
import KilnSessions

/// `kiln report`: prints a recorded session, or compares two.
struct ReportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "report",
        abstract: "Prints a recorded session or draws it as a page, or compares two.",
        discussion: """
            With two directories of `kiln redis`, the numbers of commands are compared interval by interval. A change is printed if it is larger than the variation \
            within each session. `kiln diff A/stacks.folded B/stacks.folded` compares the stacks. --html makes a page: a heatmap of latencies for each command, and \
            the flamegraph of what is selected in it. It is one file, and needs no network.
            """
    )

    @Argument(help: ArgumentHelp("A directory that a session of kiln wrote.", valueName: "dir"), completion: .directory)
    var directory: String?

    @Argument(help: ArgumentHelp("A second session to compare with the first.", valueName: "dir2"), completion: .directory)
    var second: String?

    @Flag(help: "Write a page instead of text: report.html in the session's directory, comparison.html in the second one's.")
    var html = false

    @Option(name: .shortAndLong, help: ArgumentHelp("Write the page here; - for standard output.", valueName: "file"), completion: .file())
    var output: String?

    @Flag(help: "Only print the content security policy under which all pages of this version work, and end.")
    var csp = false

    func validate() throws {
        if output != nil, !html { throw ValidationError("--output is for --html: without it, the report is printed.") }
        if directory == nil, !csp { throw ValidationError("Give a directory that a session of kiln wrote.") }
    }

    func run() throws {
        try reportingErrors("reading the session") {
            if csp { return try Output.standardOutput.write([Line(ReportPage.contentSecurityPolicy)]) }
            guard let directory else { return }
            if html { return try writePage(of: directory) }
            let output = Output.standardOutput
            let first = try ReportSession.record(DirectoryFiles(place: directory))
            guard let second else {
                let text = SessionText(first)
                return try output.write(text.lines + text.losses)
            }
            let other = try ReportSession.record(DirectoryFiles(place: second))
            let comparison = SessionComparison(try recorded(first, directory), try recorded(other, second))
            try output.write(ComparisonText(first, other, comparison).lines)
        }
    }

    private func writePage(of directory: String) throws {
        for place in [directory] + (second.map { [$0] } ?? []) { try refuseOutput(output, onto: DirectoryFiles(place: place).inputs) }
        let page: [UInt8]
        if let second {
            page = try reportPage(of: directory, and: second)
        } else {
            page = try reportPage(of: DirectoryFiles(place: directory))
        }
        if let output {
            try writePieces(to: output) { try $0(page) }
            if output != "-" { say("kiln: wrote \(output)") }
            return
        }
        let file = second.map { "\($0)/comparison.html" } ?? "\(directory)/report.html"
        try replaceFile(file, page)
        say("kiln: wrote \(file)")
    }

    private func recorded(_ record: SessionRecord, _ directory: String) throws -> SessionComparison.Recorded {
        guard let rows = try ReportSession.rows(DirectoryFiles(place: directory)) else {
            throw Failure(
                "cannot compare \(directory): it has no commands.jsonl, so it is no session of `kiln redis`, whose commands are compared. `kiln diff` compares stacks."
            )
        }
        return SessionComparison.Recorded(rows: rows, duration: record.durationS, interval: record.intervalS)
    }
}

/// A comparison of two sessions as text.
struct ComparisonText {
    private let first, second: SessionRecord
    private let comparison: SessionComparison

    init(_ first: SessionRecord, _ second: SessionRecord, _ comparison: SessionComparison) {
        self.first = first
        self.second = second
        self.comparison = comparison
    }

    var lines: [Line] {
        var lines = zip(["A", "B"], [first, second]).map { name, record -> Line in
            let target = record.target
            let title = sessionTitle(comm: target.comm, pid: target.pid, ports: target.ports, container: target.container)
            return "\(name)  \(title), \(record.started), \(significantSeconds(record.durationS)), hook \(record.hook)"
        }
        var table = Table(["COMMAND", "", "A", "B", "change", "noise"], leftAligned: 2)
        for row in comparison.moved {
            table.add([row.command, row.what, row.text(row.first), row.text(row.second), percent(row.change), "+-\(percent(row.noise, sign: false))"])
        }
        if comparison.moved.isEmpty {
            lines.append("nothing moved beyond noise, of \(comparison.compared) numbers compared")
        } else {
            lines += [Line].table(table.lines)
            lines.append("\(comparison.moved.count) of \(comparison.compared) numbers moved beyond noise")
        }
        if !comparison.unclear.isEmpty {
            lines.append("too few intervals to compare: \(comparison.unclear.joined(separator: ", "))")
        }
        for (name, commands) in [("A", comparison.onlyFirst), ("B", comparison.onlySecond)] where !commands.isEmpty {
            lines.append("only in \(name): \(commands.joined(separator: ", "))")
        }
        return lines + errorLines + lossLines
    }

    private func percent(_ share: Double, sign: Bool = true) -> String {
        guard share.isFinite else { return "new" }
        let rounded = (share * 1000).rounded() / 10
        return (sign && rounded > 0 ? "+" : "") + "\(rounded) %"
    }

    private var errorLines: [String] {
        let names = Set(first.commands.keys).union(second.commands.keys).sorted()
        let changed = names.compactMap { name -> String? in
            let one = first.commands[name]?.errorWords ?? [:], two = second.commands[name]?.errorWords ?? [:]
            let words = Set(one.keys).union(two.keys).filter { one[$0] != two[$0] }.sorted()
            return words.isEmpty ? nil : words.map { "\(name) \($0) \(one[$0] ?? 0) -> \(two[$0] ?? 0)" }.joined(separator: ", ")
        }
        return changed.isEmpty ? [] : ["errors: " + changed.joined(separator: ", ")]
    }

    private var lossLines: [String] {
        guard first.lost != second.lost else { return [] }
        return zip(["A", "B"], [first, second]).map { name, record in
            "lost in \(name): " + (record.lost.isEmpty ? "nothing" : record.lost.sorted { $0.key < $1.key }.map { "\($1) \($0)" }.joined(separator: ", "))
        }
    }
}
