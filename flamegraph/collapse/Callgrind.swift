extension CollapseFormat {
    /// What callgrind writes: `callgrind.out.PID`. Several files, such as one for each thread, add up.
    public static let callgrind = CollapseFormat(
        name: "callgrind", title: "callgrind.out of valgrind", advice: "Give a file that `valgrind --tool=callgrind` wrote.",
        switches: [.eventFilter, .addrs],
        recognizes: { lines in
            lines.contains { $0.starts(with: "# callgrind format".utf8) }
                || lines.contains { $0.starts(with: "events:".utf8) } && lines.contains { $0.starts(with: "fn=".utf8) }
        },
        collapser: { options, _ in LineCollapser(CallgrindReader(options), options) })
}

/// Functions with the cost of their own lines, and calls with the cost of everything that they did:
///
///     events: Ir Dr
///     ob=(1) /bin/a
///     fn=(1) main              the name of number 1, given once
///     16 400 20                a line and its costs; `+3`, `-2` and `*` are relative to the line before
///     cfn=(2) f                main calls f,
///     calls=3 50               three times,
///     17 900 40                at a cost of 900 in all
///
/// Whole stacks are not in the file: `CallGraph` estimates them.
struct CallgrindReader: LineReader {
    private var graph = CallGraph()
    private let options: CollapseOptions
    private var event: String?

    // Of the part at hand.
    private var objects = NameTable()
    private var functions = NameTable()
    private var positions = 1
    /// Which of the costs counts; nil where the part has no such event.
    private var column: Int?
    private var hasEvents = false
    private var object: [UInt8] = []
    private var function: Int?
    private var calledObject: [UInt8]?
    private var calledFunction: [UInt8]?
    /// A line with the cost of a call follows.
    private var isCall = false
    private var costOfPart: UInt64 = 0
    /// What the part's header says of its whole cost, until its end says it again.
    private var summary: (line: [UInt8], cost: UInt64)?

    init(_ options: CollapseOptions) { self.options = options }

    var measure: Measure {
        var measure = Measure()
        // Counted, not sampled.
        (measure.event, measure.unit, measure.sampleWeight) = (event, event, 1)
        return measure
    }

    var notes: [String] {
        let shared = graph.countOfSharedFunctions
        guard shared > 0 || graph.hasCycles else { return [] }
        return [
            "estimate: callgrind keeps who called whom, not whole stacks. The cost of each function is exact; that of "
                + "\(shared) with several callers is divided among these by the cost of their calls"
                + (graph.hasCycles ? "; of functions that call each other in a circle, [recursion], the order is not known" : "")
        ]
    }

