import Glibc
import PrintableText
import SystemPackage

/// A line of text for people. It may contain names that others chose, with control characters or line ends: `Output` makes every line
/// printable, so callers need not.
struct Line: Equatable, ExpressibleByStringInterpolation {
    /// The beginning of the line, in bold on a terminal.
    var bold: String
    /// The rest of the line.
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

    /// The same lines with the first one, the table's header, in bold.
    static func table(_ lines: [String]) -> [Line] {
        lines.enumerated().map { $0 == 0 ? Line(bold: $1) : Line($1) }
    }
}

/// An open file to which text is written. A write is complete or throws. Text for people is written as lines; a result (JSON, folded
/// stacks, a picture) is written as bytes, which its writer has made printable.
struct Output {
    let descriptor: FileDescriptor
    let isTerminal: Bool

    static let standardOutput = Output(descriptor: .standardOutput)
    static let standardError = Output(descriptor: .standardError)

    init(descriptor: FileDescriptor) {
        self.descriptor = descriptor
        isTerminal = isatty(descriptor.rawValue) == 1 || (descriptor == .standardOutput && Self.terminalElsewhere != nil)
    }

    /// The rows for a table on the terminal of another host, which kiln there has told (`RemoteSession`); nil: there is none.
    private static let terminalElsewhere: Int? = getenv(RemoteSession.terminalRows).flatMap { Int(String(cString: $0)) }

    /// The largest number of rows in a table. On a terminal, an interval fits the window: it has two tables of commands and about ten other
    /// lines.
    var tableRows: Int {
        if let rows = Self.terminalElsewhere { return rows }
        var window = winsize()
        guard isTerminal, ioctl(descriptor.rawValue, UInt(TIOCGWINSZ), &window) == 0, window.ws_row != 0 else { return 20 }
        return max(5, (Int(window.ws_row) - 10) / 2)
    }

    /// Throws `OutputClosed` if the reader of a pipe has closed it.
    func write(_ lines: [Line]) throws { try write(Array(text(of: lines).utf8)) }

    func write(_ bytes: [UInt8]) throws {
        ProgressLine.clear()
        try put(bytes)
    }

    private func put(_ bytes: [UInt8]) throws {
        do {
            try descriptor.writeAll(bytes)
        } catch Errno.brokenPipe {
            throw OutputClosed()
        } catch {
            throw Failure("cannot write standard output: \(error). Redirect it to another file, or free space there.")
        }
    }

    /// A progress line, which the next one overwrites, on a terminal.
    func write(progress line: Line) throws { try put([UInt8(ascii: "\r")] + text(of: [line]).utf8.dropLast()) }

    /// Adds the only control characters that reach the terminal.
    func text(of lines: [Line]) -> String {
        lines.map { line in
            let bold = line.bold.printable
            return (isBold && !bold.isEmpty ? "\u{1b}[1m\(bold)\u{1b}[0m" : bold) + line.text.printable + "\n"
        }.joined()
    }

    /// On a terminal, unless NO_COLOR is set (https://no-color.org).
    var isBold: Bool { isTerminal && !(getenv("NO_COLOR").map { $0.pointee != 0 } ?? false) }

    /// Throws if standard output can't be written. Called before anything is attached.
    static func requireStandardOutput() throws {
        let flags = fcntl(STDOUT_FILENO, F_GETFL)
        guard flags < 0 || flags & closedMark != 0 || flags & O_ACCMODE == O_RDONLY else { return }
        throw Failure("cannot write standard output: it is closed, or open for reading only. Redirect it: `> /dev/null` discards it.")
    }

    /// Opens placeholders for closed standard descriptors. Otherwise the next file that kiln opens becomes standard output, and tables are
    /// printed into it.
    static func occupyClosedDescriptors() {
        for descriptor in STDIN_FILENO...STDERR_FILENO where fcntl(descriptor, F_GETFD) < 0 { _ = open("/", closedMark) }
    }

    /// O_PATH marks the placeholder: it can be neither read nor written.
    private static let closedMark: Int32 = 0o10_000_000
}

/// The reader of standard output has closed it. The session ends in order.
struct OutputClosed: Error {}
