import KilnModel

/// A format into which sessions are exported. Each has a folder of its own, and a place in `all`.
public struct ExportFormat: Sendable {
    /// What one calls it: `kiln export --format NAME`.
    public var name: String
    /// What reads it.
    public var title: String
    /// The ends of names of files that choose it; `.gz` may follow.
    public var endings: [String]
    /// Whether its files are compressed where no name says that they are not.
    public var isUsuallyCompressed = false
    /// Whether a file has the samples of one kind only.
    public var hasOneKind = false
    /// The file's bytes, not compressed.
    public var bytes: @Sendable (Profile, ExportOptions) throws -> [UInt8]

    public static let all: [ExportFormat] = [.pprof, .speedscope, .firefox, .perfetto, .otlp]

    /// The format that the end of a file's name chooses. Nil: no format has this ending.
    public static func named(byFile name: String) -> ExportFormat? {
        let name = name.hasSuffix(".gz") ? String(name.dropLast(3)) : name
        let matches = all.flatMap { format in format.endings.filter(name.hasSuffix).map { (format, $0.utf8.count) } }
        return matches.max { $0.1 < $1.1 }?.0
    }
}

/// What a person chooses.
public struct ExportOptions: Sendable {
    /// pprof: functions that are inlined share the location of the function that they are inlined into, as its lines.
    public var inlinedAreLines = false
    /// perfetto: requests of a trace, to be shown beside the samples.
    public var requests: [TraceRow] = []

    public init() {}
}

/// Texts, each once, with a number for each. The first is empty.
struct StringTable {
    private(set) var strings = [""]
    private var numbers = ["": 0]

    mutating func number(_ text: String) -> Int {
        if let known = numbers[text] { return known }
        numbers[text] = strings.count
        strings.append(text)
        return strings.count - 1
    }
}
