import CLibbpf
import Dispatch
import Glibc
import KilnBPF
import KilnModel

/// Samples on-CPU stacks of the targets and their descendants, or of every process, and reads them from the kernel.
public struct StackProbe: ~Copyable {
    private var object: BPFObject
    private let weights: BPFMap
    private let stats: BPFMap
    private let losses: BPFMap
    private let waits: Waits?
    private let held: HeldStacks?
    private let events: Events
    private let members: Members
    private let ring: StackRing
    private let unwinding: UnwindMaps
    /// Nil after `detach`.
    private var mappingEvents: MappingEvents?
    /// Fills the unwinder's tables on a thread of its own; half of that time is waiting for the kernel.
    private var filling: BackgroundWork<Void>?
    /// Processes that have not ended, by number.
    private var alive: [Int: SampledProcess]

    /// Returns the code that a process has mapped now; empty if it has ended.
    public typealias Mappings = (SampledProcess) -> ProcessCode

    /// Loads the programs and begins to fill the unwind tables. Sampling doesn't begin yet. `byThread`: stacks have the name of their thread. `filter`: also
    /// records stacks off the CPU; nil: only those on it. `events`: also records stacks at them. `known`: code whose unwind tables are loaded at the start, as
    /// far as time and memory allow. `work`, `turns`: also written by the programs that follow requests; with them, stacks have labels.
    public init(
        of members: Members, byThread: Bool = false, waits filter: WaitFilter? = nil, events: [Event] = [], known: [CodeMapping] = [], work: WorkMaps? = nil,
        turns: Turns? = nil, mappings: Mappings
    ) throws(KernelError) {
        // Later mappings are reported as events; earlier ones are read now.
        let mappingEvents = try MappingEvents()
        let pids = members.watched?.pids ?? []
        let targets = pids.enumerated().map { SampledProcess(target: $0, pid: $1) }
        // A command that is about to start has other code than what waits for its start.
        let tables = members.commandStack != nil ? [:] : Dictionary(uniqueKeysWithValues: targets.map { ($0.number, mappings($0)) })
        var object = try BPFObject(kiln_stacks_object(), name: "stacks")
        try members.configure(object)
        try object.setConstant(section: ".rodata.options", kiln_stack_options(byThread: byThread, filter ?? WaitFilter()))
        try Events.configure(&object, events)
        object.loadOnly(Members.programs + ["process_freed", "sample"] + (filter == nil ? [] : Waits.programs) + Events.programs(for: events))
        try Waits.leaveOut(of: object, filter)
        try WorkMaps.configure(object, work)
        if let turns { try object.use(turns.descriptor, asMap: "turns") }
        try object.load()
        let weights = try object.map("stack_weights"), stats = try object.map("stack_stats")
        let losses = try object.map("losses")
        var waits: Waits?
        if let filter { waits = try Waits(object, filter, withOpen: work?.selection.keepsAll ?? true) }
        let held = try work.map { work throws(KernelError) in try HeldStacks(object, work) }
        let counting = try Events(object, events)
        let ring = try StackRing(stacks: try object.map("new_stacks"), ended: try object.map("ended_processes"), targets: pids.count)
        let unwinding = UnwindMaps(
            tables: try object.map("unwind_tables"), mappings: try object.map("code_mappings"), knownCode: try object.map("known_code"),
            pythons: try object.map("python_processes"))
        filling = BackgroundWork(on: DispatchQueue(label: "unwind tables")) { () throws(KernelError) in try unwinding.set(tables, besides: known) }
        self.object = object
        self.weights = weights
        self.stats = stats
        self.losses = losses
        self.waits = waits
        self.held = held
        self.events = counting
        self.members = members
        self.ring = ring
        self.unwinding = unwinding
        self.mappingEvents = mappingEvents
        alive = Dictionary(uniqueKeysWithValues: targets.map { ($0.number, $0) })
    }

