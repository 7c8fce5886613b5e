import CLibbpf
import Glibc
import KilnBPF
import KilnModel

/// Samples the targets' on-CPU stacks while it lives, and gathers the stacks that the kernel sends.
public struct StackProbe: ~Copyable {
    private var object: BPFObject
    private let counts: BPFMap
    private let samples: BPFMap
    private let losses: BPFMap
    private let ring: StackRing
    private let unwinding: UnwindMaps
    private let mappingEvents: MappingEvents
    private let pids: [Int32]

    /// Load, and give the unwinder its tables; nothing is sampled yet. `byThread`: stacks have their thread's name. `mappings`
    /// gives the code that a process (its index) has mapped now.
    public init(
        watching watched: WatchedProcesses, byThread: Bool = false, mappings: (Int) -> [CodeMapping]
    ) throws(KernelError) {
        let object = try BPFObject(kiln_stacks_object(), name: "stacks")
        try object.setConstant(section: ".rodata.targets", watched.constants)
        try object.setConstant(section: ".rodata.options", kiln_stack_options(by_thread: byThread ? 1 : 0))
        try object.load()
        let counts = try object.map("stack_counts"), samples = try object.map("sample_stats")
        let losses = try object.map("losses"), ring = try StackRing(map: try object.map("new_stacks"))
        // What is mapped after this moment is told; what was mapped before is read now.
        let mappingEvents = try MappingEvents()
        let unwinding = UnwindMaps(tables: try object.map("unwind_tables"), mappings: try object.map("code_mappings"))
        try unwinding.set(Dictionary(uniqueKeysWithValues: watched.pids.indices.map { ($0, mappings($0)) }))
        self.object = object
        self.counts = counts
        self.samples = samples
        self.losses = losses
        self.ring = ring
        self.unwinding = unwinding
        self.mappingEvents = mappingEvents
        pids = watched.pids
    }

    /// Start the timers. `frequency`: samples a second of CPU time, on every online CPU.
    public mutating func attach(frequency: Int) throws(KernelError) {
        try object.attach("sample", toCPUClocksAt: frequency)
    }

    /// Stop the timers.
    public mutating func stop() { object.detach() }

    /// Let the unwinder know what the processes have mapped since: `mappings` is asked only about those that did.
    public func follow(_ mappings: (Int) -> [CodeMapping]) throws(KernelError) {
        var code: [Int: [CodeMapping]] = [:]
        for pid in try mappingEvents.changed(among: pids) {
            if let process = pids.firstIndex(of: pid) { code[process] = mappings(process) }
        }
        if !code.isEmpty { try unwinding.set(code) }
    }

    /// A descriptor that becomes readable when `drain` and `follow` should not wait: a process ran code that is not known.
    public func attention() -> Int32 { ring.descriptor }

    /// Take new stacks off the ring. To be called more often than the ring fills: several times a second.
    public func drain() throws(KernelError) { try ring.drain() }

    public func loadedPrograms() -> [LoadedProgram] { object.loadedPrograms() }

    /// Add the cumulative sample counts to a snapshot.
    public func read(into snapshot: inout Snapshot) throws(KernelError) {
        var stats = [SampleCounts](repeating: SampleCounts(), count: pids.count)
        try samples.forEachCopy(of: kiln_sample_stats.self, entries: pids.count) { process, copy in
            stats[process].seen &+= copy.pointee.seen
            stats[process].recorded &+= copy.pointee.recorded
            stats[process].kernelTruncated &+= copy.pointee.kernel_truncated
            withUnsafeBytes(of: copy.pointee.ends) { bytes in
                for (end, count) in zip(StackEnd.all, bytes.bindMemory(to: UInt64.self)) where count != 0 {
                    stats[process].ends[end, default: 0] &+= count
                }
            }
        }
        snapshot.samples = stats
        try snapshot.addLosses(losses, count: Int(KILN_STACK_LOSS_COUNT.rawValue)) { kiln_describe_stack_loss($0) }
        if unwinding.leftOut != 0 { snapshot.losses[UnwindMaps.leftOutName] = UInt64(unwinding.leftOut) }
        snapshot.addPrograms(object.programCounts())
    }

    /// All stacks seen so far with their samples.
    public func stacks() throws(KernelError) -> StackTable {
        try counts.forEachEntry(key: kiln_stack_key.self, value: UInt64.self) { key, count in
            let key = StackTable.Key(hash: key.pointee.hash, process: Int(key.pointee.process))
            ring.table.counts[key] = count.pointee
        }
        try drain()
        return ring.table
    }
}

/// The reading end of `new_stacks`.
private final class StackRing {
    private var ring: OpaquePointer?
    var table = StackTable()

    init(map: BPFMap) throws(KernelError) {
        let context = Unmanaged.passUnretained(self).toOpaque()
        ring = ring_buffer__new(map.fd, { context, record, size in
            guard let context, let record, size >= StackRing.headerSize else { return 0 }
            Unmanaged<StackRing>.fromOpaque(context).takeUnretainedValue().take(record, size: size)
            return 0
        }, context, nil)
        guard ring != nil else { throw KernelError("map the ring of new stacks", code: errno) }
    }

    deinit { ring_buffer__free(ring) }

    var descriptor: Int32 { ring_buffer__epoll_fd(ring) }

    func drain() throws(KernelError) {
        let result = ring_buffer__consume(ring)
        guard result >= 0 else { throw KernelError("read the ring of new stacks", code: -result) }
    }

    private static let headerSize = MemoryLayout<kiln_stack>.offset(of: \.frames) ?? 0

    private func take(_ record: UnsafeMutableRawPointer, size: Int) {
        func field(_ offset: Int?) -> UInt32 { record.load(fromByteOffset: offset ?? 0, as: UInt32.self) }
        let key = record.load(as: kiln_stack_key.self)
        let kernel = Int(field(MemoryLayout<kiln_stack>.offset(of: \.kernel_depth)))
        let user = Int(field(MemoryLayout<kiln_stack>.offset(of: \.user_depth)))
        let room = (size - Self.headerSize) / MemoryLayout<UInt64>.size
        guard kernel + user <= room, let end = StackEnd(rawValue: field(MemoryLayout<kiln_stack>.offset(of: \.end))) else { return }
        let frames = UnsafeBufferPointer(
            start: (record + Self.headerSize).assumingMemoryBound(to: UInt64.self), count: kernel + user
        )
        let marked = frames[kernel...], mark = KILN_FRAME_INTERRUPTED
        table.learn(StackTable.Key(hash: key.hash, process: Int(key.process)), StackFrames(
            kernel: Array(frames[..<kernel]), user: marked.map { $0 & ~mark },
            interrupted: marked.indices.filter { marked[$0] & mark != 0 }.map { $0 - kernel }, end: end, thread: thread(record)
        ))
    }

    /// The name of the thread, if it was asked for.
    private func thread(_ record: UnsafeMutableRawPointer) -> String? {
        guard let offset = MemoryLayout<kiln_stack>.offset(of: \.thread) else { return nil }
        let name = UnsafeRawBufferPointer(start: record + offset, count: Int(KILN_COMM_BYTES)).prefix { $0 != 0 }
        return name.isEmpty ? nil : String(decoding: name, as: UTF8.self)
    }
}
