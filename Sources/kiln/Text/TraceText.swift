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

    func write(_ requests: ArraySlice<TracedRequest>, to output: Output) throws {
        // Asked for again each time: the wall clock may have been set.
        let clock = MonotonicOffset()
        if options.json { return try output.write(jsonLines(requests.map { row($0, clock.wallTime(of: $0.began).rfc3339Nanoseconds) })) }
        try output.write(requests.map { request -> Line in
            let time = clock.wallTime(of: request.began)
            let row = row(request, "")
            return options.brief ? "\(time.dateAndTime) \(row.brief)" : "\(time.dateAndTime).\(time.microseconds) \(row.line)"
        })
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
