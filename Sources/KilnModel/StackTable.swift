import KilnBPF

/// The frames of one stack as addresses, innermost first.
public struct StackFrames: Equatable, Sendable {
    public var kernel: [UInt64]
    public var user: [UInt64]
    /// Indices in `user` of instructions that a signal interrupted; all others except the first are return addresses.
    public var interrupted: [Int]
    /// Indices in `user` of callers that were found without call frame information of the code that they called.
    public var guessed: [Int]
    /// Why unwinding of `user` ended.
    public var termination: UnwindTermination
    /// Python's frames, the innermost first, as the kernel side encodes them.
    public var python: [UInt64]
    /// The name of its thread; nil unless it was requested.
    public var thread: String?
    /// The number of the reading of its process's mappings that the unwinder had (`ProcessCode.reading`); 0: it had none.
    public var reading: UInt64
    /// What the unwinder found in the kernel's mappings, where that reading had none or other code.
    public var found: [FoundCode]
    /// Generated functions have the names from before the comparison with this number (`StackTable.settle`); nil: the last ones.
    public var comparison: UInt64?

    public init(
        kernel: [UInt64], user: [UInt64], interrupted: [Int], guessed: [Int] = [], python: [UInt64] = [], termination: UnwindTermination,
        thread: String? = nil, reading: UInt64 = 0, found: [FoundCode] = []
    ) {
        self.reading = reading
        self.found = found
        self.kernel = kernel
        self.user = user
        self.interrupted = interrupted
        self.guessed = guessed
        self.python = python
        self.termination = termination
        self.thread = thread
    }
}

/// A sampled process, from one exec to the next.
public struct SampledProcess: Equatable, Sendable {
    /// The index among the session's targets; other processes follow in the order of their first samples.
    public var number: Int
    public var pid: Int32
    /// The name of the thread-group leader at the first sample; empty for a target, whose name is known.
    public var comm: String
    /// The process from which it was forked and whose code it shares; itself if it has its own code.
    public var origin: Int
    /// The target from which it descends; itself for a target; 0 if every process is sampled.
    public var family: Int
    /// The start of its stack: `startstack` of /proc/PID/stat. It distinguishes two executions, unless address space layout randomization
    /// is off. 0 if it is unknown, or for a kernel thread.
    public var startStack: UInt64

    public init(number: Int, pid: Int32, comm: String, origin: Int, family: Int, startStack: UInt64) {
        self.number = number
        self.pid = pid
        self.comm = comm
        self.origin = origin
        self.family = family
        self.startStack = startStack
    }

    public init(target index: Int, pid: Int32) {
        self.init(number: index, pid: pid, comm: "", origin: index, family: index, startStack: 0)
    }
}

/// Code that the unwinder found in a process by the kernel's mappings.
public struct FoundCode: Hashable, Sendable {
    public var start: UInt64
    /// The first address after it.
    public var end: UInt64
    /// `CodePiece.number`; 0: memory without a file.
    public var piece: Int

    public func contains(_ address: UInt64) -> Bool { start <= address && address < end }

    public init(start: UInt64, end: UInt64, piece: Int) {
        self.start = start
        self.end = end
        self.piece = piece
    }
}

/// What stacks are taken at: the kernel side's `enum kiln_stack_kind`, in its order.
public enum StackKind: Hashable, Sendable {
    /// A timer found the thread on a CPU. The weight is a number of samples.
    case onCPU
    /// The thread left the CPU. The weight: nanoseconds until it got a CPU again.
    case offCPU
    /// The thread woke one that waited. The weight: nanoseconds of that wait, until it was woken.
    case waker
    /// One of the events that were asked for happened, by its index. The weight is a number of events.
    case event(Int)

    /// The number of kinds without events.
    public static let withoutEvents = Int(KILN_STACK_EVENT.rawValue)

    public init?(rawValue: Int) {
        switch rawValue {
        case StackKind.onCPU.rawValue: self = .onCPU
        case StackKind.offCPU.rawValue: self = .offCPU
        case StackKind.waker.rawValue: self = .waker
        case Self.withoutEvents..<Int(KILN_STACK_KIND_COUNT.rawValue): self = .event(rawValue - Self.withoutEvents)
        default: return nil
        }
    }

