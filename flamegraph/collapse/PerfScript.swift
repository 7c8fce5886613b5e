extension CollapseFormat {
    /// `perf script`, with or without call chains.
    public static let perf = CollapseFormat(
        name: "perf", title: "`perf script` text",
        advice: """
            Give what `perf script` prints of a recording made with `perf record -g`; of the fields that -F names, \
            comm, tid (or pid) and one of time, event and cpu are needed: `perf script -F +comm,+tid,+time`.
            """,
        switches: Set(Switch.allCases).subtracting([.keys]),
        recognizes: { lines in
            if lines.contains(where: { $0.starts(with: "# captured on".utf8) || $0.starts(with: "# cmdline :".utf8) }) { return true }
            var words: [Range<Int>] = []
            return lines.contains { text in
                text.withUnsafeBytes { bytes in
                    var end = bytes.count
                    while end > 0, bytes[end - 1].isSpace || bytes[end - 1] == UInt8(ascii: "\r") { end -= 1 }
                    guard end > 0, bytes[0] != UInt8(ascii: "#") else { return false }
                    let line = UnsafeRawBufferPointer(rebasing: bytes[..<end])
                    // Frames alone cannot be counted, but then it is perf that should print more.
                    if PerfScriptFrame.isIndented(line) {
                        if case .success = FoldedLine.parse(line) { return false }
                        return true
                    }
                    switch PerfScriptSample.parse(line, needsTime: false, words: &words) {
                    case .sample(let sample):
                        // `worker 7` may be anything.
                        if case .success = FoldedLine.parse(line) { return !sample.event.isEmpty }
                        return !sample.event.isEmpty || sample.rest > sample.thread.upperBound
                    case .record, .deferred: return true
                    case .withoutThread, nil: return false
                    }
                }
            }
        },
        collapser: { options, inlines in PerfScriptInput(PerfScriptCollapser(options, inlines: inlines)) })
}

/// `PerfScriptCollapser` is a struct for speed.
private final class PerfScriptInput: Collapser {
    private var collapser: PerfScriptCollapser

    init(_ collapser: consuming PerfScriptCollapser) { self.collapser = collapser }

    func read(_ piece: UnsafeRawBufferPointer) { collapser.read(piece) }
    func endInput() { collapser.endInput() }
    func finish() {}
    var report: CollapseReport { collapser.report }
    var measure: Measure { collapser.measure }
    var notes: [String] { [] }
    func writeFolded(_ write: ([UInt8]) throws -> Void) throws { try collapser.writeFolded(write) }
}
