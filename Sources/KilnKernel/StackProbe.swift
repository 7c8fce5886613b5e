import CLibbpf
import Dispatch
import Glibc
import KilnBPF
import KilnModel

/// Samples on-CPU stacks while it lives, and gathers those that the kernel sends: of the targets and of what descends from them,
/// or of everything that runs.
public struct StackProbe: ~Copyable {
    private var object: BPFObject
    private let weights: BPFMap
    private let stats: BPFMap
    private let losses: BPFMap
    private let ring: StackRing
    private let unwinding: UnwindMaps
    private let mappingEvents: MappingEvents
    /// The unwinder gets its tables: half of that is waiting for the kernel.
    private var filling: Meanwhile<Void>?
    /// Those that have not ended, by number.
    private var alive: [Int: SampledProcess]

    /// Gives the code that a process has mapped now; none of one that is gone.
    public typealias Mappings = (SampledProcess) -> [CodeMapping]

    /// Load, and begin to give the unwinder its tables; nothing is sampled yet. `watched` nil: everything is sampled. `byThread`: stacks
    /// have their thread's name. `known`: code whose unwind tables are loaded at the start, as time and room allow.
    public init(
        watching watched: WatchedProcesses?, byThread: Bool = false, known: [CodeMapping] = [], mappings: Mappings
    ) throws(KernelError) {
        // What is mapped after this moment is told; what was mapped before is read now.
        let mappingEvents = try MappingEvents()
        let pids = watched?.pids ?? []
        let targets = pids.enumerated().map { SampledProcess(target: $0, pid: $1) }
        let tables = Dictionary(uniqueKeysWithValues: targets.map { ($0.number, mappings($0)) })
        var object = try BPFObject(kiln_stacks_object(), name: "stacks")
        try object.setConstant(section: ".rodata.targets", watched?.constants ?? kiln_targets())
        try object.setConstant(
            section: ".rodata.options", kiln_stack_options(by_thread: byThread ? 1 : 0, everything: watched == nil ? 1 : 0)
        )
        try object.load()
        let weights = try object.map("stack_weights"), stats = try object.map("stack_stats")
        let losses = try object.map("losses")
        let ring = try StackRing(stacks: try object.map("new_stacks"), ended: try object.map("ended_processes"), targets: pids.count)
        let unwinding = UnwindMaps(tables: try object.map("unwind_tables"), mappings: try object.map("code_mappings"), knownCode: try object.map("known_code"))
        filling = Meanwhile(on: DispatchQueue(label: "unwind tables")) { () throws(KernelError) in try unwinding.set(tables, besides: known) }
        self.object = object
        self.weights = weights
        self.stats = stats
        self.losses = losses
        self.ring = ring
        self.unwinding = unwinding
        self.mappingEvents = mappingEvents
        alive = Dictionary(uniqueKeysWithValues: targets.map { ($0.number, $0) })
    }

    /// Start the timers. `frequency`: samples a second of CPU time, on every online CPU. `descendants`: processes that the first target
    /// has started already, to be sampled, too; how many there are is returned.
    @discardableResult
    public mutating func attach(frequency: Int, withDescendants descendants: (() -> [Int32])? = nil) throws(KernelError) -> Int {
        try filling.take()?.outcome()
        // Before the timers, so that no child is sampled that nobody has heard of.
        try object.attach("process_forked")
        try object.attach("process_freed")
        let adopted = try descendants.map { descendants throws(KernelError) in try adopt(descendants) } ?? 0
        try object.attach("sample", toCPUClocksAt: frequency)
        return adopted
    }

    /// As if their forks had been seen. What they fork from the moment on in which they are known is seen; what they forked before it
    /// shows when it is looked again.
    private func adopt(_ descendants: () -> [Int32]) throws(KernelError) -> Int {
        let map = try object.map("descendants"), family: UInt32 = 0
        var adopted: Set<Int32> = []
        while true {
            let found = descendants().filter { !adopted.contains($0) }
            if found.isEmpty { break }
            for pid in found {
                try map.update(UInt32(bitPattern: pid), family)
                adopted.insert(pid)
            }
        }
        // A process that ends before it is in the map sends no event: remove it here.
        for pid in adopted where kill(pid, 0) != 0 && errno == ESRCH {
            map.remove(UInt32(bitPattern: pid))
            adopted.remove(pid)
        }
        return adopted.count
    }