    public var rawValue: Int {
        switch self {
        case .onCPU: Int(KILN_STACK_ON_CPU.rawValue)
        case .offCPU: Int(KILN_STACK_OFF_CPU.rawValue)
        case .waker: Int(KILN_STACK_WAKER.rawValue)
        case .event(let index): Self.withoutEvents + index
        }
    }
}

/// Stacks with their weights.
public struct StackTable: Sendable {
    public struct Key: Hashable, Sendable {
        /// Hash of all frames, from the kernel side.
        public var hash: UInt64
        /// `SampledProcess.number`.
        public var process: Int
        public var kind: StackKind
        /// What the thread worked on, as a number that `Work` decodes.
        public var label: Int
        /// Of the latency of the call that it worked on; nil: it is not known, or there was no call.
        public var band: LatencyBand?

        public init(hash: UInt64, process: Int, kind: StackKind = .onCPU, label: Int = 0, band: LatencyBand? = nil) {
            self.hash = hash
            self.process = process
            self.kind = kind
            self.label = label
            self.band = band
        }

        /// Of off-CPU stacks: a wait in a multiplexer (epoll_wait and its kin) for new work.
        public var isIdle: Bool { kind == .offCPU && label & Int(KILN_LABEL_IDLE) != 0 }
    }

    public struct WakeKey: Hashable, Sendable {
        public var waited: Key
        public var waker: Key

        public init(waited: Key, waker: Key) {
            self.waited = waited
            self.waker = waker
        }
    }

    /// `Key.process` of a waker that is no process: an interrupt.
    public static let noProcess = Int(KILN_NO_PROCESS_NUMBER)

    private struct Stack: Hashable {
        let hash: UInt64
        let process: Int
    }

    /// Commands by their rows, which are in the labels; nil if stacks have no labels.
    public var commandNames: [Int: CommandName]?

    /// Stacks of all kinds, and with any label, with the same frames have them once.
    private var frames: [Stack: StackFrames] = [:]
    /// Of all kinds but off-CPU.
    public var weights: [Key: UInt64] = [:]
    public var waits: [Key: WaitTimes] = [:]
    /// Time until threads that waited were woken, by the stack that waited and the stack of the waker.
    public var wakeTimes: [WakeKey: WakeTimes] = [:]
    /// By number, without targets.
    public private(set) var processes: [Int: SampledProcess] = [:]

    public private(set) var history = SampleHistory()

    /// By number of the process.
    public private(set) var foundCode: [Int: Set<FoundCode>] = [:]

    /// By stack: the weights that it had when generated code that it goes through was found to be replaced, and the number of that comparison.
    private var settledWeights: [Key: [(comparison: UInt64, weight: UInt64)]] = [:]
    private var settledWaits: [Key: [(comparison: UInt64, times: WaitTimes)]] = [:]

    public init() {}

    /// The frames of all stacks, by process.
    public var framesByProcess: [Int: [StackFrames]] { Dictionary(grouping: frames) { $0.key.process }.mapValues { $0.map(\.value) } }

    /// Lets the weights so far of some stacks be those of stacks of their own, whose frames have the names from before a comparison.
    /// `isMeant`: gets the number of a process and frames.
    public mutating func settle(before comparison: UInt64, _ isMeant: (Int, StackFrames) -> Bool) {
        let meant = Set(frames.filter { isMeant($0.key.process, $0.value) }.keys)
        for (key, weight) in weights where weight != 0 && meant.contains(Stack(hash: key.hash, process: key.process)) {
            if weight == settledWeights[key]?.last?.weight ?? 0 { continue }
            settledWeights[key, default: []].append((comparison, weight))
            history.settle(key, as: Self.settled(key, before: comparison))
        }
        for (key, times) in waits where meant.contains(Stack(hash: key.hash, process: key.process)) {
            if times == settledWaits[key]?.last?.times ?? WaitTimes() { continue }
            settledWaits[key, default: []].append((comparison, times))
            history.settle(key, as: Self.settled(key, before: comparison))
        }
    }

    /// The key of what a stack had before a comparison.
    private static func settled(_ key: Key, before comparison: UInt64) -> Key {
        var part = key
        part.hash ^= comparison &* 0x9E37_79B9_7F4A_7C15
        return part
    }

