import PrintableText

/// Columns of text: the first ones to the left, numbers to the right.
struct Table {
    private var rows: [[String]]
    private let leftAligned: Int

    init(_ header: [String], leftAligned: Int) {
        rows = [header]
        self.leftAligned = leftAligned
    }

    /// Cells are made printable here, so that they are as wide as they show.
    mutating func add(_ row: [String]) { rows.append(row.map(\.printable)) }

    var lines: [String] {
        let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
        return rows.map { row in
            row.enumerated().map { column, cell in
                column < leftAligned ? cell.padded(to: widths[column]) : cell.paddedLeft(to: widths[column])
            }.joined(separator: "  ")
        }
    }
}

extension String {
    var trimmedRight: String {
        var trimmed = self[...]
        while trimmed.last == " " { trimmed.removeLast() }
        return String(trimmed)
    }

    /// With blanks behind it, or before it, as wide as a column.
    func padded(to width: Int) -> String { self + String(repeating: " ", count: max(0, width - count)) }
    func paddedLeft(to width: Int) -> String { String(repeating: " ", count: max(0, width - count)) + self }
}
