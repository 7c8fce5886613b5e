extension CollapseFormat {
    /// The maps that bpftrace prints, as text or with `-f json`: `@[kstack, ustack, comm] = count()`. Each entry with its value is a sample.
    public static let bpftrace = CollapseFormat(
        name: "bpftrace", title: "maps of bpftrace",
        advice: "Give what bpftrace prints of a map whose keys have a stack and whose values are numbers: `@[ustack, comm] = count()`.",
        switches: [.pid, .tid, .kernel, .jit, .all, .addrs, .eventFilter, .mergeThreads, .keys],
        recognizes: { lines in
            if lines.contains(where: { $0.starts(with: "{\"type\": \"".utf8) }) { return true }
            return lines.indices.contains { index in
                guard let (_, rest) = BPFTraceReader.entry(lines[index]) else { return false }
                if let closing = BPFTraceReader.closing(rest) { return BPFTraceMap.isNumber(closing.value) }
                return BPFTraceReader.opensStack(rest) && index + 1 < lines.count && BPFTraceFrame.isFrame(lines[index + 1])
            }
        },
        collapser: { options, _ in LineCollapser(BPFTraceReader(options), options) })
}

/// Entries of maps, each on a line where its key has no stack. Of a stack each frame has a line, innermost first, and what follows it in the
/// key stands on a line of its own. A stack without frames is nothing at all:
///
///     @pids[server, 1234]: 3
///     @[
///         vfs_read+187
///         do_syscall_64+113
///     ,
///         __libc_read+13
///         main+36
///     , server]: 5
///     @[,
///         main+64
///     , server]: 1
///
/// Frames have a tab and an address before them in the mode `perf`, and nothing but an address in the mode `raw`. With `-f json` a line is an
/// object, and a key a string of the same lines without the blanks behind its commas. Text and JSON were recorded from 0.17; what later
/// versions print otherwise is in their source (src/output).
struct BPFTraceReader: LineReader {
    private var maps = BPFTraceMaps()
    private let options: CollapseOptions

    // The entry of a map that is being read.
    private var isOpen = false
    private var name: [UInt8] = []
    private var key = BPFTraceKey()
    private var line = 0
    /// After a value that takes several lines: a histogram, a stack.
    private var isInValue = false

    init(_ options: CollapseOptions) { self.options = options }

    var measure: Measure { maps.measure }
    var notes: [String] { maps.notes }

    mutating func read(_ whole: UnsafeRawBufferPointer, _ stacks: inout CollapsedStacks) -> LineKind {
        let line = Array(whole)[...]
        if isOpen, let kind = readInside(line, &stacks) { return kind }
        if line.allSatisfy(\.isSpace) {
            isInValue = false
            return .blank
        }
        if line.first == UInt8(ascii: "@") {
            isInValue = false
            return begin(line, &stacks)
        }
        if line.starts(with: "{\"type\"".utf8) { return readObject(line, &stacks) }
        if isInValue { return .field }
        if BPFTraceFrame.isFrame(line) { return .rejected(.frameWithoutSample) }
        if line.starts(with: "]: ".utf8) || line.starts(with: ", ".utf8) && Self.closing(line) != nil { return .rejected(.unknown) }
        // How many probes are attached, and what the script itself prints.
        return .field
    }

    mutating func endInput(_ stacks: inout CollapsedStacks) {
        giveUp(&stacks)
        isInValue = false
    }

    mutating func finish(_ stacks: inout CollapsedStacks) { maps.writeStacks(&stacks) }

    // MARK: Text

    /// The name of a map, and the line behind its bracket.
    static func entry(_ line: ArraySlice<UInt8>) -> (name: ArraySlice<UInt8>, rest: ArraySlice<UInt8>)? {
        let name = mapName(line)
        guard !name.isEmpty, line[name.endIndex...].first == UInt8(ascii: "[") else { return nil }
        return (name, line[(name.endIndex + 1)...])
    }

    private static func mapName(_ line: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        guard line.first == UInt8(ascii: "@") else { return [] }
        let word = line.dropFirst().prefix { $0.isDecimalDigit || ($0 | 0x20) &- UInt8(ascii: "a") < 26 || $0 == UInt8(ascii: "_") }
        return line[..<word.endIndex]
    }

    /// Where a key ends, and the value behind it: the last `]: ` with a number, or the first with anything else.
    static func closing(_ text: ArraySlice<UInt8>) -> (key: ArraySlice<UInt8>, value: ArraySlice<UInt8>)? {
        let mark = Array("]:".utf8)
        let places = text.indices.filter { index in
            text[index...].starts(with: mark) && (index + 2 == text.endIndex || text[index + 2].isSpace)
        }
        func parts(_ place: Int) -> (ArraySlice<UInt8>, ArraySlice<UInt8>) { (text[..<place], trimmed(text[(place + 2)...])) }
        guard let first = places.first, let last = places.last else { return nil }
        return BPFTraceMap.isNumber(parts(last).1) ? parts(last) : parts(first)
    }

