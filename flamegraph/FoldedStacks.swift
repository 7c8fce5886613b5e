/// Folded stacks read from text and merged into a tree, ready to be drawn or written back.
///
/// Feed the text in pieces of any size with `read`, then call `endInput`. Several inputs are merged.
/// The result does not depend on the order of lines or on how the text was cut.
///
///     var stacks = FoldedStacks()
///     stacks.read(chunk)
///     stacks.endInput()
///     let svg = renderSVG(stacks, FlamegraphOptions(title: "redis-server"))
public struct FoldedStacks: ~Copyable {
    /// How the text is understood.
    public let reading: FoldedReading
    var names = FrameNames()
    var tree = FrameTree()
    /// What of each node's weight the first of two profiles has; empty for one profile.
    var before = SegmentedArray<UInt64>()
    var firstProfile: Profile?

    /// Lines that were counted.
    public internal(set) var acceptedLines = 0
    /// Lines of nothing but blanks: they carry nothing and are no fault.
    public internal(set) var blankLines = 0
    /// Lines that begin with `# `: comments, which are no stacks.
    public internal(set) var commentLines = 0
    /// What the inputs say that their numbers are.
    public internal(set) var measure = Measure()
    var inputMeasure = Measure()
    /// What the input read last says that its numbers are; nil where it had no line.
    public internal(set) var lastInputMeasure: Measure?
    var isFirstInput = true
    /// Lines that could not be counted. The first of them are in `rejectedLines`.
    public internal(set) var rejectedCount = 0
    /// Whether a line was rejected for what came before it, not for what it is.
    var isFull = false
    /// The first `rejectedLimit` lines that could not be counted.
    public internal(set) var rejectedLines: [RejectedLine] = []
    public static let rejectedLimit = 8

    /// Weights are integers in units of 10^-decimals: 0 unless the input has decimal weights.
    public internal(set) var decimals = 0
    /// Weight of the stacks that end in a frame of each kind, by the kind's raw value; of two profiles nobody asks.
    var weightByLeafKind = [UInt64](repeating: 0, count: FrameKind.allCases.count)
    /// Whether a factor was applied: numbers of samples are none any more.
    var isMultiplied = false
    /// Whether stacks name commands, and what each of them weighs.
    let readsCommands: Bool
    var commands = CommandWeights()

    /// Whether the stacks are two profiles: each line had two numbers.
    public internal(set) var isDifference = false
    /// What the first profile's weights were multiplied by before they came here: 1 when they are as recorded.
    public var beforeScale: Double { measure.beforeScale ?? 1 }
    /// Whether some inputs were two profiles and some one: what the numbers mean together, nobody can say.
    public var mixesColumns: Bool { isDifference && inputsOfOneNumber > 0 }
    var inputsOfOneNumber = 0
    var sawBase = false
    /// Whether no stack had a frame of `reading.bases`, where some are wanted.
    public var missesBases: Bool { !reading.bases.isEmpty && !sawBase }
    /// How the input at hand is read, once that is known.
    var columns: FoldedReading.Columns
    /// The input so far, until its columns are known.
    var undecided = UndecidedText()

    var inputIndex = 0
    var lineNumber = 0
    /// Whether the first line read is not the input's first.
    var isLaterPart = false
    /// The beginning of a line whose end has not been fed yet.
    var pending: [UInt8] = []

    /// The stack before, as long as its bytes lie in the piece at hand: neighbours in a sorted file share most frames.
    var previous = UnsafeRawBufferPointer(start: nil, count: 0)
    var path = StackPath()

    public init(_ reading: FoldedReading = FoldedReading()) {
        self.reading = reading
        if case .areFrames = reading.commands { readsCommands = false } else { readsCommands = true }
        columns = reading.columns
    }

    /// Reads one whole input.
    public init(parsing text: some Sequence<UInt8>, _ reading: FoldedReading = FoldedReading()) {
        self.init(reading)
        let contiguous: Void? = text.withContiguousStorageIfAvailable { read(UnsafeRawBufferPointer($0)) }
        if contiguous == nil { Array(text).withUnsafeBytes { read($0) } }
        endInput()
    }

    /// The weight of all stacks, in units of 10^-`decimals`.
    public var total: UInt64 { tree[FrameTree.root].total }
    /// Distinct frames, each counted once for every distinct path to it.
    public var frameCount: Int { tree.count - tree.emptyCount - 1 }
    /// Whether there is nothing to draw: no stack, or only stacks that weigh 0.
    public var isEmpty: Bool { total == 0 }