    /// From now on so many samples a second; processes are followed meanwhile.
    public mutating func sample(at frequency: Int) throws(KernelError) {
        object.detach("sample")
        try object.attach("sample", toCPUClocksAt: frequency)
    }

    /// Stop the timers.
    public mutating func stop() { object.detach() }

    /// BPF run-time statistics of the loaded programs, by name.
    public func programs() -> [String: ProgramCounts] { object.programCounts() }

    /// Let the unwinder know of processes that `drain` met and of what others have mapped since: `mappings` is asked only about
    /// those. What it holds for processes that ended is freed.
    public mutating func follow(_ mappings: Mappings) throws(KernelError) {
        let (met, ended) = ring.takeProcesses()
        for process in met { alive[process.number] = process }
        var changed = Set(met.map(\.number))
        let mappers = try mappingEvents.take()
        for process in alive.values where mappers.contains(process.pid) { changed.insert(process.number) }
        for number in ended { alive[number] = nil }
        var code: [Int: [CodeMapping]] = [:]
        for number in changed { code[number] = alive[number].map(mappings) }
        try unwinding.set(code, forgetting: ended)
    }

    /// A descriptor that becomes readable when `drain` and `follow` should not wait: a process ran code that is not known.
    public func attention() -> Int32 { ring.descriptor }

    /// Take new stacks off the ring. To be called more often than the ring fills: several times a second.
    public func drain() throws(KernelError) { try ring.drain() }

    public func loadedPrograms() -> [LoadedProgram] { object.loadedPrograms() }

    /// Add the cumulative sample counts to a snapshot.
    public func read(into snapshot: inout Snapshot) throws(KernelError) {
        // Rows by kind; of each kind first the targets', then those of what descends from them.
        let targets = Int(KILN_MAX_TARGETS)
        var rows = [SampleCounts](repeating: SampleCounts(), count: StackKind.allCases.count * 2 * targets)
        try stats.forEachCopy(of: kiln_stack_stats.self, entries: rows.count) { row, copy in
            rows[row].seen &+= copy.pointee.seen
            rows[row].recorded &+= copy.pointee.recorded
            rows[row].kernelTruncated &+= copy.pointee.kernel_truncated
            withUnsafeBytes(of: copy.pointee.ends) { bytes in
                for (end, count) in zip(StackEnd.all, bytes.bindMemory(to: UInt64.self)) where count != 0 {
                    rows[row].ends[end, default: 0] &+= count
                }
            }
        }
        let onCPU = StackKind.onCPU.rawValue * 2 * targets
        snapshot.samples = Array(rows[onCPU..<onCPU + targets])
        snapshot.otherSamples = Array(rows[onCPU + targets..<onCPU + 2 * targets])
        try snapshot.addLosses(losses, count: Int(KILN_STACK_LOSS_COUNT.rawValue)) { kiln_describe_stack_loss($0) }
        if unwinding.leftOut != 0 { snapshot.losses[UnwindMaps.leftOutName] = UInt64(unwinding.leftOut) }
        let cutOff = unwinding.mappingsLeftOut
        if cutOff != 0 { snapshot.losses[UnwindMaps.mappingsLeftOutName] = UInt64(cutOff) }
        snapshot.addPrograms(object.programCounts())
    }

    /// All stacks so far with their weights.
    public func stacks() throws(KernelError) -> StackTable {
        try weights.forEachEntry(key: kiln_stack_key.self, value: UInt64.self) { key, weight in
            if let key = StackTable.Key(key.pointee) { ring.set(key, weight.pointee) }
        }
        try drain()
        return ring.table
    }
}
