import KilnKernel
import KilnModel
import PrintableText

/// The lines of a trace of single events, as text or JSON, up to a limit, and what is said at the end.
struct EventLines {
    let json: Bool
    /// The largest number of lines.
    let limit: Int?
    private let output = Output.standardOutput
    private var written = 0
    private var times = LogTimes()

    init(json: Bool, limit: Int?) {
        self.json = json
        self.limit = limit
    }

    /// Prints events. Throws `EndOfSession` with the last line that the limit allows.
    ///
    /// - Parameters:
    ///   - moment: The time of an event.
    ///   - row: Makes its row; gets its time as RFC 3339 has it.
    ///   - line: A row as text, without the time.
    mutating func write<Event, Row: Encodable>(
        _ events: [Event], at moment: (Event) -> Nanoseconds, _ row: (Event, String) -> Row, line: (Row) -> String
    ) throws {
        let wanted = events.prefix(limit.map { max(0, $0 - written) } ?? events.count)
        // The offset is read for each batch, because the wall clock may be set at any time.
        let clock = MonotonicOffset()
        if json {
            try output.write(jsonLines(wanted.map { row($0, clock.wallTime(of: moment($0)).rfc3339Nanoseconds) }))
        } else {
            // Written as bytes, because lines by the hundred thousand a second are asked for.
            var text: [UInt8] = []
            text.reserveCapacity(wanted.count * 128)
            for event in wanted {
                text += times.text(clock.wallTime(of: moment(event))).utf8
                text.append(UInt8(ascii: " "))
                text += line(row(event, "")).printable.utf8
                text.append(UInt8(ascii: "\n"))
            }
            try output.write(text)
        }
        written += wanted.count
        if let limit, written >= limit { throw EndOfSession(.lineLimit) }
    }

    /// Says how many lines there are and what was lost. With JSON the last line has it, too: a program may read only standard output.
    func end(_ result: SessionResult) throws {
        guard let record = result.records.first else { return }
        let losses = SessionText(record).losses
        say(Line("\(counted(UInt64(written), "line", "lines")); \(losses.first ?? "")"))
        for loss in losses.dropFirst() { say(Line(loss)) }
        guard json else { return }
        try output.write(jsonLines([EventTraceEnd(durationS: record.durationS, lines: UInt64(written), lost: record.lost)]))
    }
}
