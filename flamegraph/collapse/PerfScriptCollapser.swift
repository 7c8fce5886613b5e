/// Reads what `perf script` prints and adds up equal stacks.
///
/// Feed the text in pieces of any size with `read`, then call `endInput`, then take the folded text. Memory grows with
/// the number of distinct stacks, not with the input.
///
/// A sample is a line with process, thread and event, then a line for each frame, innermost first, then an empty line.
/// Where perf prints no stacks, samples follow each other without empty lines, and may name one symbol themselves.
public struct PerfScriptCollapser: ~Copyable {
    public private(set) var report = CollapseReport()

    private let options: CollapseOptions
    private var pending: [UInt8] = []
    private var lineNumber = 0
    private var inputIndex = 0

    private var frames: PerfScriptFrameReader
    private var stacks = StackCounts()

    // The sample being read.
    private var isOpen = false
    private var isCounted = false
    private var weight: UInt64 = 0
    private var label: UInt32 = 0
    /// The comm that `label` was made of.
    private var lastName: [UInt8] = [0]
    /// Innermost first.
    private var stack: [UInt32] = []
    /// What may be a frame behind the event, from its address on.
    private var rest: [UInt8] = []
    private var hasFrameLines = false
    /// Whether any sample had lines of frames.
    private var hasStacks = false
    /// After a record that is no sample: its further lines are indented.
    private var isIgnoring = false

    private var hasPeriods = false
    private var sumOfWeights = 0.0
    private var sumOfSquares = 0.0

    // Stacks whose user part is printed later, when the thread returns from the kernel.
    private struct Waiting {
        var weight: UInt64
        var label: UInt32
        var kernel: [UInt32]
    }
    private var waiting: [UInt64: [Waiting]] = [:]
    private var cookie: UInt64?
    private var deferred: UInt64?

    private var eventIndex: [[UInt8]: Int] = [:]
    private var lastEvent: (text: [UInt8], index: Int)?
    private var wanted: Set<[UInt8]>
    private var words: [Range<Int>] = []

    /// - Parameter inlines: asked for what was inlined at each address, once for every distinct line.
    public init(_ options: CollapseOptions = CollapseOptions(), inlines: InlineResolver? = nil) {
        self.options = options
        frames = PerfScriptFrameReader(options, inlines: inlines)
        wanted = Set(options.events.map { Self.commonName(Array($0.utf8)) })
    }

    /// Reads a piece of text, cut anywhere.
    public mutating func read(_ piece: UnsafeRawBufferPointer) {
        // Taken out, so that a line may change everything else.
        var cut = pending
        pending = []
        forEachLine(of: piece, pending: &cut) { readLine($0) }
        pending = cut
    }

    /// Ends an input: neither its last line nor its last sample needs anything after it. Line numbers begin anew.
    public mutating func endInput() {
        if !pending.isEmpty { readPending() }
        endSample(.nextSample)
        // Their user part never came.
        for cookie in waiting.keys.sorted() {
            stack = []
            addWaiting(cookie)
        }
        stack = []
        isIgnoring = false
        report.lines += lineNumber
        lineNumber = 0
        inputIndex += 1
    }

    private mutating func readPending() {
        var line: [UInt8] = []
        swap(&line, &pending)
        line.withUnsafeBytes { readLine($0) }
    }

