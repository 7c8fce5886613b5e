import KilnModel

/// Frames and stacks, each once. A stack is its caller's stack and one more frame. Two sessions of one page share a table, so that a stack has one number.
public struct StackTrie: Sendable {
    static let mostFrames = 1 << 20, mostStacks = 1 << 22

    /// As folded stacks have them, with `_[k]` and the like.
    public private(set) var frames: [String] = []
    /// By frame: the number of its module, or -1. Frames of a trie that doesn't tell modules have none.
    public private(set) var moduleOfFrame: [Int32] = []
    public private(set) var modules = SessionModules()
    /// By frame: it is a process's name, the root of stacks.
    public private(set) var isProcess: [Bool] = []
    /// By stack: its caller's number, which is smaller, or -1, and its innermost frame's.
    public private(set) var callers: [Int32] = [], innermost: [Int32] = []
    private struct FrameKey: Hashable {
        let text: String
        let module: Int32
    }

    private var numberOfFrame: [FrameKey: Int32] = [:], numberOfProcess: [String: Int32] = [:]
    private var numberOfStack: [UInt64: Int32] = [:]
    private let tellsModules: Bool

    /// - Parameter tellsModules: Functions of one name in two modules are two frames.
    public init(tellsModules: Bool = false) { self.tellsModules = tellsModules }

    mutating func frame(_ text: String, of module: SampleModule? = nil) throws -> Int32 {
        let module = tellsModules ? module.map { modules.number(of: $0) } ?? -1 : -1
        let key = FrameKey(text: text, module: module)
        if let number = numberOfFrame[key] { return number }
        let number = try added(text, module, isProcess: false)
        numberOfFrame[key] = number
        return number
    }

    /// The stack of a process's name, as in folded stacks, with a thread's name above it where stacks have one.
    mutating func root(process: String, thread: String?) throws -> Int32 {
        if numberOfProcess[process] == nil { numberOfProcess[process] = try added(process, -1, isProcess: true) }
        let root = try stack(-1, numberOfProcess[process] ?? 0)
        return try thread.map { try stack(root, try frame($0)) } ?? root
    }

    private mutating func added(_ text: String, _ module: Int32, isProcess: Bool) throws -> Int32 {
        guard frames.count < Self.mostFrames else { throw JSONScanner.Damage(reason: "there are more than \(Self.mostFrames) frames") }
        frames.append(text)
        moduleOfFrame.append(module)
        self.isProcess.append(isProcess)
        return Int32(frames.count - 1)
    }

    mutating func stack(_ caller: Int32, _ frame: Int32) throws -> Int32 {
        let key = UInt64(UInt32(bitPattern: caller)) << 32 | UInt64(UInt32(bitPattern: frame))
        if let number = numberOfStack[key] { return number }
        guard callers.count < Self.mostStacks else { throw JSONScanner.Damage(reason: "there are more than \(Self.mostStacks) stacks") }
        let number = Int32(callers.count)
        numberOfStack[key] = number
        callers.append(caller)
        innermost.append(frame)
        return number
    }
}

/// What is counted together: an element of the table of groups in samples.jsonl.
public struct StackGroup: Hashable, Sendable {
    /// Index in `StackHistory.kinds`.
    public var kind = 0
    public var process = ""
    public var thread, command, phase, verdict, state: String?
    /// The band of the call's service latency: so many neighbouring slots of the histogram (`slotsPerBand`), counted from 0. Nil: not known.
    public var band: Int?
}

/// The stacks of a session over time.
public struct StackHistory: Sendable {
    public static let slotsPerBand = LatencyBand.slotsPerBand

    public struct Kind: Equatable, Sendable {
        /// `on-cpu`, `off-cpu` or the name of an event.
        public var name: String
        /// `samples`, `nanoseconds` or `events`.
        public var unit: String
        public var frequency: Double?
        /// What had no room in the history, in the unit.
        public var dropped: UInt64 = 0
    }

    public struct Entry: Equatable, Sendable {
        public var stack: Int32
        public var tick: Int32
        public var weight: UInt64

        public init(stack: Int32, tick: Int32, weight: UInt64) { (self.stack, self.tick, self.weight) = (stack, tick, weight) }
    }

