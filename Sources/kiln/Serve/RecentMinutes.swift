import KilnModel

/// The rows of the last minutes of the present session, for the report page. Its size is bounded.
///
/// There are two halves. When the second one is full, the first one is dropped, so the page has between one half and both.
final class RecentMinutes {
    private static let halfSeconds = 300.0, halfBytes = 4 << 20

    private struct Half {
        /// What was counted before it began.
        var base: SessionTotals
        /// By instance and file.
        var rows: [String: [String: [UInt8]]] = [:]
        var bytes = 0
    }

    private var halves: [Half] = []
    /// The end of the last interval; nil before the first one of a session.
    private(set) var last: SessionTotals?

    var hasIntervals: Bool { halves.first.map { !$0.rows.isEmpty } ?? false }

    func add(_ interval: SessionInterval, of instances: [String]) {
        defer { last = interval.totals }
        if halves.isEmpty {
            // Of the first interval of a session the beginning isn't known.
            halves = [Half(base: interval.totals)]
            return
        }
        if let open = halves.last, let last, open.bytes > Self.halfBytes || interval.time.sinceEpoch - open.base.time.sinceEpoch > Self.halfSeconds {
            if halves.count == 2 { halves.removeFirst() }
            halves.append(Half(base: last))
        }
        let place = halves.count - 1
        for (instance, lines) in zip(instances, interval.lines) {
            for (name, text) in lines.files {
                halves[place].rows[instance, default: [:]][name, default: []] += text
                halves[place].bytes += text.count
            }
        }
    }

    /// The rows of one server, and what was counted before the first of them.
    func rows(of instance: String) -> (base: SessionTotals?, rows: [String: [UInt8]]) {
        var rows: [String: [UInt8]] = [:]
        for half in halves { for (name, text) in half.rows[instance] ?? [:] { rows[name, default: []] += text } }
        return (halves.first?.base, rows)
    }

    /// The session has ended.
    func forget() {
        halves = []
        last = nil
    }
}
