extension CollapseFormat {
    /// `jstack PID`, `jcmd PID Thread.print`, or what a JVM prints at SIGQUIT, among whatever else. Each thread's stack is a sample.
    public static let jstack = CollapseFormat(
        name: "jstack", title: "`jstack` of a JVM", advice: "Give what `jstack PID` or `jcmd PID Thread.print` prints.",
        switches: [.pid, .tid, .mergeThreads],
        recognizes: { lines in lines.contains { $0.starts(with: "Full thread dump ".utf8) || JStackReader.isThread($0) } },
        collapser: { options, _ in LineCollapser(JStackReader(), options) })
}

/// A thread is a line with its name, one with its state, one for each frame, innermost first, with its locks between them:
///
///     "worker-1" #12 daemon prio=5 os_prio=0 cpu=3.04ms elapsed=3.54s tid=0x00007fc31c119fc0 nid=0x757a runnable  [0x00007fc29affd000]
///        java.lang.Thread.State: RUNNABLE
///     	at java.lang.Thread.run(java.base@17.0.15/Thread.java:840)
///     	- locked <0x000000069ec1a770> (a java.lang.Object)
///
/// The state stands below the thread, `(RUNNABLE)`. At the end the JVM prints the stacks of threads that are in a deadlock once more.
struct JStackReader: LineReader {
    private var isOpen = false
    private var isInDeadlock = false
    private var label: UInt32 = 0
    private var state: UInt32?
    private var frames: [UInt32] = []
    /// The beginning of a thread's name that holds line ends.
    private var cutName: [UInt8] = []

    static func isThread(_ line: some BidirectionalCollection<UInt8>) -> Bool {
        line.contains(UInt8(ascii: "\"")) && identifier(line) != nil
    }

    /// Where ` tid=0x… nid=` stands: behind everything that a thread chose.
    private static func identifier<Text: BidirectionalCollection<UInt8>>(_ line: Text) -> Text.Index? {
        var place = line.endIndex
        while let blank = line[..<place].lastIndex(of: UInt8(ascii: " ")) {
            if line[blank...].starts(with: " tid=0x".utf8) {
                let behind = line[blank...].dropFirst(7).drop(while: \.isHexadecimalDigit)
                return behind.starts(with: " nid=".utf8) ? blank : nil
            }
            place = blank
        }
        return nil
    }

    mutating func read(_ whole: UnsafeRawBufferPointer, _ stacks: inout CollapsedStacks) -> LineKind {
        var line = Array(whole)[...]
        while let last = line.last, last.isSpace { line.removeLast() }
        if !isInDeadlock, cutName.isEmpty ? line.first == UInt8(ascii: "\"") : true, !line.starts(with: "Full thread dump ".utf8) {
            if let identifier = Self.identifier(line), line[..<identifier].contains(UInt8(ascii: "\"")) {
                openThread(line, identifier, &stacks)
                return .sample
            }
            if !cutName.isEmpty || line.last != UInt8(ascii: ":") {
                endSample(&stacks)
                // A name that never ends is none.
                guard cutName.count + line.count < 4096 else {
                    cutName = []
                    return .rejected(.unknown)
                }
                cutName += line + [UInt8(ascii: "\n")]
                return .sample
            }
        }
        if line.isEmpty {
            endSample(&stacks)
            return .blank
        }
        if line.starts(with: "Full thread dump ".utf8) {
            endSample(&stacks)
            if !cutName.isEmpty { stacks.reject(cutName, .unknown) }
            (isInDeadlock, cutName) = (false, [])
            return .field
        }
        if line.starts(with: "Found ".utf8), line.contains(where: { $0.isSpace }), Self.contains(line, "deadlock") {
            endSample(&stacks)
            // The last such line counts them.
            isInDeadlock = line.last == UInt8(ascii: ":")
            return .field
        }
        let text = line.drop(while: \.isSpace)
        if isInDeadlock { return .field }
        if text.starts(with: "at ".utf8), text.startIndex > 0 {
            guard isOpen else { return .rejected(.frameWithoutSample) }
            frames.append(stacks.intern(Self.frame(text.dropFirst(3))))
            return .frame
        }
        let stateText = "java.lang.Thread.State: "
        if isOpen, text.starts(with: stateText.utf8) {
            let name = text.dropFirst(stateText.utf8.count).prefix { !$0.isSpace }
            state = stacks.intern(frameName([UInt8(ascii: "(")] + name + [UInt8(ascii: ")")]))
            return .field
        }
        // Locks, what a compiler thread compiles; outside of threads whatever the program itself prints.
        return text.startIndex > 0 || !isOpen ? .field : .rejected(.unknown)
    }

    mutating func endInput(_ stacks: inout CollapsedStacks) {
        endSample(&stacks)
        if !cutName.isEmpty { stacks.reject(cutName, .unknown) }
        (isInDeadlock, cutName) = (false, [])
    }

    private mutating func openThread(_ line: ArraySlice<UInt8>, _ identifier: Int, _ stacks: inout CollapsedStacks) {
        endSample(&stacks)
        let head = cutName + line[..<identifier]
        cutName = []
        let name = head.lastIndex(of: UInt8(ascii: "\"")).map { head[..<$0].dropFirst() } ?? []
        let number = line[(identifier + 7)...].drop(while: \.isHexadecimalDigit).dropFirst(5)
        let thread =
            number.starts(with: "0x".utf8)
            ? Array(String(hexadecimal(number.dropFirst(2).prefix(while: \.isHexadecimalDigit))).utf8) : Array(number.prefix(while: \.isDecimalDigit))
        let nothing: [UInt8]? = nil
        label = stacks.intern(processName(name, process: nothing, thread: thread, stacks.options))
        // Threads of the JVM itself have no state of Java's.
        (isOpen, state) = (true, nil)
    }

    private mutating func endSample(_ stacks: inout CollapsedStacks) {
        defer {
            frames.removeAll(keepingCapacity: true)
            isOpen = false
        }
        guard isOpen else { return }
        stacks.add(1, frames + (state.map { [$0] } ?? []), below: label, hasStack: !frames.isEmpty)
    }

    /// `java.lang.Thread.run(java.base@17/Thread.java:840)`, with a module before it in some versions; hidden classes have an address
    /// behind their name: `J$$Lambda$2/0x00007fc2a0001800.run(Unknown Source)`.
    static func frame(_ text: ArraySlice<UInt8>) -> [UInt8] {
        var name = text.lastIndex(of: UInt8(ascii: "(")).map { text[..<$0] } ?? text
        if let slash = name.lastIndex(of: UInt8(ascii: "/")) {
            let behind = name[(slash + 1)...]
            if behind.starts(with: "0x".utf8) {
                var whole = Array(name[..<slash])
                whole += behind.dropFirst(2).drop(while: \.isHexadecimalDigit)
                name = whole[...]
                if let slash = name.lastIndex(of: UInt8(ascii: "/")) { name = name[(slash + 1)...] }
            } else {
                name = behind
            }
        }
        return frameName(name)
    }

    private static func contains(_ line: ArraySlice<UInt8>, _ word: String) -> Bool { line.indices.contains { line[$0...].starts(with: word.utf8) } }
}
