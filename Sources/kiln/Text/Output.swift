import Glibc
import PrintableText
import SystemPackage

/// A line for people. What it says may hold names that strangers chose: `Output` makes all of it printable, its line ends too, so that
/// nobody has to think of that where a line is put together.
struct Line: Equatable, ExpressibleByStringInterpolation {
    /// How it begins, in bold where that shows.
    var bold: String
    /// What follows.
    var text: String

    init(bold: String = "", _ text: String = "") {
        self.bold = bold
        self.text = text
    }

    init(stringLiteral text: String) { self.init(text) }
}

extension Array where Element == Line {
    static func + (lines: [Line], more: [String]) -> [Line] { lines + more.map { Line($0) } }
    static func += (lines: inout [Line], more: [String]) { lines = lines + more }

    /// The same lines with the first one, a table's header, in bold.
    static func table(_ lines: [String]) -> [Line] {
        lines.enumerated().map { $0 == 0 ? Line(bold: $1) : Line($1) }
    }
}

/// An open file that text is written to, whole or not at all. Text for people is written as lines; a result (JSON, folded stacks, a
/// picture) as the bytes that its writer has made printable.
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
    func write(_ lines: [Line]) throws { try write(Array(text(of: lines).utf8)) }

    func write(_ bytes: [UInt8]) throws {
        do {
            try descriptor.writeAll(bytes)
        } catch Errno.brokenPipe {
            throw OutputClosed()
        } catch {
            throw Failure("cannot write standard output: \(error). Send it somewhere else, or free space there.")
        }
    }

    /// A line that the next one takes the place of, on a terminal.
    func write(progress line: Line) throws { try write([UInt8(ascii: "\r")] + text(of: [line]).utf8.dropLast()) }

    /// The only characters that a terminal obeys are those that are added here.
    func text(of lines: [Line]) -> String {
        lines.map { line in
            let bold = line.bold.printable
            return (isBold && !bold.isEmpty ? "\u{1b}[1m\(bold)\u{1b}[0m" : bold) + line.text.printable + "\n"
        }.joined()
    }

    /// On a terminal, unless NO_COLOR is set (https://no-color.org).
    private var isBold: Bool { isTerminal && !(getenv("NO_COLOR").map { $0.pointee != 0 } ?? false) }

    /// Refuses a standard output that nothing can be written to: before anything is attached.
    static func requireStandardOutput() throws {
        let flags = fcntl(STDOUT_FILENO, F_GETFL)
        guard flags < 0 || flags & closedMark != 0 || flags & O_ACCMODE == O_RDONLY else { return }
        throw Failure("cannot write standard output: it is closed, or open for reading only. Send it somewhere: `> /dev/null` drops it.")
    }

    /// Standard descriptors that are closed stay as good as closed, but are no longer free: the next file that kiln opens would become
    /// standard output, and tables would be printed into it.
    static func occupyClosedDescriptors() {
        for descriptor in STDIN_FILENO...STDERR_FILENO where fcntl(descriptor, F_GETFD) < 0 { _ = open("/", closedMark) }
    }

    /// O_PATH: a descriptor that can neither be read nor written.
    private static let closedMark: Int32 = 0o10_000_000
}

/// Whoever read standard output has gone: no reason to stop in the middle, but to end.
struct OutputClosed: Error {}