    /// Whether a stack follows a piece of a key: all of the key so far is stacks, or a comma ends it.
    static func opensStack(_ text: ArraySlice<UInt8>) -> Bool { trimmed(text).isEmpty || trimmed(text).last == UInt8(ascii: ",") }

    private mutating func begin(_ line: ArraySlice<UInt8>, _ stacks: inout CollapsedStacks) -> LineKind {
        guard let (name, rest) = Self.entry(line) else {
            let name = Self.mapName(line)
            guard line[name.endIndex...].starts(with: ":".utf8) else { return .field }
            maps.addWithoutKey(Array(name))
            isInValue = true
            return .field
        }
        (self.name, key, self.line) = (Array(name), BPFTraceKey(), stacks.line)
        return proceed(rest, &stacks) ? .sample : .rejected(.unknown)
    }

    /// Reads a line of an entry that is open; nil, and the entry is given up, where the line is none of it.
    private mutating func readInside(_ line: ArraySlice<UInt8>, _ stacks: inout CollapsedStacks) -> LineKind? {
        if BPFTraceFrame.isIndented(line) || BPFTraceFrame.isRaw(line) {
            key.add(maps.frame(line, options))
            return .frame
        }
        if line.first == UInt8(ascii: ",") || line.first == UInt8(ascii: "]") {
            if proceed(line, &stacks) { return .field }
        }
        giveUp(&stacks)
        return nil
    }

    /// Reads a piece of a key between stacks, or its last and the value. False where it is neither.
    private mutating func proceed(_ text: ArraySlice<UInt8>, _ stacks: inout CollapsedStacks) -> Bool {
        if let (last, value) = Self.closing(text) {
            key.add(last, separator: ", ", isLast: true)
            maps.add(key, value, separator: ", ", to: name, input: stacks.input, line: line)
            (isOpen, isInValue) = (false, !BPFTraceMap.isNumber(value))
            return true
        }
        guard Self.opensStack(text) else { return false }
        // Editors remove the blank at the end.
        key.add(text.last == UInt8(ascii: ",") ? text + [UInt8(ascii: " ")] : text, separator: ", ", isLast: false)
        isOpen = true
        return true
    }

    private mutating func giveUp(_ stacks: inout CollapsedStacks) {
        guard isOpen else { return }
        isOpen = false
        let text = name + Array("[".utf8)
        let (input, line) = (stacks.input, line)
        text.withUnsafeBytes { stacks.report.reject($0, .incompleteEntry, input: input, line: line, isUnread: false) }
    }

    private static func trimmed(_ text: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        var text = text.drop(while: \.isSpace)
        while let last = text.last, last.isSpace { text.removeLast() }
        return text
    }

    // MARK: JSON

    /// `{"type": "map", "data": {"@": {"\n    main+36\n,server": 5}}}`
    private mutating func readObject(_ line: ArraySlice<UInt8>, _ stacks: inout CollapsedStacks) -> LineKind {
        guard case .object(let object) = BPFTraceJSON.value(line) else { return .rejected(.brokenJSON) }
        func member(_ name: String) -> BPFTraceJSON.Value? { object.first { $0.key.elementsEqual(name.utf8) }?.value }
        guard case .string(let type) = member("type"), case .object(let data) = member("data") else { return .field }
        // Averages are numbers, too.
        let isMap = type.elementsEqual("map".utf8)
        guard isMap || ["stats", "hist", "tseries"].contains(where: { type.elementsEqual($0.utf8) }) else { return .field }
        for (name, entries) in data {
            guard Self.mapName(name[...]).count == name.count, !name.isEmpty else { return .rejected(.unknown) }
            guard case .object(let entries) = entries else {
                maps.addWithoutKey(name)
                continue
            }
            // The same key may be there several times: stacks of different addresses may have equal names.
            for (text, value) in entries {
                let number: ArraySlice<UInt8> =
                    switch value {
                    // Versions that write numbers beyond 53 bits as strings.
                    case .number(let digits), .string(let digits): isMap ? digits[...] : []
                    default: []
                    }
                maps.add(objectKey(text), number, separator: ",", to: name, input: stacks.input, line: stacks.line)
            }
        }
        return .sample
    }

    /// Later versions indent no frames here.
    private mutating func objectKey(_ text: [UInt8]) -> BPFTraceKey {
        var key = BPFTraceKey()
        var isInStack = false
        let lines = text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        var piece: [UInt8] = []
        for (index, line) in lines.enumerated() {
            if isInStack, !line.isEmpty, line.first != UInt8(ascii: ",") {
                key.add(maps.frame(line, options))
                continue
            }
            piece += line
            isInStack = piece.isEmpty || piece.last == UInt8(ascii: ",")
            guard index + 1 < lines.count else { break }
            // A name with a line end in it.
            guard isInStack else {
                piece.append(UInt8(ascii: "\n"))
                continue
            }
            key.add(piece[...], separator: ",", isLast: false)
            piece = []
        }
        key.add(piece[...], separator: ",", isLast: true)
        return key
    }
}
