import KilnBPF

/// A command of one process. Commands without a row of their own count in `other`.
public struct CommandKey: Hashable, Sendable {
    /// Index of the process among the session's targets.
    public var process: Int
    /// In upper case; `other` in lower case is the row for the rest.
    public var name: CommandName

    public init(process: Int, name: CommandName) {
        self.process = process
        self.name = name
    }
}

/// A command's name: any bytes that a client sent. Bytes that are not printable ASCII are shown as \xHH.
public struct CommandName: Hashable, Comparable, Sendable, CustomStringConvertible {
    public let description: String

    public static let other = CommandName(shown: "other")
    /// In place of a name: all commands of a pipeline.
    public static let several = CommandName(shown: "(pipeline)")

    /// `bytes`: as in `struct kiln_command_key`, NUL-padded.
    public init(bytes: some Sequence<UInt8>) {
        let text = printableText(bytes)
        description = text.isEmpty ? "\"\"" : text
    }

    /// As the kernel side has the name that a person gives, in any case.
    public init(asked: String) { self.init(bytes: asked.uppercased().utf8.prefix(Int(KILN_COMMAND_NAME_MAX))) }

    /// From its printed form.
    init(recorded: String) { description = recorded }

    private init(shown: String) { description = shown }

    public static func < (left: Self, right: Self) -> Bool { left.description < right.description }
}

/// NUL-padded bytes from outside. Bytes that are not printable ASCII are shown as \xHH.
public func printableText(_ bytes: some Sequence<UInt8>) -> String {
    var bytes = Array(bytes)
    while bytes.last == 0 { bytes.removeLast() }
    let digits = Array("0123456789abcdef")
    var text = ""
    for byte in bytes {
        if byte > 0x20 && byte < 0x7f && byte != UInt8(ascii: "\\") {
            text.unicodeScalars.append(Unicode.Scalar(byte))
        } else {
            text += "\\x\(digits[Int(byte >> 4)])\(digits[Int(byte & 15)])"
        }
    }
    return text
}

/// The phases of a command's time. A phase that can't be known has no sample. The names are those in the files. The first ones are the
/// kernel side's `enum kiln_phase`, in its order.
public enum Phase: String, CaseIterable, Sendable {
    /// From the return of the read of the request to the return of the send of the reply's last byte.
    case service
    /// From the arrival of the request's first byte to the return of the read.
    case queue
    /// From the return of the read to the thread's next read, or to the beginning of the send.
    case exec
    /// From the end of `exec` to the end of `service`.
    case reply
    /// `queue` and `service` together; on the client's side, from the send of the request to the read of its reply.
    case total
    /// From the return of the reply's first send to that of its last, if it took several.
    case sendBlocked = "send_blocked"
    /// The service of a blocking command (BLPOP), kept apart from latencies.
    case wait
}

/// A command's cumulative numbers, or their growth in an interval.
public struct CommandCounts: Equatable, Sendable {
    /// Requests that the server read.
    public var calls: UInt64 = 0
    /// The calls that were queued, to be executed by a later command.
    public var queued: UInt64 = 0
    /// Error replies.
    public var errors: UInt64 = 0
    /// Errors by their first word (`WRONGTYPE`), including those inside the reply of EXEC or a script.
    public var errorWords: [String: UInt64] = [:]
    /// Part of `exec`: the thread was ready to run and had no CPU.
    public var runQueue = Nanoseconds.zero
    /// The largest request so far, in bytes; an interval has the same value.
    public var largestRequest: UInt64 = 0
    /// The largest reply so far, in bytes. Of a send with replies to several commands, only the largest command counts.
    public var largestReply: UInt64 = 0
    public var phases: [Phase: Histogram] = [:]

    public init(calls: UInt64 = 0, phases: [Phase: Histogram] = [:]) {
        self.calls = calls
        self.phases = phases
    }

    public func since(_ earlier: CommandCounts) -> CommandCounts {
        var difference = CommandCounts(
            calls: calls &- earlier.calls,
            phases: Dictionary(
                uniqueKeysWithValues: phases.map { phase, histogram in
                    (phase, histogram.since(earlier.phases[phase] ?? Histogram()))
                })
        )
        difference.queued = queued &- earlier.queued
        difference.errors = errors &- earlier.errors
        difference.errorWords = errorWords.grown(since: earlier.errorWords)
        difference.runQueue = runQueue - earlier.runQueue
        difference.largestRequest = largestRequest
        difference.largestReply = largestReply
        return difference
    }

