import PrintableText

/// Columns of text: the first `leftAligned` columns to the left, the others to the right.
struct Table {
    private var rows: [[String]]
    private let leftAligned: Int

    init(_ header: [String], leftAligned: Int) {
        rows = [header]
        self.leftAligned = leftAligned
    }

    /// Makes cells printable first, because a column's width is that of the printed text.
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

    /// Padded with blanks after or before the text.
    func padded(to width: Int) -> String { self + String(repeating: " ", count: max(0, width - count)) }
    func paddedLeft(to width: Int) -> String { String(repeating: " ", count: max(0, width - count)) + self }
}
