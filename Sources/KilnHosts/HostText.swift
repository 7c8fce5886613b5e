import PrintableText

/// Text of a subcommand on another host, made safe for the terminal here.
///
/// Control characters are shown as escapes (`printable`). Two things that kiln prints itself stay: bold at the beginning of a line (`ESC[1m…ESC[0m`),
/// if the terminal here has it, and a carriage return at the beginning of a progress line. JSON lines and tables of kiln pass unchanged.
public struct HostText: Sendable {
    private let hasBold: Bool
    private let hasProgress: Bool
    /// A path of the other host, and the one here that has the same content.
    public var renamed: (there: String, here: String)?
    private var pending: [UInt8] = []
    /// A text that is not printed before its line ends may not grow without limit.
    private static let longest = 1 << 20

    private static let bold = "\u{1b}[1m", plain = "\u{1b}[0m"

    /// - Parameters:
    ///   - hasBold: The terminal here has bold text.
    ///   - hasProgress: Progress lines are of use: no other host prints on the same terminal.
    public init(hasBold: Bool, hasProgress: Bool = true) { (self.hasBold, self.hasProgress) = (hasBold, hasProgress) }

    /// The lines that are complete with these bytes, without their ends.
    public mutating func lines(adding bytes: [UInt8]) -> [String] {
        pending += bytes
        var lines = pending.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        pending = lines.popLast().map(Array.init) ?? []
        var texts = lines.map(text)
        if pending.count > Self.longest { texts += rest() }
        return texts
    }

    /// What can be printed before the end of its line: a progress line. Nil: nothing.
    public mutating func progress() -> String? {
        guard hasProgress, pending.first == UInt8(ascii: "\r") else { return nil }
        return rest().first
    }

    /// The last line, if it has no end.
    public mutating func rest() -> [String] {
        defer { pending = [] }
        return pending.isEmpty ? [] : [text(pending[...])]
    }

    private func text(_ bytes: ArraySlice<UInt8>) -> String {
        // ssh ends its lines as terminals in raw mode need it.
        let bytes = bytes.last == UInt8(ascii: "\r") && bytes.count > 1 ? bytes.dropLast() : bytes
        var line = Substring(String(decoding: bytes, as: UTF8.self)), beginning = ""
        if let renamed { line = line.replacing(renamed.there, with: renamed.here) }
        if hasProgress, line.hasPrefix("\r") { (line, beginning) = (line.dropFirst(), "\r") }
        if hasBold, line.hasPrefix(Self.bold), let end = line.firstRange(of: Self.plain) {
            beginning += Self.bold + String(line[..<end.lowerBound].dropFirst(Self.bold.count)).printable + Self.plain
            line = line[end.upperBound...]
        }
        return beginning + String(line).printable
    }
}
