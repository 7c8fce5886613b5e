/// The reason why a session ended, as session.json has it.
enum SessionEnding: String {
    /// `--duration` has passed.
    case duration
    /// Ctrl-C.
    case interrupted
    case terminated
    case commandEnded = "command ended"
    case targetExited = "target exited"
    /// The reader of standard output has closed it.
    case outputClosed = "output closed"
    case error
    /// The targets speak another protocol. The session leaves no files.
    case nothingToMeasure = "nothing to measure"
    /// `--limit`: the number of lines was reached.
    case lineLimit = "line limit"
    /// `kiln serve`: another session follows, with other targets or other probes.
    case replaced
}
