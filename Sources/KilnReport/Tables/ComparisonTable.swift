import KilnModel
import KilnSessions

extension ComparisonData {
    init(_ comparison: SessionComparison, _ records: [SessionRecord]) {
        moved = TableData(
            title: "What moved beyond noise",
            about:
                "\(comparison.moved.count) of \(comparison.compared) numbers: they differ by more than three standard errors of the means of their intervals.",
            columns: [
                .init(name: "command", definition: "The command.", kind: "text"), .init(name: "number", definition: "What is compared.", kind: "text"),
                .init(name: "A", definition: "The mean of the first session's intervals.", kind: "mixed"),
                .init(name: "B", definition: "The mean of the second session's intervals.", kind: "mixed"),
                .init(name: "change", definition: "The second divided by the first, less one.", kind: "change"),
                .init(name: "noise", definition: "Two standard errors of the difference divided by the first value.", kind: "share"),
            ],
            rows: comparison.moved.map { row in
                [
                    .text(row.command), .text(row.what), .measured(row.first, row.text(row.first)), .measured(row.second, row.text(row.second)),
                    row.first == 0 ? .measured(.greatestFiniteMagnitude, "new") : .number(row.change), .number(row.noise),
                ]
            })
        var remarks: [String] = []
        if comparison.moved.isEmpty { remarks.append("Nothing moved beyond noise, of \(comparison.compared) numbers compared.") }
        if !comparison.unclear.isEmpty { remarks.append("Too few intervals to compare: \(comparison.unclear.joined(separator: ", ")).") }
        for (name, commands) in [("A", comparison.onlyFirst), ("B", comparison.onlySecond)] where !commands.isEmpty {
            remarks.append("Only in \(name): \(commands.joined(separator: ", ")).")
        }
        self.remarks = remarks.map(shown)
    }
}
