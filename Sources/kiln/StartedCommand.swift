import KilnKernel
import SystemPackage

/// A command that waits to be started. `errors` as in `ChildCommand`.
func waitingCommand(_ words: [String], errors: Int32? = nil) throws -> ChildCommand {
    do { return try ChildCommand(words, errors: errors) } catch { throw failure(words, error) }
}

func start(_ command: ChildCommand, _ words: [String]) throws {
    do { try command.start() } catch { throw failure(words, error) }
}

func startedCommand(_ words: [String], errors: Int32? = nil) throws -> ChildCommand {
    let command = try waitingCommand(words, errors: errors)
    try start(command, words)
    return command
}

private func failure(_ words: [String], _ error: Errno) -> Failure {
    Failure("cannot start `\(words[0])`: \(error). Give a program that exists, by its path or on PATH.")
}
