import Glibc
import KilnKernel
import KilnModel

/// Stacks of what runs, sampled by a timer that counts CPU time, and stacks of what waits, with its time.
final class StackSampling: Probe {
    static let needs = [Capabilities.stacks, Capabilities.events]

    /// A session that recorded nothing: fine; told with the reason; or an error.
    enum Empty { case fine, told, failed }

    private let members: Members
    private let options: SamplingOptions
    private let folding: StackFolding
    private let known: () -> [CodeMapping]
    private let descendants: (() -> [Int32])?
    private let work: WorkMaps?
    private let turns: Turns?
    private let at: [Event]
    private let leftOut: () -> [String: Set<UInt64>]
    /// Several processes are one target of the session.
    private let asOne: Bool
    private let empty: Empty
    /// The time between intervals of samples.jsonl; nil: they are those of the session.
    private let sampleInterval: Nanoseconds?
    /// When the last of them ended, or the first one began, and when the next one is due.
    private var sampledUntil = Nanoseconds.zero, sampleDue = Nanoseconds.zero
    private var targetCPU = Nanoseconds.zero
    private(set) var frequency: Int
    private var expected: [ExpectedSamples]
    private var probe: StackProbe?
    /// Comparisons of generated code so far, and when the next one is due.
    private var comparisons: UInt64 = 0
    private var comparisonDue = Nanoseconds.zero
    /// Zero: not yet.
    private var stoppedAt = Nanoseconds.zero
    /// Any interval has ended, and the last one.
    private var hasIntervals = false, isClosed = false
    private(set) var details: [String] = []

    /// How often generated code is compared: less often if it would take more than a fiftieth of a core.
    private static let comparisonEvery = Nanoseconds(250_000_000)

    /// - Parameters:
    ///   - members: The tasks to sample.
    ///   - options: At least one kind of stacks is asked for.
    ///   - known: Code whose unwind tables are loaded at the start, as far as time and memory allow.
    ///   - events: Events at which stacks are taken, too.
    ///   - leftOut: Places of files, by path, at which no event's stacks are recorded; asked when the programs are attached.
    ///   - descendants: Lists running descendants of the first target, to be sampled, too.
    ///   - asOne: The processes are one target of the session.
    ///   - work, turns: Shared with the probe of requests: stacks have labels.
    ///   - empty: What a session is that recorded nothing.
    ///   - sampleInterval: The time between intervals of samples.jsonl, or more if reading the stacks would take more than a fiftieth of a core; nil: they
    ///     are those of the session.
    init(
        of members: Members, _ options: SamplingOptions, folding: StackFolding, known: @escaping () -> [CodeMapping] = { [] },
        events: [Event] = [], leavingOut leftOut: @escaping () -> [String: Set<UInt64>] = { [:] }, descendants: (() -> [Int32])? = nil,
        asOne: Bool = false, work: WorkMaps? = nil, turns: Turns? = nil, empty: Empty = .fine, sampleInterval: Nanoseconds? = nil
    ) {
        self.sampleInterval = sampleInterval
        self.members = members
        self.options = options
        self.folding = folding
        self.known = known
        self.descendants = descendants
        at = events
        self.leftOut = leftOut
        self.asOne = asOne
        self.work = work
        self.turns = turns
        self.empty = empty
        frequency = options.frequency
        expected = [ExpectedSamples](repeating: ExpectedSamples(frequency: frequency), count: members.watched?.pids.count ?? 1)
    }

    func load() throws(KernelError) {
        var waits = options.waits
        if options.wakers { waits?.interruptEntries = folding.interruptEntries }
        probe = try StackProbe(
            of: members, byThread: options.threads, waits: waits, events: at, known: known(),
            work: work, turns: turns, mappings: folding.code(of:)
        )
    }

