extension CollapseFormat {
    /// `gdb -p PID -batch -ex 'thread apply all bt'`. Each thread's stack is a sample; several dumps add up.
    public static let gdb = CollapseFormat(
        name: "gdb", title: "`thread apply all bt` of gdb", advice: "Give what `gdb -p PID -batch -ex 'thread apply all bt'` prints.",
        switches: [.pid, .tid, .addrs, .mergeThreads],
        recognizes: { $0.contains { GDBReader.isFrame($0) || GDBReader.isThread($0) } },
        collapser: { options, _ in LineCollapser(GDBReader(), options) })
}

/// A thread is a line with its number, then a line for each frame, innermost first:
///
///     Thread 2 (Thread 0x7f52346 (LWP 4711) "worker 7"):
///     #0  0x00007f52366f1df2 in pause () at ../pause.c:29
///     #1  0x000055df44417889 in inner (n=3) at a.cpp:10
///     #2  outer (n=2) at a.cpp:14
///     #3  0x00007f52368d44a3 in ?? () from /lib/libstdc++.so.6
///
/// gdb leaves out the address of a caller whose callee is inlined into it: `inner` is a part of `outer` here.
struct GDBReader: LineReader {
    private struct Frame {
        var name: [UInt8]
        var hasAddress: Bool
    }

    private var isOpen = false
    private var isBehindBlank = false
    private var label: UInt32 = 0
    private var frames: [Frame] = []
    /// What the next frame's number is.
    private var next = 0
    /// The line before, if it is a frame whose arguments don't end in it.
    private var unended: ArraySlice<UInt8>?

    static func isThread(_ line: some BidirectionalCollection<UInt8>) -> Bool {
        line.starts(with: "Thread ".utf8) && line.last == UInt8(ascii: ":") && line.dropFirst(7).first?.isDecimalDigit == true
            && line.dropFirst(7).drop { $0.isDecimalDigit || $0 == UInt8(ascii: ".") }.starts(with: " (".utf8)
    }

    /// `#12 0x… in f (`, and not eu-stack's `#12 0x… f`.
    static func isFrame(_ line: ArraySlice<UInt8>) -> Bool {
        guard let (_, rest) = numbered(line) else { return false }
        return rest.contains(UInt8(ascii: "(")) || rest.first == UInt8(ascii: "<")
    }

    /// The number behind `#`, and what follows it.
    static func numbered(_ line: ArraySlice<UInt8>) -> (number: Int, rest: ArraySlice<UInt8>)? {
        guard line.first == UInt8(ascii: "#") else { return nil }
        let digits = line.dropFirst().prefix(while: \.isDecimalDigit)
        let rest = line[digits.endIndex...]
        guard rest.first?.isSpace == true, let number = Int(String(decoding: digits, as: UTF8.self)) else { return nil }
        return (number, rest.drop(while: \.isSpace))
    }

    mutating func read(_ whole: UnsafeRawBufferPointer, _ stacks: inout CollapsedStacks) -> LineKind {
        var line = Array(whole)[...]
        while let last = line.last, last.isSpace { line.removeLast() }
        unended = nil
        if line.isEmpty {
            isBehindBlank = true
            return .blank
        }
        if Self.isThread(line) {
            endSample(&stacks)
            isOpen = true
            label = stacks.intern(Self.threadName(line, stacks.options))
            return .sample
        }
        if let (number, rest) = Self.numbered(line.drop(while: \.isSpace)), !rest.isEmpty {
            guard Self.isComplete(rest) else { return .rejected(.incompleteFrame) }
            // A stack of its own, as `bt` prints it.
            if number == 0, !frames.isEmpty { endSample(&stacks) }
            if !isOpen {
                guard number == 0 else { return .rejected(.frameWithoutSample) }
                isOpen = true
                let nothing: [UInt8]? = nil
                if frames.isEmpty { label = stacks.intern(processName([], process: nothing, thread: nothing, stacks.options)) }
            }
            isBehindBlank = false
            if number != next { stacks.reject(line, .gap) }
            next = number &+ 1
            if !rest.contains(UInt8(ascii: ")")), rest.first != UInt8(ascii: "<") { unended = line }
            frames.append(Self.frame(rest, stacks.options))
            return .frame
        }
        // `[Inferior 1 (process 7) detached]`: what follows belongs to no stack.
        if line[0] == UInt8(ascii: "[") {
            isBehindBlank = true
            return .field
        }
        if line.starts(with: "(More stack frames follow".utf8) { return .rejected(.moreFrames) }
        if Self.messages.contains(where: { line.starts(with: $0.utf8) }) { return .field }
        // Of `bt full`.
        if line[0].isSpace, !frames.isEmpty, !isBehindBlank { return .field }
        // Where the process stopped: its frame and its line.
        if !isOpen || isBehindBlank, Self.isPlace(line) { return .field }
        return .rejected(.unknown)
    }

    /// What gdb says between stacks and, of `bt full`, below frames.
    private static let messages = [
        "Backtrace stopped", "warning: ", "No locals", "No symbol table", "Python Exception", "Detaching ", "--Type <RET>", "Using host libthread_db",
        "ptrace: ", "Attaching to ", "Reading symbols from ", "Core was generated by ", "Program terminated with ", "Program received signal ",
        "Breakpoint ", "Temporary breakpoint ", "Continuing", "Download", "Debuginfod ", "Enable debuginfod", "This GDB supports auto-downloading",
        "  <http", "Missing separate debuginfo", "To make this setting permanent",
    ]