    /// Starts the timers. `frequency`: samples per second of CPU time, on every online CPU; 0: no timers. `descendants`: running descendants of the first
    /// target, to be sampled, too. `leavingOut`: places of files at which no event's stacks are recorded. Returns how many descendants there are.
    @discardableResult
    public mutating func attach(
        frequency: Int, withDescendants descendants: (() -> [Int32])? = nil, leavingOut: [String: Set<UInt64>] = [:]
    ) throws(KernelError) -> Int {
        try filling.take()?.outcome()
        // Before the timers, so that every sampled child is known.
        try object.attach("process_freed")
        let adopted = try members.attach(to: &object, withDescendants: descendants)
        if frequency > 0 { try object.attach("sample", toCPUClocksAt: frequency) }
        if let waits {
            try waits.attach(&object)
            try waits.takeSleepers(object)
        }
        try events.attach(to: &object, leavingOut: leavingOut)
        return adopted
    }

    /// Takes no more stacks at events. Those taken stay.
    public mutating func detachEvents() { for program in Events.programs(for: events.events) { object.detach(program) } }

    /// Changes the number of samples per second. Processes are followed in the meantime.
    public mutating func sample(at frequency: Int) throws(KernelError) {
        object.detach("sample")
        try object.attach("sample", toCPUClocksAt: frequency)
    }

    /// Stops the timers and the recording of waits.
    public mutating func stop() {
        waits?.stop(&object)
        object.detach()
        held?.freeze()
    }

    /// Stops, and no longer hears of mappings. Stacks stay readable.
    public mutating func detach() {
        stop()
        mappingEvents = nil
    }

    /// BPF run-time statistics of the loaded programs, by name.
    public func programs() -> [String: ProgramCounts] { object.programCounts() }

    /// Updates the unwinder's mappings of processes that `drain` met or that have mapped code since, and calls `mappings` only for those.
    /// Frees the mappings of processes that have ended.
    public mutating func follow(_ mappings: Mappings) throws(KernelError) {
        let (met, ended, puzzling) = ring.takeProcesses()
        for process in met { alive[process.number] = process }
        var changed = puzzling.union(met.map(\.number))
        guard let mappers = try mappingEvents?.take() else { return }
        for process in alive.values where mappers.contains(process.pid) { changed.insert(process.number) }
        for number in ended { alive[number] = nil }
        var code: [Int: ProcessCode] = [:]
        for number in changed { code[number] = alive[number].map(mappings) }
        try unwinding.set(code, forgetting: ended)
        if !code.isEmpty { try waits?.takeSleepers(object) }
    }

    /// Frames of Python that were met since the last call, by process. Their names have to be read soon.
    public func takePython() -> [Int: Set<UInt64>] { ring.takePython() }

    /// A descriptor that becomes readable when `drain` and `follow` are due at once, because a process ran unknown code.
    public func attention() -> Int32 { ring.descriptor }

    /// Reads new stacks from the ring buffer. Must be called before it is full: several times a second.
    public func drain() throws(KernelError) { try ring.drain() }

    public func loadedPrograms() -> [LoadedProgram] { object.loadedPrograms() }

    /// Adds the cumulative sample counts to a snapshot.
    public func read(into snapshot: inout Snapshot) throws(KernelError) {
        // Rows are ordered by kind; for each kind, first the targets' rows, then those of their descendants.
        let targets = Int(KILN_MAX_TARGETS)
        var rows = [SampleCounts](repeating: SampleCounts(), count: (StackKind.withoutEvents + events.events.count) * 2 * targets)
        try stats.forEachCopy(of: kiln_stack_stats.self, entries: rows.count) { row, copy in
            rows[row].seen &+= copy.pointee.seen
            rows[row].recorded &+= copy.pointee.recorded
            rows[row].leftOut.add(LeftOutCounts(copy.pointee.left_out))
            rows[row].dropped &+= copy.pointee.dropped
            rows[row].kernelTruncated &+= copy.pointee.kernel_truncated
            rows[row].guessed &+= copy.pointee.guessed
            withUnsafeBytes(of: copy.pointee.ends) { bytes in
                for (end, count) in zip(UnwindTermination.all, bytes.bindMemory(to: UInt64.self)) where count != 0 {
                    rows[row].terminations[end, default: 0] &+= count
                }
            }
        }
        try held?.forEachDropped { key, stacks in rows[key.kind.rawValue * 2 * targets + key.process].dropped &+= stacks }
        func counts(_ kind: StackKind) -> (targets: [SampleCounts], descendants: [SampleCounts]) {
            let first = kind.rawValue * 2 * targets
            return (Array(rows[first..<first + targets]), Array(rows[first + targets..<first + 2 * targets]))
        }
        (snapshot.samples, snapshot.otherSamples) = counts(.onCPU)
        if waits != nil {
            let (own, others) = counts(.offCPU)
            snapshot[OffCPUCounts.self] = OffCPUCounts(targets: own, descendants: others)
        }
        if !events.events.isEmpty {
            snapshot[EventCounts.self] = try events.read { kind in
                let (own, others) = counts(kind)
                return (own + others).reduce(into: SampleCounts()) { $0.add($1) }
            }
        }
        try snapshot.addLosses(losses, count: Int(KILN_STACK_LOSS_COUNT.rawValue)) { kiln_describe_stack_loss($0) }
        if unwinding.leftOut != 0 { snapshot.losses[UnwindMaps.leftOutName] = UInt64(unwinding.leftOut) }
        let cutOff = unwinding.mappingsLeftOut
        if cutOff != 0 { snapshot.losses[UnwindMaps.mappingsLeftOutName] = UInt64(cutOff) }
        snapshot.addPrograms(object.programCounts())
    }