    mutating func read(_ whole: UnsafeRawBufferPointer, _ stacks: inout CollapsedStacks) -> LineKind {
        var line = Array(whole)[...]
        while let last = line.last, last.isSpace { line.removeLast() }
        guard let first = line.first else { return .blank }
        if first == UInt8(ascii: "#") { return .comment }
        if first.isDecimalDigit || [UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "*")].contains(first) { return readCost(line, &stacks) }
        if isCall {
            isCall = false
            stacks.reject(line, .callWithoutCost)
        }
        if let divider = line.firstIndex(where: { $0 == UInt8(ascii: "=") || $0 == UInt8(ascii: ":") }) {
            let key = String(decoding: line[..<divider], as: UTF8.self)
            let value = line[(divider + 1)...].drop(while: \.isSpace)
            if line[divider] == UInt8(ascii: ":") { return readHeader(key, value, &stacks) }
            return readName(key, value)
        }
        return .rejected(.unknown)
    }

    private mutating func readHeader(_ key: String, _ value: ArraySlice<UInt8>, _ stacks: inout CollapsedStacks) -> LineKind {
        let words = value.split(whereSeparator: \.isSpace).map { String(decoding: $0, as: UTF8.self) }
        switch key {
        case "version", "creator": endPart(&stacks)
        case "positions": positions = max(words.count, 1)
        case "events":
            hasEvents = true
            let wanted = options.events.first ?? event ?? words.first
            column = words.firstIndex { $0 == wanted }
            for word in words where !stacks.report.events.contains(where: { $0.name == word }) {
                stacks.report.events.append(.init(name: word, samples: 0, isCounted: word == wanted))
            }
            guard column != nil else { return .rejected(.unknownEvent) }
            event = wanted
        case "totals":
            // With `summary`, the cost of code that was not recorded is in it.
            if let column, words.indices.contains(column), UInt64(words[column]) != costOfPart { stacks.reject(value, .otherTotal) }
            (costOfPart, summary) = (0, nil)
        case "summary":
            if let column, words.indices.contains(column), let cost = UInt64(words[column]) { summary = (Array("summary: ".utf8) + value, cost) }
        case "pid", "cmd", "part", "desc", "thread", "event", "target", "arch": break
        default: return .rejected(.unknown)
        }
        return .field
    }

    private mutating func readName(_ key: String, _ value: ArraySlice<UInt8>) -> LineKind {
        switch key {
        case "ob":
            guard let name = objects.name(value) else { return .rejected(.undefinedName) }
            object = name
        case "cob":
            guard let name = objects.name(value) else { return .rejected(.undefinedName) }
            calledObject = name
        case "fn":
            guard let name = functions.name(value) else { return .rejected(.undefinedName) }
            function = graph.function(name, in: object)
            return .sample
        case "cfn":
            guard let name = functions.name(value) else { return .rejected(.undefinedName) }
            calledFunction = name
        case "calls": isCall = true
        case "fl", "fi", "fe", "cfi", "cfl", "jump", "jcnd", "rcalls", "frfn", "jfi", "jfn", "jump-file": break
        default: return .rejected(.unknown)
        }
        return .field
    }

    /// Where in the program, and the costs of each event; those left out at the end are 0.
    private mutating func readCost(_ line: ArraySlice<UInt8>, _ stacks: inout CollapsedStacks) -> LineKind {
        let words = line.split(whereSeparator: \.isSpace)
        guard hasEvents, let function else { return .rejected(.frameWithoutSample) }
        let (isCall, calledFunction, calledObject) = (self.isCall, self.calledFunction, self.calledObject)
        (self.isCall, self.calledFunction, self.calledObject) = (false, nil, nil)
        guard words.prefix(positions).allSatisfy(Self.isPosition) else { return .rejected(.malformedNumber) }
        var costs: [UInt64] = []
        for word in words.dropFirst(positions) {
            guard let cost = Self.number(word) else { return .rejected(.malformedNumber) }
            costs.append(cost)
        }
        guard let column else { return .field }
        let cost = costs.indices.contains(column) ? costs[column] : 0
        if isCall {
            guard let name = calledFunction else { return .rejected(.callWithoutCost) }
            guard graph.add(cost, from: function, to: graph.function(name, in: calledObject ?? object)) else { return .rejected(.weightTooLarge) }
            return .frame
        }
        let (sum, overflow) = costOfPart.addingReportingOverflow(cost)
        guard !overflow, graph.add(cost, to: function) else { return .rejected(.weightTooLarge) }
        costOfPart = sum
        return .frame
    }

    private static func isPosition(_ word: ArraySlice<UInt8>) -> Bool {
        let digits = [UInt8(ascii: "+"), UInt8(ascii: "-")].contains(word.first) ? word.dropFirst() : word
        if digits.starts(with: "0x".utf8) { return digits.dropFirst(2).allSatisfy(\.isHexadecimalDigit) }
        return digits.elementsEqual("*".utf8) || digits.allSatisfy(\.isDecimalDigit)
    }

    private static func number(_ word: ArraySlice<UInt8>) -> UInt64? {
        let text = String(decoding: word, as: UTF8.self)
        return text.hasPrefix("0x") ? UInt64(text.dropFirst(2), radix: 16) : text.first == "+" ? nil : UInt64(text)
    }

    mutating func endInput(_ stacks: inout CollapsedStacks) {
        if isCall { stacks.reject("end".utf8, .callWithoutCost) }
        endPart(&stacks)
        (objects, functions) = (NameTable(), NameTable())
    }

    /// Names keep their numbers in all parts of a file.
    private mutating func endPart(_ stacks: inout CollapsedStacks) {
        // callgrind writes `totals` last.
        if let summary, summary.cost != costOfPart { stacks.reject(summary.line, .cutOff) }
        summary = nil
        (function, calledFunction, calledObject, isCall, costOfPart, object) = (nil, nil, nil, false, 0, [])
        (hasEvents, column, positions) = (false, nil, 1)
    }

    mutating func finish(_ stacks: inout CollapsedStacks) { graph.writeStacks(&stacks) }
}

/// Names by number: `(12) name` gives one, `(12)` refers to it, and a name without number stands for itself.
private struct NameTable {
    private var names: [[UInt8]: [UInt8]] = [:]

    mutating func name(_ value: ArraySlice<UInt8>) -> [UInt8]? {
        guard value.first == UInt8(ascii: "("), let closing = value.firstIndex(of: UInt8(ascii: ")")), closing > value.startIndex + 1 else {
            return Array(value)
        }
        let number = value[(value.startIndex + 1)..<closing]
        // `(below main)` is a name.
        guard number.allSatisfy(\.isDecimalDigit) else { return Array(value) }
        let name = value[(closing + 1)...].drop(while: \.isSpace)
        if name.isEmpty { return names[Array(number)] }
        names[Array(number)] = Array(name)
        return Array(name)
    }
}
