import ArgumentParser
import KilnKernel
import SystemPackage

/// A command that waits to be started. `errors` as in `ChildCommand`.
func waitingCommand(_ words: [String], errors: Int32? = nil) throws -> ChildCommand {
    do { return try ChildCommand(words, errors: errors) } catch { throw Failure("cannot make a process for `\(words[0])`: \(error).") }
}

/// What can't be started ends kiln as it ends a shell's command: with 127 where there is no such program, with 126 where it can't be executed.
func start(_ command: ChildCommand, _ words: [String]) throws {
    do { try command.start() } catch {
        throw Failure(
            "cannot start `\(words[0])`: \(error). Give a program that exists, by its path or on PATH.",
            status: error == .noSuchFileOrDirectory ? 127 : 126
        )
    }
}

func startedCommand(_ words: [String], errors: Int32? = nil) throws -> ChildCommand {
    let command = try waitingCommand(words, errors: errors)
    try start(command, words)
    return command
}

/// A session that its command has ended has the command's status, as a shell says it: 128 and the signal's number where one ended it.
func passOnStatus(of command: ChildCommand?) throws {
    guard let status = command?.end(), status != 0 else { return }
    say("kiln: the command ended with status \(status)")
    throw ExitCode(status)
}
