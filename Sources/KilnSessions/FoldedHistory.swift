import Flamegraph

/// Stacks of a whole session from its folded stacks, for sessions without samples.jsonl.
struct FoldedHistory {
    private(set) var history = StackHistory()
    private(set) var trie: StackTrie
    private var groups: [StackGroup: Int] = [:]

    init(trie: StackTrie) {
        self.trie = trie
        history.haveTime = false
    }

    /// Adds a file. Lines that are no stack are left out, as everywhere in folded text.
    ///
    /// - Parameters:
    ///   - file: Its path, for an error.
    ///   - byCommand: The lines are `process;COMMAND;phase;frames…`.
    mutating func add(_ folded: [UInt8], from file: String, _ kind: StackHistory.Kind, byCommand: Bool) throws {
        history.kinds.append(kind)
        do {
            for line in folded.split(separator: UInt8(ascii: "\n")) {
                guard let blank = line.lastIndex(of: UInt8(ascii: " ")), let weight = UInt64(String(decoding: line[(blank + 1)...], as: UTF8.self)),
                    weight <= 1 << 53
                else { continue }
                try add(line[..<blank], weight, byCommand: byCommand)
            }
        } catch let damage as JSONScanner.Damage {
            throw ReportError("cannot show \(file): \(damage.reason). Draw it with kiln flamegraph.")
        }
    }

    private mutating func add(_ stack: ArraySlice<UInt8>, _ weight: UInt64, byCommand: Bool) throws {
        var group = StackGroup(kind: history.kinds.count - 1)
        var frames = stack.split(separator: UInt8(ascii: ";"), omittingEmptySubsequences: false)[...]
        if byCommand, let work = CommandStack(stack) {
            group.command = shown(String(decoding: work.command, as: UTF8.self))
            group.phase = work.phase?.rawValue
            frames = work.process + work.frames
        }
        group.process = shown(String(decoding: frames.first ?? [], as: UTF8.self))
        var number = try trie.root(process: group.process, thread: nil)
        for frame in frames.dropFirst() { number = try trie.stack(number, try trie.frame(String(decoding: frame, as: UTF8.self))) }
        let place = groups[group] ?? history.groups.count
        if groups[group] == nil {
            groups[group] = place
            history.groups.append(group)
            history.entries.append([])
        }
        history.entries[place].append(.init(stack: number, tick: 0, weight: weight))
    }
}