    /// At least one of the calls was answered.
    public var isAnswered: Bool { errors != 0 || phases.contains { [.service, .wait, .total].contains($0.key) && $0.value.count != 0 } }

    /// Adds counts of the same command from elsewhere.
    public mutating func add(_ other: CommandCounts) {
        calls &+= other.calls
        queued &+= other.queued
        errors &+= other.errors
        errorWords.merge(other.errorWords, uniquingKeysWith: &+)
        runQueue = runQueue + other.runQueue
        largestRequest = max(largestRequest, other.largestRequest)
        largestReply = max(largestReply, other.largestReply)
        for (phase, histogram) in other.phases { phases[phase, default: Histogram()].add(histogram) }
    }
}

extension Dictionary where Value == UInt64 {
    /// The growth since `earlier`.
    func grown(since earlier: Self) -> Self {
        var grown: Self = [:]
        for (key, value) in self where value != earlier[key] ?? 0 { grown[key] = value &- (earlier[key] ?? 0) }
        return grown
    }
}

/// Head-of-line blocking in one process: the blocker, and the command that waited for it.
public struct WaitKey: Hashable, Sendable {
    public var process: Int
    public var blocker: CommandName
    public var blocked: CommandName

    public init(process: Int, blocker: CommandName, blocked: CommandName) {
        self.process = process
        self.blocker = blocker
        self.blocked = blocked
    }
}

public struct WaitCounts: Equatable, Sendable {
    /// The number of times that a command waited in its socket during an execution of the blocker.
    public var times: UInt64
    /// The total wait.
    public var wait: Nanoseconds

    public init(times: UInt64, wait: Nanoseconds) {
        self.times = times
        self.wait = wait
    }
}

/// The clients of one address, without their ports.
public struct ClientKey: Hashable, Sendable {
    public var process: Int
    /// An IP address, `unix`, or `other` for those without a row of their own.
    public var address: String

    public init(process: Int, address: String) {
        self.process = process
        self.address = address
    }
}

public struct ClientCounts: Equatable, Sendable {
    public var commands: UInt64
    public var receivedBytes: UInt64
    public var sentBytes: UInt64

    public init(commands: UInt64, receivedBytes: UInt64, sentBytes: UInt64) {
        self.commands = commands
        self.receivedBytes = receivedBytes
        self.sentBytes = sentBytes
    }

    public mutating func add(_ other: ClientCounts) {
        commands &+= other.commands
        receivedBytes &+= other.receivedBytes
        sentBytes &+= other.sentBytes
    }
}

public struct SyscallKey: Hashable, Sendable {
    /// Index of the process among the session's targets.
    public var process: Int
    /// The number of the call on this architecture.
    public var number: Int

    public init(process: Int, number: Int) {
        self.process = process
        self.number = number
    }
}

public struct SyscallCounts: Equatable, Sendable {
    public var count: UInt64 = 0
    /// Calls that returned an errno.
    public var errors: UInt64 = 0

    public init(count: UInt64 = 0, errors: UInt64 = 0) {
        self.count = count
        self.errors = errors
    }

    public func since(_ earlier: SyscallCounts) -> SyscallCounts {
        SyscallCounts(count: count &- earlier.count, errors: errors &- earlier.errors)
    }
}

/// On-CPU samples of one process.
public struct SampleCounts: Equatable, Sendable {
    /// Timer hits on the process.
    public var seen: UInt64 = 0
    /// The hits whose stack was counted.
    public var recorded: UInt64 = 0
    /// Where only some calls' stacks are kept: the hits without a stack, because the thread worked for no such call, and the recorded stacks of calls
    /// that turned out to be none.
    public var leftOut = LeftOutCounts()
    public var dropped: UInt64 = 0
    /// The recorded stacks whose kernel side was truncated at the depth limit.
    public var kernelTruncated: UInt64 = 0
    /// The recorded stacks with callers that are guesses.
    public var guessed: UInt64 = 0
    /// Recorded stacks by unwind termination of the user side; only those that occurred.
    public var terminations: [UnwindTermination: UInt64] = [:]

    public init() {}

    /// Only some calls' stacks are kept. Otherwise `kept` and `leftOutOfKept` are nil.
    private var keepsSome: Bool { leftOut.sum != 0 || dropped != 0 }
    /// The recorded stacks that are in the file.
    var kept: UInt64? { keepsSome ? recorded &- dropped : nil }
    var leftOutOfKept: LeftOutCounts? { keepsSome ? leftOut : nil }

