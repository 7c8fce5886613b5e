/// Calls `body` with each whole line of a text that comes in pieces, cut anywhere. `pending` keeps the beginning of a line until its end comes.
@inline(__always)
func forEachLine(of piece: UnsafeRawBufferPointer, pending: inout [UInt8], _ body: (UnsafeRawBufferPointer) -> Void) {
    guard let base = piece.baseAddress, piece.count > 0 else { return }
    let end = base + piece.count
    var start = base
    if !pending.isEmpty {
        let lineEnd = find(UInt8(ascii: "\n"), from: start, to: end)
        pending.append(contentsOf: UnsafeRawBufferPointer(start: start, count: lineEnd - start))
        if lineEnd == end { return }
        pending.withUnsafeBytes(body)
        pending.removeAll(keepingCapacity: true)
        start = lineEnd + 1
    }
    while start < end {
        let lineEnd = find(UInt8(ascii: "\n"), from: start, to: end)
        if lineEnd == end { break }
        body(UnsafeRawBufferPointer(start: start, count: lineEnd - start))
        start = lineEnd + 1
    }
    pending.append(contentsOf: UnsafeRawBufferPointer(start: start, count: end - start))
}

/// An input's first line without the mark that some editors write before UTF-8.
func withoutByteOrderMark(_ line: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    line.starts(with: [0xef, 0xbb, 0xbf]) ? UnsafeRawBufferPointer(rebasing: line.dropFirst(3)) : line
}

/// What a line is to a format. Each line is one of these, and counted as such.
enum LineKind {
    case sample, frame, blank, comment
    /// Known, and not needed: source lines, locks, registers, what the tool says besides stacks.
    case field
    case rejected(CollapseReport.Line.Reason)
}

/// Understands the lines of one format. A format is a file in this folder with such a type, and a place in `CollapseFormat.all`.
protocol LineReader {
    /// What the numbers of the result are.
    var measure: Measure { get }
    /// What a reader of the result should know, as comments.
    var notes: [String] { get }
    /// Reads a line without its end, and adds the sample that it completes.
    mutating func read(_ line: UnsafeRawBufferPointer, _ stacks: inout CollapsedStacks) -> LineKind
    /// Ends an input.
    mutating func endInput(_ stacks: inout CollapsedStacks)
    /// After all inputs.
    mutating func finish(_ stacks: inout CollapsedStacks)
}

extension LineReader {
    var measure: Measure {
        var measure = Measure()
        (measure.unit, measure.sampleWeight, measure.rootsAreProcesses) = ("samples", 1, true)
        return measure
    }
    var notes: [String] { [] }
    mutating func finish(_ stacks: inout CollapsedStacks) {}
}

/// Stacks that have been read, and what was left out.
public struct CollapsedStacks: ~Copyable {
    public let options: CollapseOptions
    public internal(set) var report = CollapseReport()
    private(set) var names = FrameNames()
    private var counts = StackCounts()
    /// The present input, from 0.
    var input = 0
    /// From 1; 0 after the last.
    fileprivate(set) var line = 0

    /// No runtime has stacks of more frames; a file that says so would need memory by the square of its length.
    public static let depthLimit = 2048

    init(_ options: CollapseOptions) { self.options = options }

    /// The number of a frame's name. In the result `;` divides frames, so it must not be in a name: `frameName` replaces it.
    public mutating func intern(_ name: [UInt8]) -> UInt32 { names.intern(name.isEmpty ? Array("[unknown]".utf8) : name) }

    /// Adds the weight of a stack, given innermost first, below the name of a process or thread, if there is one.
    /// - Parameters:
    ///   - samples: how many samples the weight is of.
    ///   - hasStack: whether the tool printed frames.
    public mutating func add(_ weight: UInt64, _ frames: [UInt32], below label: UInt32?, samples: Int = 1, hasStack: Bool = true) {
        var stack = frames
        if options.mergesRecursion { mergeRecursion(&stack) }
        if stack.count > Self.depthLimit {
            stack.removeFirst(stack.count - Self.depthLimit)
            stack[0] = intern(Array("[deeper]".utf8))
        }
        if let label { stack.append(label) }
        guard counts.add(weight, to: stack) else {
            let last = names.bytes(stack.last ?? 0)
            return report.reject(last, .weightTooLarge, input: input, line: line, isUnread: false)
        }
        report.samples += samples
        if frames.isEmpty || !hasStack { report.samplesWithoutStack += samples }
    }

    mutating func reject(_ text: some Collection<UInt8>, _ reason: CollapseReport.Line.Reason, isUnread: Bool = false) {
        let (input, line) = (input, line)
        Array(text).withUnsafeBytes { report.reject($0, reason, input: input, line: line, isUnread: isUnread) }
    }

    /// Notes an event of the input, and that so many samples of it are in the result, or left out.
    public mutating func note(event name: String, samples: Int, isCounted: Bool) {
        if let place = report.events.firstIndex(where: { $0.name == name }) {
            report.events[place].samples += samples
        } else {
            report.events.append(.init(name: name, samples: samples, isCounted: isCounted))
        }
    }

    func writeFolded(_ write: ([UInt8]) throws -> Void) throws { try counts.writeFolded(names, write) }
}

/// Reads the lines of one format.
final class LineCollapser<Reader: LineReader>: Collapser {
    private var reader: Reader
    private var stacks: CollapsedStacks
    private var pending: [UInt8] = []

    init(_ reader: Reader, _ options: CollapseOptions) {
        self.reader = reader
        stacks = CollapsedStacks(options)
    }

    func read(_ piece: UnsafeRawBufferPointer) {
        var cut = pending
        pending = []
        forEachLine(of: piece, pending: &cut) { readLine($0) }
        pending = cut
    }

    func endInput() {
        if !pending.isEmpty { pending.withUnsafeBytes { readLine($0) } }
        pending = []
        reader.endInput(&stacks)
        stacks.input += 1
        stacks.line = 0
    }

    func finish() { reader.finish(&stacks) }

    private func readLine(_ whole: UnsafeRawBufferPointer) {
        stacks.line += 1
        stacks.report.lines += 1
        let whole = stacks.line == 1 ? withoutByteOrderMark(whole) : whole
        let line = whole.last == UInt8(ascii: "\r") ? UnsafeRawBufferPointer(rebasing: whole.dropLast()) : whole
        switch reader.read(line, &stacks) {
        case .sample: stacks.report.sampleLines += 1
        case .frame: stacks.report.frameLines += 1
        case .blank: stacks.report.blankLines += 1
        case .comment: stacks.report.commentLines += 1
        case .field: stacks.report.fieldLines += 1
        case .rejected(let reason): stacks.reject(line, reason, isUnread: true)
        }
    }

    var report: CollapseReport { stacks.report }
    var measure: Measure { reader.measure }
    var notes: [String] { reader.notes }
    func writeFolded(_ write: ([UInt8]) throws -> Void) throws { try stacks.writeFolded(write) }
}