    func attach() throws -> Nanoseconds {
        let started = try probe?.attach(frequency: frequency, withDescendants: descendants, leavingOut: leftOut()) ?? 0
        details = frequency > 0 ? ["\(frequency) Hz"] : []
        if options.offCPU { details.append(options.wakers ? "off-CPU time and wakers" : "off-CPU time") }
        details += at.map(\.recorded.name)
        if descendants != nil { details.insert("with \(started) running descendants", at: 0) }
        sampledUntil = MonotonicClock.now()
        if let sampleInterval { sampleDue = sampledUntil + sampleInterval }
        return sampledUntil
    }

    var attention: Int32? { probe?.attention() }

    func drain() throws -> Bool {
        try probe?.drain()
        learnPython()
        try probe?.follow(folding.code(of:))
        learnPython()
        if MonotonicClock.now() >= comparisonDue { try compareGeneratedCode() }
        // What is still read after the end belongs to the last interval, which ends where the session ended.
        if let sampleInterval, stoppedAt == .zero, MonotonicClock.now() >= sampleDue { try closeInterval(sampleInterval) }
        return false
    }

    private func closeInterval(_ every: Nanoseconds) throws {
        let now = MonotonicClock.now()
        try closeInterval(at: WallTime(), now - sampledUntil)
        sampledUntil = now
        sampleDue = now + max(every, Nanoseconds((MonotonicClock.now() - now).count * 50))
    }

    private func closeInterval(at time: WallTime, _ length: Nanoseconds) throws {
        try probe?.closeInterval((time.rfc3339, length))
        hasIntervals = true
    }

    func intervalEnds(at time: WallTime, length: Nanoseconds) throws {
        guard sampleInterval == nil else { return }
        try closeInterval(at: time, hasIntervals ? min(length, MonotonicClock.now() - sampledUntil) : length)
        sampledUntil = MonotonicClock.now()
    }

    /// Ends an interval of the stacks now, before it is due: what is sampled from here on is in the next ones.
    func divideInterval(at time: WallTime) throws {
        let now = MonotonicClock.now()
        try closeInterval(at: time, now - sampledUntil)
        sampledUntil = now
    }

    /// How many weights the history has, each 16 bytes, and of how many stacks.
    var historySize: (weights: Int, stacks: Int) {
        guard let history = probe?.known.history else { return (0, 0) }
        return (history.growth.count, history.series.count)
    }

    /// The session has ended: waits that have not ended, and stacks without a reply, are a part of its last interval.
    private func closeLastInterval() throws {
        if !isClosed, sampleInterval != nil || !hasIntervals { try closeInterval(at: WallTime(), stoppedAt - sampledUntil) }
        isClosed = true
        try probe?.closeInterval(nil)
    }

    /// A compiler's map tells what lies where now. What was sampled before keeps its names.
    private func compareGeneratedCode() throws {
        let began = MonotonicClock.now()
        comparisons += 1
        if let table = probe?.known, let isReplaced = folding.replacedCode(in: table, comparison: comparisons) {
            try probe?.settle(before: comparisons, isReplaced)
        }
        let now = MonotonicClock.now()
        comparisonDue = now + max(Self.comparisonEvery, Nanoseconds((now - began).count * 50))
    }

    private func learnPython() { if let met = probe?.takePython() { folding.learnPython(met) } }

    func read(into snapshot: inout Snapshot) throws {
        try probe?.read(into: &snapshot)
        if asOne { snapshot.addUpStacks() }
        guard members.watched == nil else { return }
        snapshot.samples = snapshot.otherSamples
        snapshot.otherSamples = []
        if let waits = snapshot[OffCPUCounts.self] { snapshot[OffCPUCounts.self] = OffCPUCounts(targets: waits.descendants, descendants: []) }
    }

    var stackKinds: [StackKind] {
        (options.frequency > 0 ? [.onCPU] : []) + (options.offCPU ? [.offCPU] : []) + (options.wakers ? [.waker] : []) + at.indices.map { .event($0) }
    }

    var events: [RecordedEvent] { at.map(\.recorded) }

    func stacks() throws -> StackTable? {
        try compareGeneratedCode()
        if stoppedAt != .zero { try closeLastInterval() }
        var table = try probe?.stacks()
        learnPython()
        // What holds up a call's reply belongs into the graph of the slow ones.
        if let work, work.selection.keepsAll { table?.separateWorkOfEventLoops() }
        return table
    }