    /// As it is recorded: only where there are any.
    var guessedIfAny: UInt64? { guessed == 0 ? nil : guessed }

    /// Recorded stacks that reach the outermost function.
    public var complete: UInt64 { terminations[.complete] ?? 0 }

    var terminationsByName: [String: UInt64] { Dictionary(uniqueKeysWithValues: terminations.filter { $0.value != 0 }.map { ($0.name, $1) }) }

    public mutating func add(_ other: SampleCounts) {
        seen &+= other.seen
        recorded &+= other.recorded
        leftOut.add(other.leftOut)
        dropped &+= other.dropped
        kernelTruncated &+= other.kernelTruncated
        guessed &+= other.guessed
        terminations.merge(other.terminations, uniquingKeysWith: &+)
    }

    public func since(_ earlier: SampleCounts) -> SampleCounts {
        var difference = SampleCounts()
        difference.seen = seen &- earlier.seen
        difference.recorded = recorded &- earlier.recorded
        difference.leftOut = leftOut.since(earlier.leftOut)
        difference.dropped = dropped &- earlier.dropped
        difference.kernelTruncated = kernelTruncated &- earlier.kernelTruncated
        difference.guessed = guessed &- earlier.guessed
        for (termination, count) in terminations where count != earlier.terminations[termination] ?? 0 {
            difference.terminations[termination] = count &- (earlier.terminations[termination] ?? 0)
        }
        return difference
    }
}

/// Hits of which no stack was taken, by what the thread worked on: the kernel side's `enum kiln_left_out`.
public struct LeftOutCounts: Equatable, Codable, Sendable {
    /// Calls that were known not to be asked for when they were received.
    public var otherCalls: UInt64 = 0
    public var eventLoop: UInt64 = 0
    public var background: UInt64 = 0
    /// As with io-threads, where requests pass from one thread to another.
    public var unknown: UInt64 = 0

    enum CodingKeys: String, CodingKey {
        case background, unknown, otherCalls = "other_calls", eventLoop = "event_loop"
    }

    public init() {}

    private static let counts = [\LeftOutCounts.otherCalls, \.eventLoop, \.background, \.unknown]

    public var sum: UInt64 { Self.counts.reduce(0) { $0 &+ self[keyPath: $1] } }

    public mutating func add(_ other: LeftOutCounts) { for count in Self.counts { self[keyPath: count] &+= other[keyPath: count] } }

    func since(_ earlier: LeftOutCounts) -> LeftOutCounts {
        var difference = self
        for count in Self.counts { difference[keyPath: count] &-= earlier[keyPath: count] }
        return difference
    }
}

/// BPF run-time statistics of a loaded program. Run counts and times stay 0 unless the statistics are on.
public struct ProgramCounts: Equatable, Sendable {
    public var runs: UInt64 = 0
    /// Without the dispatch to the program.
    public var runTime = Nanoseconds.zero
    /// Events skipped because the program was already running on that CPU: losses that the program can't count itself.
    public var recursionMisses: UInt64 = 0

    public init() {}

    public mutating func add(_ other: ProgramCounts) {
        runs &+= other.runs
        runTime = runTime + other.runTime
        recursionMisses &+= other.recursionMisses
    }

    public func since(_ earlier: ProgramCounts) -> ProgramCounts {
        var difference = ProgramCounts()
        difference.runs = runs &- earlier.runs
        difference.runTime = runTime - earlier.runTime
        difference.recursionMisses = recursionMisses &- earlier.recursionMisses
        return difference
    }
}

/// All cumulative numbers of a session at one moment; as a difference of two, those of an interval.
public struct Snapshot: Sendable {
    /// CLOCK_MONOTONIC; for an interval, its length.
    public var time: Nanoseconds
    public var commands: [CommandKey: CommandCounts] = [:]
    /// Only where stacks of some calls are kept.
    public var judged: [CommandKey: JudgedCalls] = [:]
    public var syscalls: [SyscallKey: SyscallCounts] = [:]
    public var waits: [WaitKey: WaitCounts] = [:]
    /// On the client's side: servers, with their ports.
    public var clients: [ClientKey: ClientCounts] = [:]
    /// Only on the client's side.
    public var served: [ServedCommandKey: CommandCounts] = [:]
    /// Processes in which other threads receive (io-threads) while the main thread executes.
    public var readByOtherThreads: Set<Int> = []
    /// By process.
    public var samples: [SampleCounts] = []
    /// Of each target's descendants. If every process is sampled, all samples are in the first element.
    public var otherSamples: [SampleCounts] = []
    /// By name of the loss, only those that occurred.
    public var losses: [String: UInt64] = [:]
    /// Bytes from clients of unknown servers, until a first reply shows whether they speak the protocol.
    public var undecidedBytes: UInt64 = 0
    /// By name of the program.
    public var programs: [String: ProgramCounts] = [:]
    private var sections: [ObjectIdentifier: any SnapshotSection] = [:]

