/// Why a session has ended, as session.json says it.
enum SessionEnding: String {
    /// `--duration` has passed.
    case duration
    /// By Ctrl-C.
    case interrupted
    case terminated
    case commandEnded = "command ended"
    case targetExited = "target exited"
    /// `--max-cost`: there was nothing left to give up.
    case costLimit = "cost limit"
    /// The reader of standard output has gone.
    case outputClosed = "output closed"
    case error
    /// The targets speak another protocol: there is nothing to measure. The session leaves no files.
    case nothingToMeasure = "nothing to measure"
    /// `--limit`: as many lines as were asked for.
    case lineLimit = "line limit"
}
