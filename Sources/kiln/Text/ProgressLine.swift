import Glibc
import Synchronization

/// A line on the terminal while something takes longer than two seconds, so that nobody takes it for hanging. Whatever is printed next replaces it.
enum ProgressLine {
    private struct State {
        /// Nil: nothing takes time.
        var what: String?
        /// Characters on the terminal.
        var length = 0
    }

    private static let state = Mutex(State())
    private static let firstAfter = 2

    /// Says `what` is done, in the present tense, for as long as it takes. Only where standard error is a terminal.
    static func during<Result>(_ what: String, _ body: () throws -> Result) rethrows -> Result {
        guard Output.standardError.isTerminal else { return try body() }
        state.withLock { $0 = State(what: what) }
        let thread = BackgroundThread.started(show)
        defer {
            state.withLock { $0.what = nil }
            clear()
            thread?.join()
        }
        return try body()
    }

    /// Removes the line, before something else is printed.
    static func clear() {
        state.withLock { state in
            guard state.length > 0 else { return }
            _ = try? Output.standardError.write(progress: Line(String(repeating: " ", count: state.length)))
            _ = try? Output.standardError.write(progress: "")
            state.length = 0
        }
    }

    private static func show() {
        for tick in 1... {
            usleep(100_000)
            let isDone = state.withLock { state in
                guard let what = state.what else { return true }
                guard tick % 10 == 0, tick / 10 >= firstAfter else { return false }
                let line = "kiln: \(what): \(tick / 10) s"
                _ = try? Output.standardError.write(progress: Line(line))
                state.length = line.count
                return false
            }
            if isDone { return }
        }
    }
}
