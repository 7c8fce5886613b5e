/// The key of an entry: stacks, and text between commas. Nothing says whether a comma is part of a name; of a stack without frames there is
/// an empty text.
struct BPFTraceKey {
    enum Part {
        case text([UInt8])
        /// Numbers of frames, innermost first.
        case stack([UInt32])

        var text: [UInt8]? { if case .text(let text) = self { text } else { nil } }
        var frames: [UInt32]? { if case .stack(let frames) = self { frames } else { nil } }
    }

    private(set) var parts: [Part] = []

    /// Adds what stands before, between or behind stacks.
    /// - Parameter isLast: whether the key ends here; otherwise a stack follows.
    mutating func add(_ piece: ArraySlice<UInt8>, separator: String, isLast: Bool) {
        var texts = split(piece, separator)[...]
        if parts.last?.frames != nil, texts.first?.isEmpty == true { texts.removeFirst() }
        if !isLast, texts.last?.isEmpty == true { texts.removeLast() }
        parts += texts.map { .text($0) }
        if !isLast { parts.append(.stack([])) }
    }

    mutating func add(_ frame: UInt32) {
        guard case .stack(let frames)? = parts.popLast() else { return }
        parts.append(.stack(frames + [frame]))
    }

    private func split(_ text: ArraySlice<UInt8>, _ separator: String) -> [[UInt8]] {
        var texts: [[UInt8]] = [[]]
        var index = text.startIndex
        while index < text.endIndex {
            if text[index...].starts(with: separator.utf8) {
                texts.append([])
                index += separator.utf8.count
            } else {
                texts[texts.count - 1].append(text[index])
                index += 1
            }
        }
        return texts
    }
}

/// What the parts of a map's keys are.
struct BPFTraceLayout {
    enum Kind: Equatable {
        case stack, kernelStack, userStack
        /// The comm, or what stands in its place.
        case process
        case pid, tid, number, text
        /// Without text in every entry: stacks without frames, as long as no entry shows any.
        case empty

        var isStack: Bool { [.stack, .kernelStack, .userStack].contains(self) }
        var isText: Bool { self == .process || self == .text }

        func accepts(_ part: BPFTraceKey.Part) -> Bool {
            switch part {
            case .stack: isStack || self == .empty
            case .text(let text):
                switch self {
                case .process, .text: true
                case .pid, .tid, .number: BPFTraceMap.isNumber(text[...])
                case .stack, .kernelStack, .userStack, .empty: text.isEmpty
                }
            }
        }
    }

    var kinds: [Kind]

    /// As the script has them: `kstack(3), comm, pid`.
    init(named keys: [String]) {
        kinds = keys.map { key in
            switch key.prefix(while: { $0 != "(" && $0 != " " }) {
            case "kstack": .kernelStack
            case "ustack": .userStack
            case "comm": .process
            case "pid": .pid
            case "tid": .tid
            default: .text
            }
        }
    }

    /// What the entries of a map have in common. The shortest have no comma in a name.
    init(of keys: [BPFTraceKey], _ options: CollapseOptions) {
        let length = keys.map(\.parts.count).min() ?? 0
        let shortest = keys.filter { $0.parts.count == length }
        kinds = (0..<length).map { place in
            if shortest.contains(where: { $0.parts[place].frames != nil }) { return .stack }
            let texts = shortest.lazy.compactMap { $0.parts[place].text }.filter { !$0.isEmpty }
            if texts.isEmpty { return .empty }
            return texts.allSatisfy { BPFTraceMap.isNumber($0[...]) } ? .number : .text
        }
        if let first = kinds.firstIndex(of: .text) { kinds[first] = .process }
        guard options.showsProcess || options.showsThread else { return }
        // Who asks for them says that they are there.
        let numbers = kinds.indices.filter { kinds[$0] == .number }
        if let first = numbers.first { kinds[first] = numbers.count == 1 && !options.showsProcess ? .tid : .pid }
        if numbers.count > 1, options.showsThread { kinds[numbers[1]] = .tid }
    }

    /// The key with a part for each kind: commas that belong to a name are put back. Nil where it has other parts.
    func fit(_ key: BPFTraceKey, separator: String) -> [BPFTraceKey.Part]? {
        let surplus = key.parts.count - kinds.count
        guard surplus >= 0, !kinds.isEmpty else { return nil }
        if surplus == 0 { return zip(kinds, key.parts).allSatisfy { $0.accepts($1) } ? key.parts : nil }
        // A name with commas is most likely a comm.
        let places = kinds.indices.filter { kinds[$0] == .process } + kinds.indices.filter { kinds[$0] == .text }
        for place in places {
            let whole = key.parts[place...(place + surplus)].compactMap(\.text)
            guard whole.count == surplus + 1 else { continue }
            let joined = BPFTraceKey.Part.text(Array(whole.joined(separator: separator.utf8)))
            let parts = key.parts[..<place] + [joined] + key.parts[(place + surplus + 1)...]
            if zip(kinds, parts).allSatisfy({ $0.accepts($1) }) { return Array(parts) }
        }
        return nil
    }
}

