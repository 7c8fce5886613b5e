import ArgumentParser
import Glibc
import KilnKernel
import SystemPackage

/// Makes a process for a command and holds it before its start. `errors` as in `ChildCommand`.
func waitingCommand(_ words: [String], errors: Int32? = nil) throws -> ChildCommand {
    do { return try ChildCommand(bytes(of: words), errors: errors) } catch { throw Failure("cannot make a process for `\(words[0])`: \(error).") }
}

/// The bytes of the last words of kiln's own arguments: a string has only UTF-8. Of other words, their UTF-8.
private func bytes(of words: [String]) -> [[CChar]] {
    let given = UnsafeBufferPointer(start: CommandLine.unsafeArgv, count: Int(CommandLine.argc)).suffix(words.count)
    guard given.count == words.count else { return words.map { Array($0.utf8CString) } }
    return zip(words, given).map { word, given in
        guard let given, String(cString: given) == word else { return Array(word.utf8CString) }
        return Array(UnsafeBufferPointer(start: given, count: strlen(given) + 1))
    }
}

/// Starts the command. If that fails, kiln's exit status is that of a shell: 127 if the program does not exist, 126 if it can't be
/// executed.
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

/// Exits with the status of a command that ended the session, like a shell: 128 plus the number of the signal that ended it.
func passOnStatus(of command: ChildCommand?) throws {
    guard let status = command?.end(), status != 0 else { return }
    say("kiln: the command ended with status \(status)")
    throw ExitCode(status)
}