    private mutating func readLine(_ whole: UnsafeRawBufferPointer) {
        lineNumber += 1
        let whole = lineNumber == 1 ? withoutByteOrderMark(whole) : whole
        var end = whole.count
        while end > 0, whole[end - 1].isSpace || whole[end - 1] == UInt8(ascii: "\r") { end -= 1 }
        guard end > 0 else {
            report.blankLines += 1
            return endSample(.emptyLine)
        }
        let line = UnsafeRawBufferPointer(rebasing: whole[..<end])
        let start = PerfScriptFrame.symbolStart(line)
        // Of a sample that isn't counted nothing is needed but its end.
        if isOpen, !isCounted, let start, PerfScriptSample.isPlainFrame(line, start) {
            hasFrameLines = true
            report.frameLines += 1
            return
        }
        if isOpen, let start, start.address > 0, start.symbol < line.count || line[0] == UInt8(ascii: "\t"), frames.readKnown(line, start, into: &stack) {
            hasFrameLines = true
            report.frameLines += 1
            return
        }
        // perf's own frames begin with a tab: there only a time makes a sample. Before the first sample, a comm may begin with one.
        let needsTime = line[0] == UInt8(ascii: "\t") && (isOpen || PerfScriptFrame.isIndented(line))
        switch PerfScriptSample.parse(line, needsTime: needsTime, words: &words) {
        case .sample(let sample):
            report.sampleLines += 1
            return open(sample, line)
        case .withoutThread: return skipSample(line, .sampleWithoutThread)
        case .record:
            endSample(.nextSample)
            report.otherRecords += 1
            isIgnoring = true
            return
        case .deferred(let cookie):
            report.sampleLines += 1
            return openDeferred(cookie)
        case nil: break
        }
        if line[0] == UInt8(ascii: "#") {
            report.commentLines += 1
            return
        }
        if PerfScriptField.isWhole(line) || isIgnoring && line[0].isSpace {
            report.fieldLines += 1
            return
        }
        guard let start, start.address > 0 || isOpen && line.last == UInt8(ascii: ")") else { return reject(line, .notASample) }
        guard isOpen else { return reject(line, .frameWithoutSample) }
        readFrame(line, start)
    }

    private mutating func readFrame(_ line: UnsafeRawBufferPointer, _ start: PerfScriptFrame.Start) {
        hasFrameLines = true
        report.frameLines += 1
        // Frames of other events are read, too, so that their lines are known.
        guard isCounted else { return frames.readUncounted(line, start, into: &stack) }
        // The user part of this stack comes later: `b00000006 (cookie) ([unknown])`.
        if line[start.symbol...].starts(with: "(cookie)".utf8) {
            cookie = hexadecimal(line[start.address..<start.addressEnd])
        } else {
            frames.read(line, start, into: &stack)
        }
    }

    private mutating func reject(_ line: UnsafeRawBufferPointer, _ reason: CollapseReport.Line.Reason, isUnread: Bool = true) {
        report.reject(line, reason, input: inputIndex, line: lineNumber, isUnread: isUnread)
    }

    /// Leaves a sample out, with its frames, and says why.
    private mutating func skipSample(_ line: UnsafeRawBufferPointer, _ reason: CollapseReport.Line.Reason) {
        endSample(.nextSample)
        (isOpen, isCounted) = (true, false)
        report.samplesWithoutThread += 1
        reject(line, reason)
    }

    private mutating func open(_ sample: PerfScriptSample, _ line: UnsafeRawBufferPointer) {
        endSample(.nextSample)
        isOpen = true
        isCounted = counts(line[sample.event])
        guard isCounted else { return }
        weight = options.countsSamples ? 1 : sample.weight
        hasPeriods = hasPeriods || sample.weight != 1
        frames.beginSample()
        let name = line[sample.comm]
        if options.showsProcess || options.showsThread || !isEqual(lastName, name) {
            label = frames.intern(processName(name, process: sample.process.map { line[$0] }, thread: line[sample.thread], options))
            lastName.removeAll(keepingCapacity: true)
            lastName.append(contentsOf: name)
        }
        // Without call chains perf prints the one frame that it knows behind the event.
        rest.removeAll(keepingCapacity: true)
        if let place = PerfScriptSample.instruction(line, from: sample.rest) {
            rest.append(contentsOf: UnsafeRawBufferPointer(rebasing: line[place...]))
        }
    }

    private mutating func openDeferred(_ number: UInt64) {
        endSample(.nextSample)
        frames.beginSample()
        rest.removeAll(keepingCapacity: true)
        (isOpen, isCounted, deferred) = (true, true, number)
    }

    /// The name that an event has on all kinds of core: `cpu_core/cycles/P` and `cpu_atom/cycles/P` are both `cycles:P`.
    private static func commonName(_ event: [UInt8]) -> [UInt8] {
        let text = String(decoding: event, as: UTF8.self)
        guard let prefix = ["cpu_core/", "cpu_atom/", "cpu_lowpower/"].first(where: text.hasPrefix) else { return event }
        let parts = text.dropFirst(prefix.count).split(separator: "/", maxSplits: 1)
        let modifiers = parts.count > 1 ? parts[1].drop { $0 == ":" } : ""
        return Array("\(parts.first ?? "")\(modifiers.isEmpty ? "" : ":\(modifiers)")".utf8)
    }