/// The entries of one map, of all its printings.
struct BPFTraceMap {
    struct Entry {
        var key: BPFTraceKey
        /// As it is printed.
        var value: [UInt8]
        var separator: String
        var input: Int
        var line: Int
    }

    var name: [UInt8]
    var entries: [Entry] = []
    /// Histograms, stacks, statistics.
    var hasOtherValues = false

    var hasStacks: Bool { entries.contains { $0.key.parts.contains { $0.frames != nil } } }
    var isCountable: Bool { !entries.isEmpty && !hasOtherValues }

    /// Why the map is not the one that is counted unless it is asked for.
    var drawback: String? {
        if hasOtherValues { return "its values are no counts" }
        if !hasStacks { return "no stacks" }
        return entries.contains { $0.value.first != UInt8(ascii: "-") && $0.value.contains { $0 != UInt8(ascii: "0") } } ? nil : "no value above 0"
    }

    /// Decimal, with or without a sign.
    static func isNumber(_ text: ArraySlice<UInt8>) -> Bool {
        let digits = text.first == UInt8(ascii: "-") ? text.dropFirst() : text
        return !digits.isEmpty && digits.allSatisfy(\.isDecimalDigit)
    }
}

/// Every map of the input, until it is known which is counted.
struct BPFTraceMaps {
    private var maps: [BPFTraceMap] = []
    private var places: [[UInt8]: Int] = [:]
    private var frames: [BPFTraceFrame] = []
    private var knownFrames: [[UInt8]: UInt32] = [:]
    private var counted: [BPFTraceMap] = []
    private var hasProcesses = false
    private(set) var notes: [String] = []

    /// Whether values are samples, times or anything else is not in the output.
    var measure: Measure {
        var measure = Measure()
        if counted.count == 1, let name = counted.first?.name, name.count > 1 { measure.event = displayString(name) }
        measure.rootsAreProcesses = hasProcesses
        return measure
    }

    /// The number of a frame's line.
    mutating func frame(_ line: ArraySlice<UInt8>, _ options: CollapseOptions) -> UInt32 {
        let text = Array(line)
        if let known = knownFrames[text] { return known }
        frames.append(BPFTraceFrame(line, options))
        knownFrames[text] = UInt32(frames.count - 1)
        return UInt32(frames.count - 1)
    }

    mutating func add(
        _ key: BPFTraceKey, _ value: ArraySlice<UInt8>, separator: String, to name: [UInt8], input: Int, line: Int
    ) {
        let place = place(of: name)
        guard BPFTraceMap.isNumber(value) else {
            maps[place].hasOtherValues = true
            return
        }
        maps[place].entries.append(.init(key: key, value: Array(value), separator: separator, input: input, line: line))
    }

    /// A map without keys has no stack.
    mutating func addWithoutKey(_ name: [UInt8]) { _ = place(of: name) }

    private mutating func place(of name: [UInt8]) -> Int {
        if let known = places[name] { return known }
        maps.append(.init(name: name))
        places[name] = maps.count - 1
        return maps.count - 1
    }

    // MARK: Stacks

    mutating func writeStacks(_ stacks: inout CollapsedStacks) {
        let options = stacks.options
        let wanted = options.events.map { Array(($0.hasPrefix("@") ? $0 : "@\($0)").utf8) }
        let first = wanted.isEmpty ? maps.first { $0.drawback == nil }?.name : nil
        for map in maps {
            let isCounted = wanted.isEmpty ? map.name == first : wanted.contains(map.name) && map.isCountable
            let drawback = isCounted ? nil : map.drawback.map { " (\($0))" }
            stacks.report.events.append(.init(name: displayString(map.name) + (drawback ?? ""), samples: 0, isCounted: isCounted))
            if isCounted { counted.append(map) }
        }
        maps = []
        for map in counted { write(map, &stacks) }
    }

