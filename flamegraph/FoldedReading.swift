/// How folded text is understood.
public struct FoldedReading: Sendable {
    /// What the numbers at the end of a line are.
    public enum Columns: Sendable {
        /// One number, the weight. A number before it belongs to the name of the last frame.
        case one
        /// Two numbers, the weights in two profiles.
        case two
        /// Two when every line of the input that can be read ends in two numbers, otherwise one.
        case decidedByInput
    }

    public var columns = Columns.one
    /// Merges stacks from their leaves: the picture shows who calls a function, not whom it calls.
    public var isReversed = false
    /// Keeps the order of lines, from left to right, and merges only neighbours: a flame chart.
    public var keepsOrder = false

    /// Leaves out the frames below these, where a stack has one: below the last of them in it.
    public var bases: Set<[UInt8]> = []
    /// Writes `0x...` for every hexadecimal number in a name, so that addresses that differ from run to run are one.
    public var stripsNumbers = false

    /// What the text's bytes are. Pictures and folded text that is written are UTF-8.
    public enum Encoding: Sendable {
        case utf8
        /// ISO 8859-1: each byte is the character of that number.
        case latin1

        /// The encoding of this name, as people write it; nil for any other.
        public init?(_ name: String) {
            switch name.lowercased().filter({ $0 != "-" && $0 != "_" }) {
            case "utf8", "ascii", "usascii": self = .utf8
            case "iso88591", "latin1": self = .latin1
            default: return nil
            }
        }
    }
    public var encoding = Encoding.utf8

    /// What the frames are that say what a server worked on.
    public var commands = Commands.areFrames

    public init() {}

    /// The line as it should be read, and whether it has one of the bases; nil when it is as it should be.
    func changed(_ line: UnsafeRawBufferPointer) -> (text: [UInt8], hasBase: Bool)? {
        if bases.isEmpty, !stripsNumbers, encoding == .utf8 { return nil }
        var text = encoding == .utf8 ? Array(line) : line.flatMap { Array(Unicode.Scalar($0).utf8) }
        var hasBase = false
        if !bases.isEmpty {
            let frames = text.split(separator: UInt8(ascii: ";"), omittingEmptySubsequences: false)
            // The last frame has the numbers behind it.
            let last = frames.lastIndex { frame in
                bases.contains(Array(frame)) || frame.endIndex == text.endIndex && bases.contains { frame.starts(with: $0 + [UInt8(ascii: " ")]) }
            }
            if let last { text = Array(text[frames[last].startIndex...]) }
            hasBase = last != nil
        }
        return (stripsNumbers ? Self.withoutNumbers(text) : text, hasBase)
    }

    private static func withoutNumbers(_ text: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        var index = 0
        while index < text.count {
            let digits = text[index...].starts(with: "0x".utf8) ? text[(index + 2)...].prefix(while: \.isHexadecimalDigit).count : 0
            if digits > 0 {
                result += Array("0x...".utf8)
                index += 2 + digits
            } else {
                result.append(text[index])
                index += 1
            }
        }
        return result
    }
}

/// The beginning of an input whose columns are not known yet: kept as it came, until a line has one number.
struct UndecidedText {
    var text: [UInt8] = []
    /// Where the first line that was not looked at begins.
    var scanned = 0
    var sawTwo = false
}

extension FoldedStacks {
    /// Keeps a piece until the columns are known. Most inputs tell with their first line.
    mutating func gather(_ piece: UnsafeRawBufferPointer) {
        undecided.text.append(contentsOf: piece)
        while columns == .decidedByInput,
            let end = undecided.text[undecided.scanned...].firstIndex(of: UInt8(ascii: "\n"))
        {
            look(at: undecided.scanned..<end)
            undecided.scanned = end + 1
        }
        if columns != .decidedByInput { readUndecided() }
    }

    mutating func decideAtEnd() {
        look(at: undecided.scanned..<undecided.text.count)
        if columns == .decidedByInput { columns = undecided.sawTwo ? .two : .one }
        readUndecided()
    }

    private mutating func look(at line: Range<Int>) {
        undecided.text.withUnsafeBytes { bytes in
            let line = UnsafeRawBufferPointer(rebasing: bytes[line])
            if isComment(line) { return }
            guard case .success(let last) = FoldedLine.parse(line) else { return }
            if case .success = FoldedLine.parse(UnsafeRawBufferPointer(rebasing: line[..<last.stackLength])) {
                undecided.sawTwo = true
            } else {
                columns = .one
            }
        }
    }

    private mutating func readUndecided() {
        let gathered = undecided.text
        undecided = UndecidedText()
        gathered.withUnsafeBytes { readDecided($0) }
    }

