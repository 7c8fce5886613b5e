import KilnKernel
import KilnModel

/// Single system calls as lines on standard output, in the order in which they returned; losses by name on standard error.
final class CallSink: Sink {
    private var lines: EventLines
    private var arguments = CallArguments()

    init(json: Bool, limit: Int?) { lines = EventLines(json: json, limit: limit) }

    /// Throws `EndOfSession` with the last line that `--limit` allows.
    func write(_ calls: [TracedCall]) throws {
        var arguments = arguments
        defer { self.arguments = arguments }
        try lines.write(calls, at: { $0.entered ?? $0.ended }) {
            CallRow($0, time: $1, takes: arguments.of($0.call))
        } line: {
            $0.line
        }
    }

    func begin(_ start: SessionStart) {
        if !arguments.isKnown {
            say(
                "kiln: all calls have six arguments, because tracefs, which knows how many they take, is not mounted: mount -t tracefs tracefs /sys/kernel/tracing"
            )
        }
    }

    func end(_ result: SessionResult) throws { try lines.end(result) }
}
