extension CollapseFormat {
    /// Folded text, as this and other tools write it: its lines as they are, equal stacks added up.
    public static let folded = CollapseFormat(
        name: "folded", title: "folded stacks", advice: "Give lines of a stack, a blank and a number.", switches: [.mergeThreads],
        recognizes: { lines in
            let stacks = lines.filter { !$0.starts(with: "# ".utf8) }
            let read = stacks.filter { line in
                if case .success = line.withUnsafeBytes(FoldedLine.parse) { true } else { false }
            }
            return read.count * 2 > stacks.count
        },
        collapser: { options, _ in FoldedCollapser(options) })
}

/// Weights may be decimal and come in two columns, so they are added up as `kiln flamegraph` does it.
final class FoldedCollapser: Collapser {
    private let options: CollapseOptions
    private var stacks = FoldedStacks()
    private var pending: [UInt8] = []
    private(set) var report = CollapseReport()
    private var input = 0
    private var line = 0

    init(_ options: CollapseOptions) { self.options = options }

    func read(_ piece: UnsafeRawBufferPointer) {
        var cut = pending
        pending = []
        forEachLine(of: piece, pending: &cut) { readLine($0) }
        pending = cut
    }

    func endInput() {
        if !pending.isEmpty { pending.withUnsafeBytes { readLine($0) } }
        pending = []
        stacks.endInput()
        (input, line) = (input + 1, 0)
    }

    func finish() {}

    private func readLine(_ text: UnsafeRawBufferPointer) {
        line += 1
        report.lines += 1
        let text = line == 1 ? withoutByteOrderMark(text) : text
        let before = (stacks.commentLines, stacks.blankLines, stacks.acceptedLines)
        let changed = changed(text) + [UInt8(ascii: "\n")]
        changed.withUnsafeBytes { stacks.read($0) }
        if stacks.commentLines > before.0 {
            report.commentLines += 1
        } else if stacks.blankLines > before.1 {
            report.blankLines += 1
        } else if stacks.acceptedLines > before.2 {
            report.sampleLines += 1
            report.samples += 1
        } else {
            report.reject(text, .noWeight, input: input, line: line)
        }
    }

    /// The line with its names changed as asked.
    private func changed(_ text: UnsafeRawBufferPointer) -> [UInt8] {
        guard options.mergesRecursion || options.mergesThreads, !text.starts(with: "# ".utf8), case .success(let read) = FoldedLine.parse(text) else {
            return Array(text)
        }
        var frames = text[..<read.stackLength].split(separator: UInt8(ascii: ";"), omittingEmptySubsequences: false).map(Array.init)
        if options.mergesThreads { frames[0] = withoutNumbers(frames[0]) }
        if options.mergesRecursion {
            // The first frame is a process where the text doesn't say what it is.
            frames = frames.indices.filter { $0 < 2 || frames[$0] != frames[$0 - 1] }.map { frames[$0] }
        }
        return Array(frames.joined(separator: [UInt8(ascii: ";")])) + text[read.stackLength...]
    }

    var measure: Measure { stacks.measure }
    var notes: [String] { [] }
    func writeFolded(_ write: ([UInt8]) throws -> Void) throws { try write(stacks.foldedText()) }
}
