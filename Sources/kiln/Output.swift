import Glibc
import SystemPackage

/// An open file that text is written to, whole or not at all.
struct Output {
    let descriptor: FileDescriptor
    let isTerminal: Bool

    static let standardOutput = Output(descriptor: .standardOutput)
    static let standardError = Output(descriptor: .standardError)

    init(descriptor: FileDescriptor) {
        self.descriptor = descriptor
        isTerminal = isatty(descriptor.rawValue) == 1
    }

    /// How many rows of a table are shown at most. On a terminal an interval fits the window: it has two tables of commands, and about ten
    /// lines besides.
    var tableRows: Int {
        var window = winsize()
        guard isTerminal, ioctl(descriptor.rawValue, UInt(TIOCGWINSZ), &window) == 0, window.ws_row != 0 else { return 20 }
        return max(5, (Int(window.ws_row) - 10) / 2)
    }

    /// Throws OutputClosed when the reader of a pipe has gone.
    func write(_ text: String) throws {
        try write(Array(text.utf8))
    }

    func write(_ bytes: [UInt8]) throws {
        do {
            try descriptor.writeAll(bytes)
        } catch Errno.brokenPipe {
            throw OutputClosed()
        } catch {
            throw Failure("cannot write standard output: \(error). Send it somewhere else, or free space there.")
        }
    }

    /// Bold where that shows: on a terminal, unless NO_COLOR is set (https://no-color.org).
    func bold(_ text: String) -> String {
        let plain = getenv("NO_COLOR").map { $0.pointee != 0 } ?? false
        return isTerminal && !plain ? "\u{1b}[1m\(text)\u{1b}[0m" : text
    }
}

/// Whoever read standard output has gone: no reason to stop in the middle, but to end.
struct OutputClosed: Error {}
