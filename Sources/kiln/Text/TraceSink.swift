import KilnKernel
import KilnModel

/// Traced requests as lines on standard output; losses by name on standard error.
final class TraceSink: Sink {
    /// The format of a line.
    struct Form {
        let json: Bool
        /// Time, command and latency only.
        let brief: Bool
        /// Leaves out arguments and values of replies.
        let withoutArguments: Bool
        /// The largest number of lines.
        let limit: Int?
    }

    private let form: Form
    private let pids: [Int32]
    private let wire: WireProtocol
    private let output = Output.standardOutput
    /// The number of printed lines.
    private var lines = 0

    init(_ form: Form, pids: [Int32], _ wire: WireProtocol) {
        self.wire = wire
        self.form = form
        self.pids = pids
    }

    /// Prints requests. Throws `EndOfSession` with the last line that `--limit` allows.
    func write(_ requests: [TracedRequest]) throws {
        let wanted = requests.prefix(form.limit.map { $0 - lines } ?? requests.count)
        // The offset is read for each batch, because the wall clock may be set at any time.
        let clock = MonotonicOffset()
        if form.json {
            try output.write(jsonLines(wanted.map { row($0, clock.wallTime(of: $0.began).rfc3339Nanoseconds) }))
        } else {
            try output.write(
                wanted.map { request -> Line in
                    let time = clock.wallTime(of: request.began), row = row(request, "")
                    return form.brief ? "\(time.dateAndTime) \(row.brief)" : "\(time.dateAndTime).\(time.microseconds) \(row.line)"
                })
        }
        lines += wanted.count
        if let limit = form.limit, lines >= limit { throw EndOfSession(.lineLimit) }
    }

    private func row(_ request: TracedRequest, _ time: String) -> TraceRow {
        let pid = pids.indices.contains(request.process) ? pids[request.process] : 0
        return TraceRow(request, time: time, pid: pid, withoutArguments: form.withoutArguments, wire.payload)
    }

    /// With `--json` the last line has the losses, too: a program may read only standard output.
    func end(_ result: SessionResult) throws {
        guard let record = result.records.first else { return }
        let calls = result.records.reduce(UInt64(0)) { $0 + $1.commands.values.reduce(0) { $0 + $1.count } }
        let losses = SessionText(record).losses
        say(Line("\(counted(UInt64(lines), "line", "lines")), \(counted(calls, "request", "requests")) read; \(losses.first ?? "")"))
        for loss in losses.dropFirst() { say(Line(loss)) }
        guard form.json else { return }
        try output.write(
            jsonLines([
                TraceEnd(
                    duration: Nanoseconds(UInt64(saturating: record.durationS * 1e9)), traced: UInt64(lines), requests: calls, lost: record.lost
                )
            ]))
    }
}

extension TracedRequest {
    /// The time of its read; for a push message, of its send.
    fileprivate var began: Nanoseconds { received ?? sent ?? .zero }
}
