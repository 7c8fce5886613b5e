import ArgumentParser
import Glibc

/// Something kiln could not do: one line that says what, where, why and what to do next.
struct Failure: Error, CustomStringConvertible {
    var description: String

    init(_ description: String) { self.description = description }
}

extension ParsableCommand {
    /// Run `body`; an error becomes a line on standard error and exit status 1.
    func reportingErrors(_ body: () throws -> Void) throws {
        do {
            try body()
        } catch let code as ExitCode {
            throw code
        } catch is OutputClosed {
            throw ExitCode(128 + SIGPIPE)  // what a shell says of a program that the signal ended
        } catch {
            say("kiln: \(error)")
            throw ExitCode(1)
        }
    }
}

/// Talk: a line on standard error.
func say(_ line: String) {
    _ = try? Output.standardError.write(line + "\n")
}
