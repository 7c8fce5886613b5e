/// Reads what `perf script` prints and adds up equal stacks.
///
/// Feed the text in pieces of any size with `read`, then call `endInput`, then take the folded text. Memory grows with
/// the number of distinct stacks, not with the input.
///
/// A sample is a line with process, thread and event, then a line for each frame, innermost first, then an empty line.
/// Where perf prints no stacks, samples follow each other without empty lines, and may name one symbol themselves.
public struct PerfScriptCollapser: ~Copyable {
    public private(set) var report = PerfScriptReport()

    private let options: PerfScriptOptions
    private var pending: [UInt8] = []
    private var lineNumber = 0

    private var frames: PerfScriptFrameReader
    private var stacks = StackCounts()

    // The sample being read.
    private var isOpen = false
    private var isCounted = false
    private var weight: UInt64 = 0
    private var label: UInt32 = 0
    /// Innermost first.
    private var stack: [UInt32] = []
    private var eventIndex: [[UInt8]: Int] = [:]
    private var wanted: [UInt8]?
    private var words: [Range<Int>] = []

    /// - Parameter inlines: asked for what was inlined at each address, once for every distinct line.
    public init(_ options: PerfScriptOptions = PerfScriptOptions(), inlines: InlineResolver? = nil) {
        self.options = options
        frames = PerfScriptFrameReader(options, inlines: inlines)
        wanted = options.event.map { Array($0.utf8) }
    }

    /// Reads a piece of text, cut anywhere.
    public mutating func read(_ piece: UnsafeRawBufferPointer) {
        guard let base = piece.baseAddress, piece.count > 0 else { return }
        let end = base + piece.count
        var start = base
        if !pending.isEmpty {
            let lineEnd = find(UInt8(ascii: "\n"), from: start, to: end)
            pending.append(contentsOf: UnsafeRawBufferPointer(start: start, count: lineEnd - start))
            if lineEnd == end { return }
            readPending()
            start = lineEnd + 1
        }
        while start < end {
            let lineEnd = find(UInt8(ascii: "\n"), from: start, to: end)
            if lineEnd == end { break }
            readLine(UnsafeRawBufferPointer(start: start, count: lineEnd - start))
            start = lineEnd + 1
        }
        pending.append(contentsOf: UnsafeRawBufferPointer(start: start, count: end - start))
    }

    /// Ends the input: neither its last line nor its last sample needs anything after it.
    public mutating func endInput() {
        if !pending.isEmpty { readPending() }
        closeSample()
    }

    private mutating func readPending() {
        var line: [UInt8] = []
        swap(&line, &pending)
        line.withUnsafeBytes { readLine($0) }
    }

    private mutating func readLine(_ whole: UnsafeRawBufferPointer) {
        lineNumber += 1
        var end = whole.count
        while end > 0, whole[end - 1].isSpace || whole[end - 1] == UInt8(ascii: "\r") { end -= 1 }
        guard end > 0 else { return closeSample() }
        let line = UnsafeRawBufferPointer(rebasing: whole[..<end])
        if let start = PerfScriptFrame.symbolStart(line) {
            // A process that is called like a number, in an indented line: a frame has no time.
            if line[start.symbol].isDecimalDigit, let sample = PerfScriptSample.parse(line, words: &words), sample.hasTime {
                return open(sample, line)
            }
            if isOpen {
                if isCounted { frames.read(line, start, into: &stack) }
                return
            }
            if let sample = PerfScriptSample.parse(line, words: &words) { return open(sample, line) }
            return reject(line, .frameWithoutSample)
        }
        let sample = PerfScriptSample.parse(line, words: &words)
        if line[0] == UInt8(ascii: "#"), sample?.hasTime != true { return }
        if let sample, sample.hasTime || !isOpen || !line[0].isSpace { return open(sample, line) }
        reject(line, .notASample)
    }

    private mutating func reject(_ line: UnsafeRawBufferPointer, _ reason: PerfScriptReport.Line.Reason) {
        report.rejectedCount += 1
        guard report.rejectedLines.count < PerfScriptReport.rejectedLimit else { return }
        report.rejectedLines.append(
            .init(number: lineNumber, reason: reason, excerpt: Array(line.prefix(PerfScriptReport.excerptLimit))))
    }

    private mutating func open(_ sample: PerfScriptSample, _ line: UnsafeRawBufferPointer) {
        closeSample()
        isOpen = true
        isCounted = counts(Array(line[sample.event]))
        guard isCounted else { return }
        weight = sample.weight
        frames.beginSample()
        var text = line[sample.comm].map { $0.isSpace ? UInt8(ascii: "_") : $0 == UInt8(ascii: ";") ? UInt8(ascii: ":") : $0 }
        if options.showsProcess || options.showsThread {
            text.append(UInt8(ascii: "-"))
            text.append(contentsOf: sample.process.map { Array(line[$0]) } ?? [UInt8(ascii: "?")])
        }
        if options.showsThread {
            text.append(UInt8(ascii: "/"))
            text.append(contentsOf: line[sample.thread])
        }
        label = frames.intern(text)
        // Without call chains perf prints the one frame that it knows behind the event.
        let rest = UnsafeRawBufferPointer(rebasing: line[sample.rest...])
        if rest.last == UInt8(ascii: ")"), let start = PerfScriptFrame.symbolStart(rest), start.addressEnd - start.address >= 4 {
            frames.read(rest, start, into: &stack)
        }
    }

    /// Whether samples of an event are asked for; counts them either way.
    private mutating func counts(_ event: [UInt8]) -> Bool {
        if wanted == nil, !event.isEmpty { wanted = event }
        let index: Int
        if let known = eventIndex[event] {
            index = known
        } else {
            index = report.events.count
            let isCounted = event.isEmpty ? options.event == nil : event == wanted
            report.events.append(.init(name: displayString(event), samples: 0, isCounted: isCounted))
            eventIndex[event] = index
        }
        report.events[index].samples += 1
        return report.events[index].isCounted
    }

    private mutating func closeSample() {
        guard isOpen else { return }
        isOpen = false
        guard isCounted else { return }
        if stack.isEmpty { report.samplesWithoutStack += 1 }
        stack.append(label)
        if stacks.add(weight, to: stack) {
            report.samples += 1
        } else {
            reject(frames.names.bytes(label), .weightTooLarge)
        }
        stack.removeAll(keepingCapacity: true)
    }

    // MARK: Result

    /// The folded text in pieces of some hundred kilobytes, its lines in the order of their frames' frames.names.
    public func writeFolded(_ write: ([UInt8]) throws -> Void) throws {
        let order = (0..<UInt32(frames.names.count)).sorted { frames.names.isOrderedBefore($0, $1) }
        var rank = [UInt32](repeating: 0, count: order.count)
        for (place, name) in order.enumerated() { rank[Int(name)] = UInt32(place) }
        var text: [UInt8] = []
        try stacks.forEachSorted(rank: rank) { stack, weight in
            var isFirst = true
            for frame in stack {
                if !isFirst { text.append(UInt8(ascii: ";")) }
                isFirst = false
                appendDisplayed(frames.names.bytes(frame), to: &text)
            }
            text.append(UInt8(ascii: " "))
            text.append(contentsOf: String(weight).utf8)
            text.append(UInt8(ascii: "\n"))
            guard text.count > 1 << 18 else { return }
            try write(text)
            text.removeAll(keepingCapacity: true)
        }
        if !text.isEmpty { try write(text) }
    }
}