    public internal(set) var kinds: [Kind] = []
    public internal(set) var groups: [StackGroup] = []
    /// By group, in any order; a stack and tick may occur several times.
    public internal(set) var entries: [[Entry]] = []
    /// False: the stacks are those of the whole session, from folded stacks; ticks mean nothing.
    public internal(set) var haveTime = true

    public var isEmpty: Bool { entries.allSatisfy(\.isEmpty) }
}

/// Reads samples.jsonl: a line of what it is, the tables of frames, stacks and groups, then the intervals. Numbers count the lines of a table from 0.
struct StackReader {
    private static let mostGroups = 1 << 20, mostEntries = 1 << 25

    let timeline: Timeline
    /// Samples per second of CPU time.
    let frequency: Double
    private(set) var history = StackHistory()
    var trie: StackTrie
    /// The file's tables: its frames in the trie, and its stacks as they stand there.
    private var modules: [SampleModule] = []
    private var frames: [Int32] = [], stacks: [(caller: Int32, frame: Int32)] = []
    /// The stacks in the trie, by what they stand on there; -1: none yet.
    private var placed: [Int32: [Int32]] = [:]
    private var kindByName: [String: Int] = [:]
    private var isBegun = false
    private var entryCount = 0

    init(timeline: Timeline, frequency: Double, trie: StackTrie) {
        self.timeline = timeline
        self.frequency = frequency
        self.trie = trie
    }

    mutating func read(_ scanner: inout JSONScanner) throws {
        // A field of one name tells what a line is; others of the same line may be those of later versions.
        var frame: String?, of: Int?, module: String?, buildID: String?, caller: Int?, innermost: Int?, time: String?, group: StackGroup?
        var samples: [[UInt64]] = [], isSamples = false
        try scanner.object { scanner, key in
            switch key {
            case "frame": frame = try scanner.string()
            case "of": of = try scanner.integer()
            case "module": module = try scanner.string()
            case "build_id": buildID = try scanner.string()
            case "caller": caller = try scanner.integer()
            case "in": innermost = try scanner.integer()
            case "group": group = try self.group(&scanner)
            case "time": time = try scanner.string()
            case "samples":
                if isBegun {
                    isSamples = true
                    try scanner.array { scanner in
                        var numbers: [UInt64] = []
                        try scanner.array { numbers.append(try $0.unsigned()) }
                        samples.append(numbers)
                    }
                } else {
                    guard try scanner.unsigned() == 1 else { throw JSONScanner.Damage(reason: "its format is not known to this version") }
                    isBegun = true
                }
            case "slots_per_band":
                guard try scanner.unsigned() == UInt64(StackHistory.slotsPerBand) else {
                    throw JSONScanner.Damage(reason: "its bands are not known to this version")
                }
            case "kinds": try scanner.array { try self.kind(&$0) }
            default: try scanner.skip()
            }
        }
        guard isBegun else { throw JSONScanner.Damage(reason: "the first line does not say `samples`") }
        if let module {
            guard modules.count < StackTrie.mostFrames else { throw JSONScanner.Damage(reason: "there are more than \(StackTrie.mostFrames) modules") }
            modules.append(SampleModule(path: shown(module), buildID: buildID.map(shown)))
        }
        if let frame {
            guard of.map(modules.indices.contains) ?? true else { throw JSONScanner.Damage(reason: "a frame names a module that is not above it") }
            frames.append(try trie.frame(frame, of: of.map { modules[$0] }))
        }
        if let caller { try stack(caller, innermost) }
        if let group {
            guard history.groups.count < Self.mostGroups else { throw JSONScanner.Damage(reason: "there are more than \(Self.mostGroups) groups") }
            history.groups.append(group)
            history.entries.append([])
        }
        if isSamples { try add(samples, time) }
    }

    private mutating func kind(_ scanner: inout JSONScanner) throws {
        var kind = StackHistory.Kind(name: "", unit: "")
        try scanner.object { scanner, key in
            switch key {
            case "kind": kind.name = shown(try scanner.string())
            case "unit": kind.unit = shown(try scanner.string())
            case "dropped": kind.dropped = try scanner.unsigned()
            default: try scanner.skip()
            }
        }
        guard history.kinds.count < 1_000 else { throw JSONScanner.Damage(reason: "there are more than 1,000 kinds") }
        if kind.unit == "samples", frequency > 0 { kind.frequency = frequency }
        kindByName[kind.name] = history.kinds.count
        history.kinds.append(kind)
    }

