import ArgumentParser
import Glibc
import KilnTargets

/// Something kiln could not do: one line that says what, where, why and what to do next.
struct Failure: Error, CustomStringConvertible {
    var description: String
    /// kiln's exit status.
    var status: Int32

    init(_ description: String, status: Int32 = 1) {
        self.description = description
        self.status = status
    }
}

extension ParsableCommand {
    /// Run `body`; an error becomes a line on standard error and an exit status.
    func reportingErrors(_ body: () throws -> Void) throws {
        do {
            try body()
        } catch let code as ExitCode {
            throw code
        } catch is OutputClosed {
            throw ExitCode(128 + SIGPIPE)  // what a shell says of a program that the signal ended
        } catch {
            say(error)
            throw ExitCode((error as? Failure)?.status ?? 1)
        }
    }
}

/// Talk: a line on standard error.
func say(_ line: Line) { say([line]) }

func say(_ lines: [Line]) { _ = try? Output.standardError.write(lines) }

/// An error. Of those that list what there is to choose from, each choice has a line: they have made the names in them printable.
private func say(_ error: any Error) {
    let lines = error is DiscoveryError ? "\(error)".split(separator: "\n").map(String.init) : ["\(error)"]
    say([Line("kiln: \(lines.first ?? "")")] + Array(lines.dropFirst()))
}
