extension CollapseFormat {
    /// `eu-stack -p PID` of elfutils. Each thread's stack is a sample; several dumps add up.
    public static let euStack = CollapseFormat(
        name: "eu-stack", title: "`eu-stack` of elfutils", advice: "Give what `eu-stack -p PID` prints.",
        switches: [.pid, .tid, .addrs, .mergeThreads],
        recognizes: { lines in lines.contains { EUStackReader.number(of: "TID ", $0) != nil && $0.last == UInt8(ascii: ":") } },
        collapser: { options, _ in LineCollapser(EUStackReader(), options) })
}

/// A process, its threads, and of each a line for each frame, innermost first. Threads have no names there.
///
///     PID 4700 - process
///     TID 4711:
///     #0  0x00007f52366a3f16     inner - /bin/a           (-i, -m)
///     #1  0x00007f52366a3f16     outer - /bin/a
///         /src/a.c:57:12                                  (-s)
///     #2  0x00007f52368d44a3 - 1 main - /bin/a            (-a)
///
/// Frames with one address are one function and what is inlined into it.
struct EUStackReader: LineReader {
    private struct Frame {
        var address: ArraySlice<UInt8>
        var name: [UInt8]
    }

    private var process: [UInt8]?
    private var isOpen = false
    /// Of the modules that `-l` lists.
    private var isInList = false
    private var label: UInt32 = 0
    private var frames: [Frame] = []

    /// The number behind a word at a line's beginning.
    static func number(of word: String, _ line: ArraySlice<UInt8>) -> ArraySlice<UInt8>? {
        guard line.starts(with: word.utf8) else { return nil }
        let digits = line.dropFirst(word.utf8.count).prefix(while: \.isDecimalDigit)
        return digits.isEmpty ? nil : digits
    }

    mutating func read(_ whole: UnsafeRawBufferPointer, _ stacks: inout CollapsedStacks) -> LineKind {
        var line = Array(whole)[...]
        while let last = line.last, last.isSpace { line.removeLast() }
        if line.isEmpty { return .blank }
        if let number = Self.number(of: "PID ", line), line[number.endIndex...].starts(with: " - ".utf8) {
            endSample(&stacks)
            process = Array(number)
            isInList = true
            return .field
        }
        if let number = Self.number(of: "TID ", line), line[number.endIndex...].elementsEqual(":".utf8) {
            endSample(&stacks)
            (isOpen, isInList) = (true, false)
            label = stacks.intern(processName([], process: process, thread: number, stacks.options))
            return .sample
        }
        if line[0].isSpace || line.starts(with: "eu-stack: ".utf8) || isInList && line.starts(with: "0x".utf8) { return .field }
        guard let (number, rest) = GDBReader.numbered(line), let frame = Self.frame(rest, stacks.options) else { return .rejected(.unknown) }
        guard isOpen else { return .rejected(.frameWithoutSample) }
        if number != frames.count { stacks.reject(line, .gap) }
        frames.append(frame)
        return .frame
    }

    mutating func endInput(_ stacks: inout CollapsedStacks) {
        endSample(&stacks)
        process = nil
    }

    private mutating func endSample(_ stacks: inout CollapsedStacks) {
        defer {
            frames.removeAll(keepingCapacity: true)
            (isOpen, isInList) = (false, false)
        }
        guard isOpen else { return }
        var stack: [UInt32] = []
        for index in frames.indices {
            // A function that calls itself has one name at one address.
            let isInlined = index + 1 < frames.count && frames[index].address == frames[index + 1].address && frames[index].name != frames[index + 1].name
            stack.append(stacks.intern(frames[index].name + Array((isInlined && stacks.options.marksInlined ? "_[i]" : "").utf8)))
        }
        stacks.add(1, stack, below: label)
    }

    private static func frame(_ text: ArraySlice<UInt8>, _ options: CollapseOptions) -> Frame? {
        guard text.starts(with: "0x".utf8) else { return nil }
        let digits = text.dropFirst(2).prefix(while: \.isHexadecimalDigit)
        var rest = text[digits.endIndex...]
        guard !digits.isEmpty, rest.isEmpty || rest.first?.isSpace == true else { return nil }
        // Of a caller `-a` says that the address is the one behind its call.
        if rest.starts(with: " - 1".utf8), rest.count == 4 || rest.dropFirst(4).first?.isSpace == true { rest = rest.dropFirst(4) }
        let divider = Array(" - ".utf8)
        var module: ArraySlice<UInt8> = []
        if let place = rest.indices.last(where: { rest[$0...].starts(with: divider) }),
            [UInt8(ascii: "/"), UInt8(ascii: "[")].contains(rest[(place + 3)...].first)
        {
            module = rest[(place + 3)...]
            rest = rest[..<place]
        }
        return Frame(address: digits, name: functionName(rest.drop(while: \.isSpace), module: module, address: digits, options))
    }
}
