import KilnKernel
import KilnModel

/// Stacks of what runs, sampled by a timer that counts CPU time, and stacks of what waits, with its time.
final class StackSampling: Probe {
    static let needs = [Capabilities.stacks]

    private let watched: WatchedProcesses?
    private let options: SamplingOptions
    private let folding: StackFolding
    private let known: () -> [CodeMapping]
    private let descendants: (() -> [Int32])?
    private let startsTarget: Bool
    private var frequency: Int
    private var expected: [ExpectedSamples]
    private var probe: StackProbe?
    private(set) var details: [String] = []

    /// A session at or below this frequency sheds no more samples: 20 a second take 0.05 % of a core.
    private static let lowestThrottled = 20

    /// - Parameters:
    ///   - watched: The processes to sample; nil: every process of the host.
    ///   - options: At least one kind of stacks is asked for.
    ///   - known: Code whose unwind tables are loaded at the start, as far as time and memory allow.
    ///   - descendants: Lists running descendants of the first target, to be sampled, too.
    ///   - startsTarget: The target is a command that is about to start.
    init(
        watched: WatchedProcesses?, _ options: SamplingOptions, folding: StackFolding, known: @escaping () -> [CodeMapping] = { [] },
        descendants: (() -> [Int32])? = nil, startsTarget: Bool = false
    ) {
        self.watched = watched
        self.options = options
        self.folding = folding
        self.known = known
        self.descendants = descendants
        self.startsTarget = startsTarget
        frequency = options.frequency
        expected = [ExpectedSamples](repeating: ExpectedSamples(frequency: frequency), count: watched?.pids.count ?? 1)
    }

    func load() throws(KernelError) {
        var waits = options.waits
        if options.wakers { waits?.interruptEntries = folding.interruptEntries }
        probe = try StackProbe(watching: watched, byThread: options.threads, waits: waits, known: known(), mappings: folding.mappings)
    }

    func attach() throws -> Nanoseconds {
        let started = try probe?.attach(frequency: frequency, withDescendants: descendants, startsTarget: startsTarget) ?? 0
        details = frequency > 0 ? ["\(frequency) Hz"] : []
        if options.offCPU { details.append(options.wakers ? "off-CPU time and wakers" : "off-CPU time") }
        if descendants != nil { details.insert("with \(started) running descendants", at: 0) }
        return MonotonicClock.now()
    }

    var attention: Int32? { probe?.attention() }

    func drain() throws -> Bool {
        try probe?.drain()
        try probe?.follow(folding.mappings)
        return false
    }

    func read(into snapshot: inout Snapshot) throws {
        try probe?.read(into: &snapshot)
        guard watched == nil else { return }
        snapshot.samples = snapshot.otherSamples
        snapshot.otherSamples = []
        if let waits = snapshot[OffCPUCounts.self] { snapshot[OffCPUCounts.self] = OffCPUCounts(targets: waits.descendants, descendants: []) }
    }

    var stackKinds: [StackKind] { (options.frequency > 0 ? [.onCPU] : []) + (options.offCPU ? [.offCPU] : []) + (options.wakers ? [.waker] : []) }

    func stacks() throws -> StackTable? { try probe?.stacks() }

    func describe(_ record: inout SessionRecord, at moment: SessionMoment) {
        record.addSamples(
            of: moment.snapshot, process: moment.process, frequency: frequency,
            expected: watched == nil ? nil : expected[moment.process].count(at: moment.cpu)
        )
    }

    func shed(at cpu: [Nanoseconds]) throws -> String? {
        guard frequency > Self.lowestThrottled else { return nil }
        let former = frequency
        frequency = max(frequency / 4, 1)
        try probe?.sample(at: frequency)
        for (index, cpu) in zip(expected.indices, cpu) { expected[index].change(to: frequency, at: cpu) }
        return "\(frequency) samples a second instead of \(former)"
    }

    func stop() { probe?.stop() }

    func detach() { probe?.stop() }

    func loadedPrograms() -> [LoadedProgram] { probe?.loadedPrograms() ?? [] }
}