    public init(time: Nanoseconds) { self.time = time }

    /// The numbers of a probe that has no field here.
    public subscript<Section: SnapshotSection>(_ section: Section.Type) -> Section? {
        get { sections[ObjectIdentifier(section)] as? Section }
        set { sections[ObjectIdentifier(section)] = newValue }
    }

    /// Removes the commands of a process, because its requests have another protocol.
    public mutating func leaveOutRequests(of process: Int) {
        commands = commands.filter { $0.key.process != process }
        judged = judged.filter { $0.key.process != process }
        waits = waits.filter { $0.key.process != process }
        clients = clients.filter { $0.key.process != process }
    }

    /// The growth since `earlier`, without entries that did not grow.
    public func since(_ earlier: Snapshot) -> Snapshot {
        var interval = Snapshot(time: time - earlier.time)
        for (key, counts) in commands {
            let grown = counts.since(earlier.commands[key] ?? CommandCounts())
            if grown.calls != 0 || !grown.errorWords.isEmpty || grown.phases.values.contains(where: { $0.count != 0 }) {
                interval.commands[key] = grown
            }
        }
        for (key, calls) in judged {
            let grown = calls.since(earlier.judged[key] ?? JudgedCalls())
            if grown != JudgedCalls() { interval.judged[key] = grown }
        }
        for (key, counts) in syscalls {
            let grown = counts.since(earlier.syscalls[key] ?? SyscallCounts())
            if grown.count != 0 { interval.syscalls[key] = grown }
        }
        for (key, counts) in waits {
            let before = earlier.waits[key] ?? WaitCounts(times: 0, wait: .zero)
            if counts != before {
                interval.waits[key] = WaitCounts(times: counts.times &- before.times, wait: counts.wait - before.wait)
            }
        }
        for (key, counts) in clients {
            let before = earlier.clients[key] ?? ClientCounts(commands: 0, receivedBytes: 0, sentBytes: 0)
            if counts != before {
                interval.clients[key] = ClientCounts(
                    commands: counts.commands &- before.commands, receivedBytes: counts.receivedBytes &- before.receivedBytes,
                    sentBytes: counts.sentBytes &- before.sentBytes
                )
            }
        }
        for (key, counts) in served {
            let grown = counts.since(earlier.served[key] ?? CommandCounts())
            if grown.calls != 0 || grown.latency.count != 0 { interval.served[key] = grown }
        }
        interval.readByOtherThreads = readByOtherThreads
        interval.samples = samples.grown(since: earlier.samples)
        interval.otherSamples = otherSamples.grown(since: earlier.otherSamples)
        interval.losses = losses.grown(since: earlier.losses)
        for (name, counts) in programs { interval.programs[name] = counts.since(earlier.programs[name] ?? ProgramCounts()) }
        for (key, section) in sections { interval.sections[key] = section.growth(since: earlier.sections[key]) }
        return interval
    }
}

/// The numbers of a probe in a snapshot. The type is the key: a probe declares it, and a sink that knows the type reads it.
public protocol SnapshotSection: Sendable {
    /// The growth since an earlier moment; nil: since the probe was attached.
    func since(_ earlier: Self?) -> Self
}

extension SnapshotSection {
    fileprivate func growth(since earlier: (any SnapshotSection)?) -> any SnapshotSection { since(earlier as? Self) }
}

extension [SampleCounts] {
    fileprivate func grown(since earlier: Self) -> Self {
        enumerated().map { index, counts in counts.since(index < earlier.count ? earlier[index] : SampleCounts()) }
    }
}

extension CommandCounts {
    /// The main latency of the command: `service` on the server's side, `total` on the client's.
    public var latency: Histogram { phases[.service] ?? phases[.total] ?? Histogram() }
}