    /// Counts a line of two numbers, or says why it can't be.
    mutating func countTwo(
        _ after: FoldedLine, in line: UnsafeRawBufferPointer, readableEnd: UnsafeRawPointer
    ) -> RejectedLine.Reason? {
        guard let base = line.baseAddress else { return .noNumber }
        guard case .success(let first) = FoldedLine.parse(UnsafeRawBufferPointer(rebasing: line[..<after.stackLength])) else {
            return .noSecondNumber
        }
        if tree.count + first.stackLength + 1 > FrameTree.maximumCount { return .tooManyFrames }
        let finest = max(decimals, first.decimals, after.decimals)
        guard let old = scaled(first.weight, from: first.decimals, to: finest),
            let new = scaled(after.weight, from: after.decimals, to: finest),
            let grown = scaled(total, from: decimals, to: finest)
        else { return .totalTooLarge }
        let (sum, overflow) = old.addingReportingOverflow(new)
        if overflow || grown.addingReportingOverflow(sum).overflow { return .totalTooLarge }
        if finest > decimals {
            scaleWeights(by: powerOfTen(finest - decimals))
            decimals = finest
        }
        isDifference = true
        addStack(base, length: first.stackLength, weight: sum, readableEnd: readableEnd)
        while before.count < tree.count { _ = before.append(0) }
        before.pointer(FrameTree.root).pointee += old
        for index in 0..<path.count { before.pointer(path.frames[index].node).pointee += old }
        return nil
    }

    /// The first profile's share of `total`, where the stacks are two profiles.
    public var totalBefore: UInt64 { weightBefore(FrameTree.root) }

    /// Weight of a node in the first of two profiles.
    func weightBefore(_ node: UInt32) -> UInt64 { isDifference ? before[node] : 0 }

    /// Multiplies every weight. The caller has checked that the total stays within 64 bits.
    mutating func scaleWeights(by factor: UInt64) {
        tree.scaleWeights(by: factor)
        // A first profile keeps its own decimals while the second is read.
        if factor != 1, firstProfile == nil { for node in 0..<UInt32(before.count) { before.pointer(node).pointee &*= factor } }
        for kind in weightByLeafKind.indices { weightByLeafKind[kind] &*= factor }
        commands.scale(by: factor)
    }

    /// Multiplies every weight by a decimal number, exactly. False, and nothing changed, when that needs more than 64 bits.
    public mutating func multiply(by factor: ExactNumber) -> Bool {
        if total.multipliedReportingOverflow(by: factor.value).overflow || decimals + factor.decimals > 18 { return false }
        // Only what is compared is judged by samples.
        if isDifference { measure.sampleWeight = sampleWeight.map { $0 * Double(factor.value) / Double(powerOfTen(factor.decimals)) } }
        isMultiplied = true
        scaleWeights(by: factor.value)
        decimals += factor.decimals
        return true
    }

    /// Lets all stacks together be part of a larger whole, which becomes the total. False, and nothing changed, when it
    /// is less than they weigh or needs more than 64 bits.
    public mutating func widen(to whole: ExactNumber) -> Bool {
        // Nothing is no part of anything: a picture of a total alone would claim to be one of a profile.
        if isEmpty { return true }
        guard decimals >= whole.decimals, let value = scaled(whole.value, from: whole.decimals, to: decimals) else {
            guard let weight = scaled(total, from: decimals, to: whole.decimals), weight <= whole.value else { return false }
            scaleWeights(by: powerOfTen(whole.decimals - decimals))
            decimals = whole.decimals
            return widen(to: whole)
        }
        guard value >= total else { return false }
        tree.add(value - total, to: FrameTree.root)
        return true
    }

    /// Adds a stack from its leaf, or without merging it with any stack but the one before.
    mutating func addUnshared(_ stack: UnsafeRawPointer, length: Int, weight: UInt64, readableEnd: UnsafeRawPointer) {
        var found: [(start: Int, name: UInt32)] = []
        var start = 0
        while start <= length {
            let key = FrameKey.scan(stack + start, limit: length - start, readableEnd: readableEnd)
            found.append((start, names.intern(stack + start, key)))
            start += Int(key.length) + 1
        }
        if let leaf = found.last { weightByLeafKind[Int(names.kind(leaf.name).rawValue)] += weight }
        if reading.isReversed { found.reverse() }
        path.count = 0
        var node = FrameTree.root
        tree.add(weight, to: node)
        for (start, name) in found {
            node = reading.keepsOrder ? tree.latestChild(of: node, named: name) : tree.child(of: node, named: name)
            tree.add(weight, to: node)
            path.push(StackPath.Frame(end: start, node: node))
        }
        // Nothing here is shared with the next stack.
        previous = UnsafeRawBufferPointer(start: nil, count: 0)
    }
}

/// A number as people write it, without loss: `value` / 10^`decimals`.
public struct ExactNumber: Sendable, Equatable {
    public var value: UInt64
    public var decimals: Int

    /// Reads digits with at most one point; nil for anything else, or for what needs more than 64 bits.
    public init?(_ text: String) {
        let line = Array("x \(text)".utf8)
        guard let parsed = line.withUnsafeBytes({ try? FoldedLine.parse($0).get() }), parsed.stackLength == 1,
            !text.utf8.contains(where: \.isSpace)
        else { return nil }
        (value, decimals) = (parsed.weight, parsed.decimals)
    }
}

func powerOfTen(_ exponent: Int) -> UInt64 { (0..<exponent).reduce(1) { power, _ in power * 10 } }

func scaled(_ weight: UInt64, from decimals: Int, to finer: Int) -> UInt64? {
    guard finer >= decimals else { return nil }
    let (product, overflow) = weight.multipliedReportingOverflow(by: powerOfTen(finer - decimals))
    return overflow ? nil : product
}
