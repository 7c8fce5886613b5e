import KilnKernel
import KilnModel
import KilnTargets

/// Traced requests as lines.
struct TraceText {
    let options: TraceRedisCommand
    let pids: [Int32]

    init(_ options: TraceRedisCommand, targets: [Target]) {
        self.options = options
        pids = targets.map(\.pid)
    }

    func lines(_ requests: ArraySlice<TracedRequest>) throws -> [UInt8] {
        // Asked for again each time: the wall clock may have been set.
        let clock = MonotonicOffset()
        if options.json { return try jsonLines(requests.map { row($0, clock.wallTime(of: $0.began).rfc3339Nanoseconds) }) }
        var text: [UInt8] = []
        for request in requests {
            let time = clock.wallTime(of: request.began)
            let row = row(request, "")
            let line = options.brief ? "\(time.dateAndTime) \(row.brief)\n" : "\(time.dateAndTime).\(time.microseconds) \(row.line)\n"
            text += line.utf8
        }
        return text
    }

    private func row(_ request: TracedRequest, _ time: String) -> TraceRow {
        let pid = pids.indices.contains(request.process) ? pids[request.process] : 0
        return TraceRow(request, time: time, pid: pid, withoutArguments: options.noArguments)
    }
}

extension TracedRequest {
    /// When it was read, or pushed.
    var began: Nanoseconds { received ?? sent ?? .zero }
}
