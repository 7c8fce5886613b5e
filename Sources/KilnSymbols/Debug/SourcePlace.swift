/// A line of source code.
public struct SourcePlace: Hashable, Sendable {
    /// The path, as the compiler wrote it.
    public let file: String
    /// Counted from 1.
    public let line: Int

    public init(file: String, line: Int) {
        self.file = file
        self.line = line
    }

    /// The file's name without its directories, and the line: `server.c:123`.
    var text: String { "\(file.split(separator: "/").last ?? ""):\(line)" }
}

/// What the source code has at an address: the functions that were inlined there, and places.
struct SourceFrames {
    /// Linker names, the outermost first. The function into which they are inlined is not included.
    var inlined: [String] = []
    /// Where that function is, then where each inlined one is: the place of its call of the next one; for the last one, of the address. Nil: not known.
    var places: [SourcePlace?] = [nil]
}
