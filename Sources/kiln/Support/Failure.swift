import ArgumentParser
import Glibc
import KilnKernel
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

/// What the C library says of an error: `No such process`.
func errorText(_ code: Int32) -> String {
    strerror(code).map { String(cString: $0) } ?? "errno \(code)"
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
            say("kiln: ", error)
            throw ExitCode((error as? Failure)?.status ?? 1)
        }
    }
}

/// Talk: a line on standard error.
func say(_ line: Line) { say([line]) }

func say(_ lines: [Line]) { _ = try? Output.standardError.write(lines) }

/// What went wrong, behind what that is of. Lines below the first are of errors that have made the names in them printable, or hold none:
/// what there is to choose from, and what the kernel's verifier says.
func say(_ beginning: String, _ error: any Error) {
    let hasLines = error is DiscoveryError || error is KernelError
    let lines = hasLines ? "\(error)".split(separator: "\n").map(String.init) : ["\(error)"]
    say([Line(beginning + (lines.first ?? ""))] + Array(lines.dropFirst()))
}