    /// The stacks known so far, with the weights that were last read.
    public var known: StackTable { ring.table }

    /// Reads the weights, adds what has grown to the present interval of the history, and lets the weights of some stacks be those of stacks of their own:
    /// `StackTable.settle`.
    public func settle(before comparison: UInt64, _ isMeant: (Int, StackFrames) -> Bool) throws(KernelError) {
        // Without stacks that wait for a reply: the reply moves them to another key.
        let (sums, times) = try readSums(open: false)
        ring.note(sums, times)
        ring.set(sums, times, try waits?.wakes() ?? [:])
        try drain()
        ring.settle(before: comparison, isMeant)
    }

    /// All stacks so far, with their weights.
    public func stacks() throws(KernelError) -> StackTable {
        try readWeights()
        return ring.table.settled()
    }

    /// Adds the growth of all weights to the present interval of the history, and ends the interval.
    ///
    /// - Parameter interval: The wall-clock time of the interval's end (RFC 3339) and its length. Nil after the session has ended: the last interval gets the
    ///   growth since its end, waits that have not ended, and stacks whose call has not been answered.
    public func closeInterval(_ interval: (time: String, length: Nanoseconds)?) throws(KernelError) {
        let (sums, times) = try readSums(open: interval == nil)
        ring.note(sums, times)
        ring.closeInterval(interval)
    }

    private func readWeights() throws(KernelError) {
        let (sums, times) = try readSums(open: true)
        ring.set(sums, times, try waits?.wakes() ?? [:])
        try drain()
    }

    /// `open`: with waits that have not ended, and stacks that wait for a decision or for their call's reply.
    private func readSums(open: Bool) throws(KernelError) -> (weights: [StackTable.Key: UInt64], times: [StackTable.Key: WaitTimes]) {
        var sums: [StackTable.Key: UInt64] = [:]
        try weights.forEachEntry(key: kiln_stack_key.self, value: UInt64.self) { key, weight in
            if weight.pointee != 0, let key = StackTable.Key(key.pointee) { sums[key] = weight.pointee }
        }
        var times = try waits?.read(withOpen: open) ?? [:]
        try held?.forEachKept(decided: !open) { key, held in
            var key = key
            // A program adds it to the sum without a band where the map has no room for another key.
            let (isNew, count) = key.kind == .offCPU ? (times[key] == nil, times.count) : (sums[key] == nil, sums.count)
            if key.band != nil, isNew, count >= Int(KILN_STACKS_CAPACITY) { key.band = nil }
            if key.kind == .offCPU { times[key, default: WaitTimes()].add(WaitTimes(held)) } else { sums[key, default: 0] &+= held.ns.0 }
        }
        return (sums, times)
    }
}

extension LeftOutCounts {
    /// In the order of `enum kiln_left_out`.
    fileprivate init(_ counts: (UInt64, UInt64, UInt64, UInt64)) {
        self.init()
        (otherCalls, eventLoop, background, unknown) = counts
    }
}