    /// `0x1 in f () from /lib/x.so`, `f (n=3) at a.c:10`, and below it line 10 itself or where it should be: `10\tin a.c`.
    private static func isPlace(_ line: ArraySlice<UInt8>) -> Bool {
        let digits = line.prefix(while: \.isDecimalDigit)
        if !digits.isEmpty, line[digits.endIndex...].first == UInt8(ascii: "\t") { return true }
        if line.starts(with: "0x".utf8) { return isComplete(line) }
        return [") at ", ") from ", "\" received signal "].contains { line.firstRange(of: Array($0.utf8)) != nil }
    }

    /// Whether a frame's text holds its function: gdb writes arguments behind each, and `in` between address and function. eu-stack doesn't.
    private static func isComplete(_ text: ArraySlice<UInt8>) -> Bool {
        if text.first == UInt8(ascii: "<"), text.last == UInt8(ascii: ">") { return true }
        guard text.contains(UInt8(ascii: "(")) else { return false }
        guard text.starts(with: "0x".utf8) else { return true }
        return text[text.dropFirst(2).prefix(while: \.isHexadecimalDigit).endIndex...].starts(with: " in ".utf8)
    }

    mutating func endInput(_ stacks: inout CollapsedStacks) {
        if let unended { stacks.reject(unended, .incompleteFrame) }
        unended = nil
        endSample(&stacks)
    }

    private mutating func endSample(_ stacks: inout CollapsedStacks) {
        defer {
            frames.removeAll(keepingCapacity: true)
            (isOpen, isBehindBlank, next) = (false, false, 0)
        }
        guard isOpen else { return }
        let showsAddresses = frames.contains { $0.hasAddress }
        var stack: [UInt32] = []
        for index in frames.indices {
            let isInlined =
                showsAddresses && index + 1 < frames.count && !frames[index + 1].hasAddress
                // A signal interrupts wherever it comes, and what gdb writes in its place has no address.
                && !frames[index...(index + 1)].contains { $0.name.first == UInt8(ascii: "<") }
            stack.append(stacks.intern(frames[index].name + Array((isInlined && stacks.options.marksInlined ? "_[i]" : "").utf8)))
        }
        stacks.add(1, stack, below: label)
    }

    private static func threadName(_ line: ArraySlice<UInt8>, _ options: CollapseOptions) -> [UInt8] {
        let quote = UInt8(ascii: "\"")
        var name: ArraySlice<UInt8> = []
        var numbers = line
        if let first = line.firstIndex(of: quote), let last = line.lastIndex(of: quote), first < last {
            name = line[(first + 1)..<last]
            numbers = line[..<first]
        }
        func number(_ word: String) -> ArraySlice<UInt8>? {
            let places = numbers.indices.filter { numbers[$0...].starts(with: word.utf8) }
            return places.last.map { numbers[($0 + word.utf8.count)...].prefix(while: \.isDecimalDigit) }
        }
        let process = number("process ")
        return processName(name, process: process, thread: number("LWP ") ?? process, options)
    }

    private static func frame(_ text: ArraySlice<UInt8>, _ options: CollapseOptions) -> Frame {
        var text = text
        var address: ArraySlice<UInt8>?
        if text.starts(with: "0x".utf8) {
            let digits = text.dropFirst(2).prefix(while: \.isHexadecimalDigit)
            if text[digits.endIndex...].starts(with: " in ".utf8) {
                address = digits
                text = text[(digits.endIndex + 4)...]
            }
        }
        if text.first == UInt8(ascii: "<") && text.last == UInt8(ascii: ">") { return Frame(name: frameName(text), hasAddress: address != nil) }
        let (symbol, module) = split(text)
        return Frame(name: functionName(symbol, module: module, address: address ?? [], options), hasAddress: address != nil)
    }

    /// The function's name and the file that it came from, in `name (arguments) at file:line` and `name () from file`.
    static func split(_ text: ArraySlice<UInt8>) -> (symbol: ArraySlice<UInt8>, module: ArraySlice<UInt8>) {
        var text = text
        var module: ArraySlice<UInt8> = []
        let from = Array(") from ".utf8)
        if let place = text.indices.dropLast(from.count).last(where: { text[$0...].starts(with: from) }) {
            module = text[(place + from.count)...]
            text = text[...place]
        }
        // A name without debug information, as the linker knows it: it may hold blanks and parentheses, and has no arguments.
        if text.hasSuffix(" ()") { return (text.dropLast(3), module) }
        var depth = 0
        var index = text.startIndex
        while index < text.endIndex {
            switch text[index] {
            case UInt8(ascii: "(") where depth == 0 && index > text.startIndex && text[index - 1] == UInt8(ascii: " "):
                return (text[..<(index - 1)], module)
            case UInt8(ascii: "("), UInt8(ascii: "<"), UInt8(ascii: "["), UInt8(ascii: "{"): depth += 1
            case UInt8(ascii: ">") where index > text.startIndex && text[index - 1] == UInt8(ascii: "-"): break
            case UInt8(ascii: ")"), UInt8(ascii: ">"), UInt8(ascii: "]"), UInt8(ascii: "}"): depth = max(0, depth - 1)
            case UInt8(ascii: "o") where text[index...].starts(with: "operator".utf8):
                // Its sign belongs to the name.
                index += 8
                while index < text.endIndex, "<>=-!".utf8.contains(text[index]) { index += 1 }
                continue
            default: break
            }
            index += 1
        }
        return (text, module)
    }
}