    /// With the settled weights as stacks of their own.
    public func settled() -> StackTable {
        var table = self
        func part(_ key: Key, before comparison: UInt64) -> Key? {
            guard var frames = frames(of: key) else { return nil }
            let part = Self.settled(key, before: comparison)
            frames.comparison = comparison
            table.learn(part, frames)
            return part
        }
        for (key, parts) in settledWeights {
            var before: UInt64 = 0
            for (comparison, weight) in parts where weight > before {
                guard let part = part(key, before: comparison) else { continue }
                table.weights[part] = weight - before
                before = weight
            }
            if let all = table.weights[key] { table.weights[key] = all - min(all, before) }
        }
        for (key, parts) in settledWaits {
            var before = WaitTimes()
            for (comparison, times) in parts where times != before {
                guard let part = part(key, before: comparison) else { continue }
                table.waits[part] = times.since(before)
                before = times
            }
            if let all = table.waits[key] { table.waits[key] = all.since(before) }
        }
        return table
    }

    /// Adds what has grown to the present interval of the history.
    public mutating func note(_ weights: [Key: UInt64], _ waits: [Key: WaitTimes]) { history.note(weights, waits) }

    /// Ends the present interval of the history; nil: what has grown since the last one belongs to that one.
    public mutating func closeInterval(_ interval: (time: String, length: Nanoseconds)?) {
        if let interval { history.close(at: interval.time, length: interval.length) } else { history.closeLast() }
    }

    /// Lets the history of some stacks be that of stacks with other labels.
    mutating func relabelHistory(_ corrected: [Key: Key]) { history.relabel(corrected) }

    public mutating func learn(_ code: FoundCode, in process: Int) { foundCode[process, default: []].insert(code) }

    public mutating func learn(_ process: SampledProcess) { processes[process.number] = process }

    public mutating func learn(_ key: Key, _ stack: StackFrames) { frames[Stack(hash: key.hash, process: key.process)] = stack }

    func frames(of key: Key) -> StackFrames? { frames[Stack(hash: key.hash, process: key.process)] }

    private func work(_ key: Key) -> Work { commandNames.map { Work(label: key.label, names: $0) } ?? Work(.unlabelled) }

    /// Stacks have labels.
    public var tellsWork: Bool { commandNames != nil }

    private static func order(_ key: Key) -> (Int, UInt64, Int, Int) { (key.process, key.hash, key.label, key.band?.number ?? -1) }

    /// The stacks of one kind with their weights, ordered by process; once for each work and band. Stacks without weight are left out.
    public func stacks(of kind: StackKind) -> [(key: Key, frames: StackFrames, work: Work, weight: UInt64)] {
        weights.filter { $0.key.kind == kind && $0.value != 0 }.sorted { Self.order($0.key) < Self.order($1.key) }.compactMap { key, weight in
            frames(of: key).map { (key, $0, work(key), weight) }
        }
    }

    /// The off-CPU stacks with their times, in a fixed order: by process; once for each work and band. Stacks without time are left out.
    public var waitingStacks: [(key: Key, frames: StackFrames, work: Work, times: WaitTimes)] {
        waits.filter { $0.value.total != .zero }.sorted { Self.order($0.key) < Self.order($1.key) }.compactMap { key, times in
            frames(of: key).map { (key, $0, work(key), times) }
        }
    }

    /// A stack that waited, and one that ended such waits.
    public struct Wake {
        /// Of the stack that waited.
        public let key: Key
        public let frames: StackFrames
        public let waker: Int
        public let wakerFrames: StackFrames
        public let time: Nanoseconds
        public let wakes: UInt64
    }

    /// In a fixed order: by the process that waited.
    public var wakes: [Wake] {
        func isBefore(_ one: WakeKey, _ other: WakeKey) -> Bool {
            one.waited == other.waited ? Self.order(one.waker) < Self.order(other.waker) : Self.order(one.waited) < Self.order(other.waited)
        }
        return wakeTimes.filter { $0.value.wakes != 0 }.sorted { isBefore($0.key, $1.key) }.compactMap { key, times in
            guard let frames = frames(of: key.waited), let waker = self.frames(of: key.waker) else { return nil }
            return Wake(
                key: key.waited, frames: frames, waker: key.waker.process, wakerFrames: waker, time: times.time, wakes: times.wakes
            )
        }
    }

    /// The weights of one kind, by process.
    public func weights(of kind: StackKind) -> [Int: UInt64] {
        weights.reduce(into: [:]) { if $1.key.kind == kind, $1.value != 0 { $0[$1.key.process, default: 0] += $1.value } }
    }
}