    private mutating func stack(_ caller: Int, _ innermost: Int?) throws {
        guard let innermost, frames.indices.contains(innermost), caller == -1 || stacks.indices.contains(caller) else {
            throw JSONScanner.Damage(reason: "a stack names a caller or a frame that is not above it")
        }
        guard stacks.count < StackTrie.mostStacks else { throw JSONScanner.Damage(reason: "there are more than \(StackTrie.mostStacks) stacks") }
        stacks.append((Int32(caller), frames[innermost]))
    }

    /// The number in the trie of a stack of the file on this root.
    private mutating func placed(_ stack: Int, on root: Int32, _ known: inout [Int32]) throws -> Int32 {
        if known.count < stacks.count { known += [Int32](repeating: -1, count: stacks.count - known.count) }
        var path: [Int] = [], at = Int32(stack)
        while at >= 0, known[Int(at)] < 0 {
            path.append(Int(at))
            at = stacks[Int(at)].caller
        }
        var number = at < 0 ? root : known[Int(at)]
        for stack in path.reversed() {
            number = try trie.stack(number, stacks[stack].frame)
            known[stack] = number
        }
        return number
    }

    private mutating func group(_ scanner: inout JSONScanner) throws -> StackGroup {
        var group = StackGroup(), kind = ""
        func text(_ scanner: inout JSONScanner) throws -> String? { scanner.takeNull() ? nil : shown(try scanner.string()) }
        try scanner.object { scanner, key in
            switch key {
            case "kind": kind = try text(&scanner) ?? ""
            case "process": group.process = try text(&scanner) ?? ""
            case "thread": group.thread = try text(&scanner)
            case "command": group.command = try text(&scanner)
            case "phase": group.phase = try text(&scanner)
            case "verdict": group.verdict = try text(&scanner)
            case "state": group.state = try text(&scanner)
            case "band_ns": group.band = try Self.band(&scanner)
            default: try scanner.skip()
            }
        }
        guard let place = kindByName[kind] else { throw JSONScanner.Damage(reason: "the kind \(kind.prefix(40).debugDescription) is not in the first line") }
        group.kind = place
        return group
    }

    /// [lower_ns, upper_ns]; no upper edge for what is longer than the histogram's slots.
    private static func band(_ scanner: inout JSONScanner) throws -> Int? {
        if scanner.takeNull() { return nil }
        var lower: UInt64?
        try scanner.array { scanner in
            if scanner.takeNull() { return }
            let edge = try scanner.unsigned()
            lower = lower ?? edge
        }
        guard let lower else { throw JSONScanner.Damage(reason: "a band has no lower edge") }
        let band = LatencyBand(of: Nanoseconds(lower))
        guard band.lower.count == lower else { throw JSONScanner.Damage(reason: "no band begins at \(lower) ns") }
        return band.number
    }

    private mutating func add(_ samples: [[UInt64]], _ time: String?) throws {
        guard let time, let tick = timeline.tick(of: time) else { throw JSONScanner.Damage(reason: "an interval has no time") }
        for numbers in samples {
            guard numbers.count % 2 == 1, let group = Int(exactly: numbers[0]), history.groups.indices.contains(group) else {
                throw JSONScanner.Damage(reason: "samples name a group that is not above them, or a stack without a weight")
            }
            let root = try trie.root(process: history.groups[group].process, thread: history.groups[group].thread)
            var known = placed.removeValue(forKey: root) ?? []
            defer { placed[root] = known }
            for place in stride(from: 1, to: numbers.count, by: 2) {
                guard let stack = Int(exactly: numbers[place]), stacks.indices.contains(stack) else {
                    throw JSONScanner.Damage(reason: "samples name a stack that is not above them")
                }
                guard numbers[place + 1] <= 1 << 53 else { throw JSONScanner.Damage(reason: "a weight is larger than 2^53") }
                history.entries[group].append(.init(stack: try placed(stack, on: root, &known), tick: Int32(tick), weight: numbers[place + 1]))
            }
            entryCount += numbers.count / 2
            if entryCount > Self.mostEntries { throw JSONScanner.Damage(reason: "there are more than \(Self.mostEntries) counts of stacks") }
        }
    }
}