    private mutating func write(_ map: BPFTraceMap, _ stacks: inout CollapsedStacks) {
        let options = stacks.options
        var common = options.keys.isEmpty ? BPFTraceLayout(of: map.entries.map(\.key), options) : BPFTraceLayout(named: options.keys)
        var read: [(weight: UInt64, parts: [BPFTraceKey.Part], own: BPFTraceLayout?)] = []
        func reject(_ entry: BPFTraceMap.Entry, _ reason: CollapseReport.Line.Reason) {
            let text = map.name + Array("[…]: ".utf8) + entry.value
            text.withUnsafeBytes { stacks.report.reject($0, reason, input: entry.input, line: entry.line, isUnread: false) }
        }
        for entry in map.entries {
            guard let weight = UInt64(String(decoding: entry.value, as: UTF8.self)) else {
                reject(entry, entry.value.first == UInt8(ascii: "-") ? .negativeValue : .weightTooLarge)
                continue
            }
            if let parts = common.fit(entry.key, separator: entry.separator) {
                read.append((weight, parts, nil))
            } else if options.keys.isEmpty {
                read.append((weight, entry.key.parts, BPFTraceLayout(of: [entry.key], options)))
            } else {
                reject(entry, .otherKeys)
            }
        }
        let fitting = read.filter { $0.own == nil }.map(\.parts)
        // The shortest entries may be those without frames.
        for place in common.kinds.indices where common.kinds[place] == .empty && fitting.contains(where: { $0[place].frames != nil }) {
            common.kinds[place] = .stack
        }
        let sides = sides(common.kinds, fitting)
        if sides.contains(.unknown) {
            let keys = sides.count { $0 != nil } > 1 ? "kstack,ustack" : "kstack"
            notes.append(
                "guess: nothing in the stacks of \(displayString(map.name)) tells whether they are of the kernel, so they are not marked as such; "
                    + "--keys \(keys),… tells it")
        }
        for (weight, parts, own) in read where weight > 0 {
            if let own {
                add(weight, own.kinds, parts, self.sides(own.kinds, [parts]), &stacks)
            } else {
                add(weight, common.kinds, parts, sides, &stacks)
            }
        }
    }

    /// Which stacks are of the kernel, by what their frames tell; nil for parts that are no stacks. Of two, one is of the kernel and one is not.
    private func sides(_ kinds: [BPFTraceLayout.Kind], _ keys: [[BPFTraceKey.Part]]) -> [BPFTraceFrame.Side?] {
        var sides: [BPFTraceFrame.Side?] = kinds.indices.map { place in
            switch kinds[place] {
            case .kernelStack: return .kernel
            case .userStack: return .user
            case .stack: break
            default: return nil
            }
            var votes = 0
            for key in keys {
                for frame in key[place].frames ?? [] {
                    switch frames[Int(frame)].side {
                    case .kernel: votes += 1
                    case .user: votes -= 1
                    case .unknown: break
                    }
                }
            }
            return votes > 0 ? .kernel : votes < 0 ? .user : .unknown
        }
        let stacks = sides.indices.filter { sides[$0] != nil }
        if stacks.count == 2, let unknown = stacks.first(where: { sides[$0] == .unknown }) {
            switch sides[stacks[0] == unknown ? stacks[1] : stacks[0]] {
            case .kernel: sides[unknown] = .user
            case .user: sides[unknown] = .kernel
            default: break
            }
        }
        return sides
    }

    /// Process, other parts in brackets, user stack, kernel stack.
    private mutating func add(
        _ weight: UInt64, _ kinds: [BPFTraceLayout.Kind], _ parts: [BPFTraceKey.Part], _ sides: [BPFTraceFrame.Side?],
        _ stacks: inout CollapsedStacks
    ) {
        let options = stacks.options
        var (kernel, user, others): ([UInt32], [UInt32], [UInt32]) = ([], [], [])
        var (process, pid, tid): ([UInt8]?, [UInt8]?, [UInt8]?) = (nil, nil, nil)
        for (place, part) in parts.enumerated() {
            switch part {
            case .stack(let numbers):
                let isKernel = sides[place] == .kernel
                let names = numbers.map { number in
                    let frame = frames[Int(number)]
                    return stacks.intern(frame.name + Array(frame.suffix(isKernel: isKernel, options).utf8))
                }
                if isKernel { kernel += names } else { user = names + user }
            case .text(let text):
                switch kinds[place] {
                case .process: process = text
                case .pid: pid = text
                case .tid: tid = text
                case .number, .text: others.insert(stacks.intern(frameName([UInt8(ascii: "[")] + text + [UInt8(ascii: "]")])), at: 0)
                case .stack, .kernelStack, .userStack, .empty: break
                }
            }
        }
        let showsNumbers = options.showsProcess || options.showsThread
        let label = process != nil || showsNumbers ? stacks.intern(processName(process ?? [], process: pid, thread: tid, options)) : nil
        if label != nil { hasProcesses = true }
        let hasStack = !(kernel.isEmpty && user.isEmpty)
        // A stack without frames, and nothing else in the key.
        if !hasStack, others.isEmpty, label == nil { user = [stacks.intern([])] }
        stacks.add(weight, kernel + user + others, below: label, hasStack: hasStack)
    }
}