    /// Whether samples of an event are asked for; counts them either way.
    private mutating func counts(_ text: Slice<UnsafeRawBufferPointer>) -> Bool {
        if let last = lastEvent, isEqual(last.text, text) {
            report.events[last.index].samples += 1
            return report.events[last.index].isCounted
        }
        let event = Array(text)
        if wanted.isEmpty, !event.isEmpty { wanted = [Self.commonName(event)] }
        let index: Int
        if let known = eventIndex[event] {
            index = known
        } else {
            index = report.events.count
            let isCounted = event.isEmpty ? options.events.isEmpty : wanted.contains(Self.commonName(event))
            report.events.append(.init(name: displayString(event), samples: 0, isCounted: isCounted))
            eventIndex[event] = index
        }
        lastEvent = (event, index)
        report.events[index].samples += 1
        return report.events[index].isCounted
    }

    private enum End { case nextSample, emptyLine }

    private mutating func endSample(_ end: End) {
        isIgnoring = false
        guard isOpen else { return }
        isOpen = false
        defer {
            stack.removeAll(keepingCapacity: true)
            hasFrameLines = false
            cookie = nil
            deferred = nil
        }
        guard isCounted else { return }
        if let deferred { return addWaiting(deferred) }
        if hasFrameLines {
            hasStacks = true
        } else if !rest.isEmpty, end == .nextSample || !hasStacks {
            // What stands behind the event is an instruction where perf prints no call chains, and no more than a field where it does.
            rest.withUnsafeBytes { text in
                let line = PerfScriptField.withoutTrailer(text)
                if let start = PerfScriptFrame.symbolStart(line) { frames.read(line, start, into: &stack) }
            }
        }
        if let cookie {
            waiting[cookie, default: []].append(Waiting(weight: weight, label: label, kernel: stack))
            return
        }
        add(weight, label)
    }

    /// Completes the stacks whose user part has just been read.
    private mutating func addWaiting(_ cookie: UInt64) {
        let user = stack
        for sample in waiting.removeValue(forKey: cookie) ?? [] {
            stack = sample.kernel + user
            add(sample.weight, sample.label)
        }
    }

    /// Adds the stack at hand.
    private mutating func add(_ weight: UInt64, _ label: UInt32) {
        if stack.isEmpty { report.samplesWithoutStack += 1 }
        if options.mergesRecursion { mergeRecursion(&stack) }
        stack.append(label)
        if stacks.add(weight, to: stack) {
            report.samples += 1
            sumOfWeights += Double(weight)
            sumOfSquares += Double(weight) * Double(weight)
        } else {
            reject(frames.names.bytes(label), .weightTooLarge, isUnread: false)
        }
    }

    // MARK: Result

    /// What the numbers in the result are.
    public var measure: Measure {
        var measure = Measure()
        let counted = Set(report.events.filter(\.isCounted).map { Self.commonName(Array($0.name.utf8)) })
        if counted.count == 1, let event = counted.first, !event.isEmpty { measure.event = String(decoding: event, as: UTF8.self) }
        measure.unit = !hasPeriods || options.countsSamples ? "samples" : measure.event.map(Self.unit)
        if sumOfWeights > 0 { measure.sampleWeight = sumOfSquares / sumOfWeights }
        measure.rootsAreProcesses = true
        return measure
    }

    /// What the periods of an event count.
    private static func unit(of event: String) -> String {
        let name = event.split(separator: ":").first.map(String.init) ?? event
        if ["cpu-clock", "task-clock", "offcpu-time"].contains(name) { return "ns" }
        // cpu_core/cycles/
        let parts = name.split(separator: "/")
        return parts.count > 1 ? String(parts[1]) : name
    }

    /// The folded text in pieces of some hundred kilobytes, its lines in the order of their frames' frames.names.
    public func writeFolded(_ write: ([UInt8]) throws -> Void) throws {
        try stacks.writeFolded(frames.names, write)
    }
}

@inline(__always)
private func isEqual(_ known: [UInt8], _ text: Slice<UnsafeRawBufferPointer>) -> Bool {
    guard known.count == text.count else { return false }
    return known.withUnsafeBytes { known in
        guard let left = known.baseAddress, let right = text.base.baseAddress else { return text.isEmpty }
        return equalBytes(left, right + text.startIndex, text.count)
    }
}
