import KilnKernel
import KilnModel

/// Executed programs as lines on standard output, each when it has ended; losses by name on standard error.
final class ExecSink: Sink {
    /// The format of a line, and when it is printed.
    struct Form {
        let json: Bool
        /// Prints a program when it begins; how it ends is then not printed.
        let atOnce: Bool
        /// The largest number of lines.
        let limit: Int?
    }

    private let form: Form
    private let users = UserNames()
    private var lines: EventLines
    /// Programs that have not ended, by their number.
    private var running: [UInt64: ExecutedProgram] = [:]
    /// Those that ran when the kernel side was stopped.
    private let atEnd: () -> Set<UInt64>

    /// `runningAtEnd`: the numbers of the programs that run, at the end of the session.
    init(_ form: Form, runningAtEnd: @escaping () -> Set<UInt64>) {
        self.form = form
        lines = EventLines(json: form.json, limit: form.limit)
        atEnd = runningAtEnd
    }

    /// Prints what has ended or failed. Throws `EndOfSession` with the last line that `--limit` allows.
    func write(_ records: [ExecutionRecord]) throws {
        var ended: [(ExecutedProgram, ExecutionRow.Ending?)] = []
        for record in records {
            switch record {
            case .failed(let program): ended.append((program, nil))
            case .began(let program) where form.atOnce: ended.append((program, nil))
            case .began(let program): running[program.number] = program
            case .ended(let number, let at, let end):
                guard let program = running.removeValue(forKey: number) else { continue }
                ended.append((program, .init(end, ran: at - program.at)))
            }
        }
        try write(ended)
    }

    private func write(_ programs: [(ExecutedProgram, ExecutionRow.Ending?)]) throws {
        try lines.write(programs, at: { $0.0.at }) { program, time in
            ExecutionRow(program.0, time: time, user: users[program.0.user], ending: program.1)
        } line: {
            $0.line
        }
    }

    /// The programs that still run, in the order in which they began.
    func end(_ result: SessionResult) throws {
        let now = MonotonicClock.now(), alive = atEnd()
        let rest = running.values.sorted { $0.number < $1.number }
        do {
            try write(rest.map { ($0, alive.contains($0.number) ? .init(.running, ran: now - $0.at) : .init(.unknown, ran: nil)) })
        } catch is EndOfSession {}
        try lines.end(result)
    }
}
