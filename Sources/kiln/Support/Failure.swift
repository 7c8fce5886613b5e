import ArgumentParser
import Glibc
import KilnKernel
import KilnTargets

/// An error as one line: what failed, where, why, and what to do next.
struct Failure: Error, CustomStringConvertible {
    var description: String
    /// kiln's exit status.
    var status: Int32

    init(_ description: String, status: Int32 = 1) {
        self.description = description
        self.status = status
    }
}

/// The C library's text for an error: `No such process`.
func errorText(_ code: Int32) -> String {
    strerror(code).map { String(cString: $0) } ?? "errno \(code)"
}

extension ParsableCommand {
    /// Runs `body`. An error becomes a line on standard error and an exit status.
    ///
    /// - Parameter work: What it does, for a line on the terminal if that takes long: `drawing`.
    func reportingErrors(_ work: String? = nil, _ body: () throws -> Void) throws {
        do {
            if let work { try ProgressLine.during(work, body) } else { try body() }
        } catch let code as ExitCode {
            throw code
        } catch is OutputClosed {
            throw ExitCode(128 + SIGPIPE)  // the status that a shell gives for a program ended by this signal
        } catch {
            say("kiln: ", error)
            throw ExitCode((error as? Failure)?.status ?? 1)
        }
    }
}

/// Prints a line on standard error.
func say(_ line: Line) { say([line]) }

func say(_ lines: [Line]) { _ = try? Output.standardError.write(lines) }

/// Prints an error after the words that say where it happened. Only discovery and kernel errors may have several lines (candidates, or the
/// verifier's log); they contain no unprintable names.
func say(_ beginning: String, _ error: any Error) {
    let hasLines = error is DiscoveryError || error is KernelError
    let lines = hasLines ? "\(error)".split(separator: "\n").map(String.init) : ["\(error)"]
    say([Line(beginning + (lines.first ?? ""))] + Array(lines.dropFirst()))
}