    /// How many samples a part of a process's CPU time since the session began gives.
    func expectedSamples(of process: Int, _ cpu: ClosedRange<Nanoseconds>) -> Double { expected[process].count(in: cpu) }

    func describe(_ record: inout SessionRecord, at moment: SessionMoment) {
        targetCPU = moment.cpu.upperBound - moment.cpu.lowerBound
        record.addSamples(
            of: moment.snapshot, process: moment.process, frequency: frequency,
            expected: members.watched == nil || !members.threads.isEmpty ? nil : UInt64(saturating: expectedSamples(of: moment.process, moment.cpu))
        )
        if let counts = moment.snapshot[EventCounts.self] { record.samples.events = zip(events, counts.events).map { .init($0, $1) } }
    }

    /// The frequency changes what its own program costs, and not what stacks of waits do.
    func costKind(of program: String) -> WritableKeyPath<Budget.Reading, ProgramCounts>? { program == "sample" ? \.samples : \.others }

    func follow(_ level: WatchLevel, at cpu: [Nanoseconds]) throws {
        let wanted = options.frequency / level.sampleDivisor
        guard wanted != frequency, stoppedAt == .zero else { return }
        frequency = wanted
        try probe?.sample(at: frequency)
        for (index, cpu) in zip(expected.indices, cpu) { expected[index].change(to: frequency, at: cpu) }
    }

    func stop() {
        probe?.stop()
        if stoppedAt == .zero { stoppedAt = MonotonicClock.now() }
    }

    /// Takes no more stacks at events.
    func detachEvents() { probe?.detachEvents() }

    /// Processes of which it is said how their code gets names; of more only how many there are.
    private static let mostRequests = 8

    func conclude(_ total: Snapshot) throws {
        let requests = folding.requests
        for line in requests.prefix(Self.mostRequests) { say("kiln: \(line)") }
        if requests.count > Self.mostRequests { say("kiln: \(requests.count - Self.mostRequests) more processes have functions without names.") }
        guard empty != .fine else { return }
        let samples = (total.samples + total.otherSamples).reduce(0) { $0 &+ $1.recorded }
        let counts = total[EventCounts.self]?.events ?? []
        guard samples == 0, counts.allSatisfy({ $0.happened == 0 }), try stacks()?.waits.isEmpty != false else { return }
        var reasons: [String] = []
        if frequency > 0 { reasons.append(unsampled) }
        if options.offCPU { reasons.append(unwaited(total)) }
        reasons += events.map { event in
            event.name.hasPrefix("u") && event.name.contains("probe:") ? "\(event.name) was not called" : "\(event.name) did not happen"
        }
        let reason = "recorded nothing: \(reasons.joined(separator: "; "))."
        guard empty == .told else { throw Failure(reason) }
        say("kiln: \(reason)")
    }

    /// Why no sample was taken.
    private var unsampled: String {
        let few = "at \(frequency) Hz a sample falls on each \(Nanoseconds(UInt64(1_000_000_000 / max(frequency, 1)))) of CPU time"
        guard members.watched != nil, members.threads.isEmpty else {
            return members.threads.isEmpty ? "no process ran when a sample was due" : "no thread that was asked for ran when a sample was due"
        }
        return "the target used \(targetCPU) of CPU time, and \(few)" + (options.offCPU ? "" : "; --off-cpu records where it waits")
    }

    /// Why no wait was recorded.
    private func unwaited(_ total: Snapshot) -> String {
        let counts = total[OffCPUCounts.self], waits = ((counts?.targets ?? []) + (counts?.descendants ?? [])).reduce(0) { $0 &+ $1.recorded }
        return waits == 0
            ? "no thread of it waited, or it ended before the session began"
            : "none of \(waits) waits is what --min-wait, --max-wait and --state ask for"
    }

    func detach() { probe?.detach() }

    func loadedPrograms() -> [LoadedProgram] { probe?.loadedPrograms() ?? [] }
}