    /// The error to report when there is nothing to draw, or nil.
    public var emptyInput: EmptyInput? {
        guard isEmpty else { return nil }
        return EmptyInput(
            acceptedLines: acceptedLines, rejectedLines: rejectedCount, firstRejected: rejectedLines.first)
    }

    /// Reads a piece of folded text, cut anywhere. A last line without line feed waits for the next piece or `endInput()`.
    public mutating func read(_ piece: UnsafeRawBufferPointer) {
        if columns == .decidedByInput { gather(piece) } else { readDecided(piece) }
    }

    mutating func readDecided(_ piece: UnsafeRawBufferPointer) {
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
            readLine(UnsafeRawBufferPointer(start: start, count: lineEnd - start), readableEnd: end)
            start = lineEnd + 1
        }
        pending.append(contentsOf: UnsafeRawBufferPointer(start: start, count: end - start))
        forgetPrevious()
    }

    /// Ends an input: its last line needs no line feed, and line numbers begin anew.
    public mutating func endInput() {
        if columns == .decidedByInput { decideAtEnd() }
        if !pending.isEmpty { readPending() }
        if lineNumber > blankLines, columns == .one { inputsOfOneNumber += 1 }
        if lineNumber > 0 {
            measure = isFirstInput ? inputMeasure : measure.merged(with: inputMeasure)
            isFirstInput = false
        }
        lastInputMeasure = lineNumber > 0 ? inputMeasure : nil
        inputMeasure = Measure()
        columns = reading.columns
        inputIndex += 1
        lineNumber = 0
    }

    private mutating func readPending() {
        var line: [UInt8] = []
        swap(&line, &pending)
        line.withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            readLine(bytes, readableEnd: base + bytes.count)
        }
        forgetPrevious()
    }

    mutating func forgetPrevious() {
        previous = UnsafeRawBufferPointer(start: nil, count: 0)
        path.count = 0
    }

    /// Reads one line. Bytes up to `readableEnd` may be loaded, though only the line's are used.
    private mutating func readLine(_ line: UnsafeRawBufferPointer, readableEnd: UnsafeRawPointer) {
        lineNumber += 1
        var line = line
        if lineNumber == 1, !isLaterPart { line = withoutByteOrderMark(line) }
        if isComment(line) {
            commentLines += 1
            var end = line.count
            while end > 1, line[end - 1].isSpace || line[end - 1] == UInt8(ascii: "\r") { end -= 1 }
            return inputMeasure.read(line[1..<end])
        }
        if readsCommands {
            readStackOfCommand(line)
        } else if let changed = reading.changed(line) {
            readChanged(changed)
        } else {
            return readStack(line, readableEnd: readableEnd)
        }
        forgetPrevious()
    }

    /// Reads a line that does not lie in the piece at hand; what comes next may not compare its stack with this one.
    mutating func readChanged(_ line: (text: [UInt8], hasBase: Bool)) {
        if line.hasBase { sawBase = true }
        line.text.withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            readStack(bytes, readableEnd: base + bytes.count)
        }
    }

    @inline(__always)
    private mutating func readStack(_ line: UnsafeRawBufferPointer, readableEnd: UnsafeRawPointer) {
        switch FoldedLine.parse(line) {
        case .success(let parsed):
            let reason =
                columns == .two
                ? countTwo(parsed, in: line, readableEnd: readableEnd) : count(parsed, in: line, readableEnd: readableEnd)
            if let reason { reject(line, reason) } else { acceptedLines += 1 }
        case .failure(let reason):
            if line.allSatisfy({ $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") || $0 == UInt8(ascii: "\r") }) {
                blankLines += 1
            } else {
                reject(line, reason)
            }
        }
    }

    private mutating func reject(_ line: UnsafeRawBufferPointer, _ reason: RejectedLine.Reason) {
        rejectedCount += 1
        if reason == .totalTooLarge || reason == .tooManyFrames { isFull = true }
        guard rejectedLines.count < Self.rejectedLimit else { return }
        let excerpt = Array(line.prefix(RejectedLine.excerptLimit))
        rejectedLines.append(RejectedLine(input: inputIndex, number: lineNumber, reason: reason, excerpt: excerpt))
    }

    /// Counts a line, or says why it can't be, having changed nothing.
    private mutating func count(
        _ parsed: FoldedLine, in line: UnsafeRawBufferPointer, readableEnd: UnsafeRawPointer
    ) -> RejectedLine.Reason? {
        guard let base = line.baseAddress else { return .noNumber }
        var weight = parsed.weight
        if parsed.decimals != decimals {
            guard let scaled = alignDecimals(weight, parsed.decimals) else { return .totalTooLarge }
            weight = scaled
        }
        if total.addingReportingOverflow(weight).overflow { return .totalTooLarge }
        // A stack has at most one frame more than bytes, and a name's length is kept in 32 bits.
        if tree.count + parsed.stackLength + 1 > FrameTree.maximumCount { return .tooManyFrames }
        addStack(base, length: parsed.stackLength, weight: weight, readableEnd: readableEnd)
        return nil
    }

    /// Brings the tree or the weight to the finer of their two scales. Nil when something overflows.
    private mutating func alignDecimals(_ weight: UInt64, _ weightDecimals: Int) -> UInt64? {
        var factor: UInt64 = 1
        for _ in 0..<abs(decimals - weightDecimals) { factor *= 10 }
        if weightDecimals < decimals {
            let (scaled, overflow) = weight.multipliedReportingOverflow(by: factor)
            return overflow ? nil : scaled
        }
        let (scaledTotal, overflow) = total.multipliedReportingOverflow(by: factor)
        if overflow || scaledTotal.addingReportingOverflow(weight).overflow { return nil }
        scaleWeights(by: factor)
        decimals = weightDecimals
        return weight
    }

    mutating func addStack(
        _ stack: UnsafeRawPointer, length: Int, weight: UInt64, readableEnd: UnsafeRawPointer
    ) {
        if reading.isReversed || reading.keepsOrder {
            return addUnshared(stack, length: length, weight: weight, readableEnd: readableEnd)
        }
        path.count = sharedFrames(stack, length)
        tree.add(weight, to: FrameTree.root)
        for index in 0..<path.count { tree.add(weight, to: path.frames[index].node) }

        var node = path.count > 0 ? path.frames[path.count - 1].node : FrameTree.root
        var frameStart = path.count > 0 ? path.frames[path.count - 1].end + 1 : 0
        var isNew = false
        // A stack that ends where the shared frames end has no frame left.
        while frameStart <= length {
            let start = stack + frameStart
            let key = FrameKey.scan(start, limit: length &- frameStart, readableEnd: readableEnd)
            let name = names.intern(start, key)
            if isNew {
                node = tree.append(name, under: node)
            } else {
                let before = tree.count
                node = tree.child(of: node, named: name)
                isNew = tree.count != before
            }
            tree.add(weight, to: node)
            let end = frameStart &+ Int(key.length)
            path.push(StackPath.Frame(end: end, node: node))
            frameStart = end &+ 1
        }
        let leafKind = names.kind(tree[node].name)
        weightByLeafKind[Int(leafKind.rawValue)] += weight
        previous = UnsafeRawBufferPointer(start: stack, count: length)
    }

    /// How many leading frames this stack has in common with the one before.
    @inline(__always)
    private func sharedFrames(_ stack: UnsafeRawPointer, _ length: Int) -> Int {
        guard let old = previous.baseAddress else { return 0 }
        let limit = min(length, previous.count)
        var common = 0
        while common + 8 <= limit {
            let difference =
                UInt64(littleEndian: stack.loadUnaligned(fromByteOffset: common, as: UInt64.self))
                ^ UInt64(littleEndian: old.loadUnaligned(fromByteOffset: common, as: UInt64.self))
            if difference != 0 {
                common += difference.trailingZeroBitCount >> 3
                break
            }
            common += 8
        }
        while common < limit, stack.load(fromByteOffset: common, as: UInt8.self) == old.load(fromByteOffset: common, as: UInt8.self) {
            common += 1
        }
        var shared = 0
        while shared < path.count, path.frames[shared].end < common { shared += 1 }
        // A frame that ends just where the common bytes end is shared if this stack divides there too.
        if shared < path.count, path.frames[shared].end == common,
            length == common || stack.load(fromByteOffset: common, as: UInt8.self) == UInt8(ascii: ";")
        {
            shared += 1
        }
        return shared
    }
}

/// Whether a line is a comment: `# interval: 100`, `#`.
func isComment(_ line: UnsafeRawBufferPointer) -> Bool {
    line.first == UInt8(ascii: "#") && (line.count == 1 || line[1].isSpace || line[1] == UInt8(ascii: "\r"))
}

/// There was nothing to draw: what the caller reports instead of an empty picture.
public struct EmptyInput: Error, Equatable, Sendable, CustomStringConvertible {
    /// Lines that were stacks, but weigh 0 together.
    public var acceptedLines: Int
    /// Lines that could not be read.
    public var rejectedLines: Int
    public var firstRejected: RejectedLine?

    public var description: String {
        if let firstRejected {
            return "no stacks: none of \(rejectedLines + acceptedLines) lines counts; \(firstRejected)"
        }
        return acceptedLines > 0 ? "no samples: every weight is 0" : "no stacks: the input is empty"
    }
}
