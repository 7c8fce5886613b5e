import CLibbpf
import Glibc
import KilnBPF
import KilnModel

/// What each thread of a server works on, and the stacks that wait until that is known: the maps that the programs which follow requests share with
/// those which take stacks.
public final class WorkMaps {
    private static let work = "work", slots = "work_slots", held = "held_stacks"

    private let descriptors: [String: Int32]
    /// The calls whose stacks are kept.
    public let selection: CallSelection

    /// Throws if the kernel refuses a map.
    public init(keepingStacksOf selection: CallSelection = CallSelection()) throws(KernelError) {
        self.selection = selection
        kiln_libbpf_prepare()
        let word = UInt32(MemoryLayout<UInt32>.size)
        var made: [String: Int32] = [:]
        func make(_ name: String, _ type: bpf_map_type, value: Int, _ entries: UInt32) throws(KernelError) {
            let map = bpf_map_create(type, name, word, UInt32(value), entries, nil)
            guard map >= 0 else {
                for descriptor in made.values { close(descriptor) }
                throw KernelError("create the map \(name)", code: -map)
            }
            made[name] = map
        }
        try make(Self.work, BPF_MAP_TYPE_ARRAY, value: MemoryLayout<kiln_work>.size, UInt32(KILN_WORK_SLOTS))
        try make(Self.slots, BPF_MAP_TYPE_HASH, value: MemoryLayout<UInt32>.size, UInt32(KILN_WORK_THREADS))
        try make(Self.held, BPF_MAP_TYPE_ARRAY, value: MemoryLayout<kiln_held_stacks>.size, UInt32(KILN_WORK_SLOTS))
        descriptors = made
    }

    deinit { for descriptor in descriptors.values { close(descriptor) } }

    /// Before an object is loaded that has these maps. `shared`: nil if stacks have no labels; then the object's own maps are made small.
    static func configure(_ object: borrowing BPFObject, _ shared: WorkMaps?) throws(KernelError) {
        guard let shared else {
            for map in [work, slots, held] { try object.setCapacity(ofMap: map, to: 1) }
            return
        }
        for (name, descriptor) in shared.descriptors { try object.use(descriptor, asMap: name) }
        try object.setConstant(section: ".rodata.work", kiln_work_options(shared.selection))
    }

    /// After an object is loaded that follows requests, before it is attached.
    func fill(_ object: borrowing BPFObject) throws(KernelError) {
        let wanted = try object.map("wanted_commands")
        for name in selection.commands {
            var key = kiln_command_name()
            withUnsafeMutableBytes(of: &key) { $0.copyBytes(from: paddedName(name)) }
            try wanted.update(key, UInt8(1))
        }
        guard !selection.commands.isEmpty else { return }
        // The rows `other` are taken from the start.
        let thresholds = try object.map("thresholds")
        for row in 0..<UInt32(KILN_MAX_TARGETS) { try thresholds.update(row, UInt64.max) }  // KILN_NO_THRESHOLD
    }
}

extension kiln_work_options {
    init(_ selection: CallSelection) {
        self.init()
        followed = 1
        judged = selection.keepsAll ? 0 : 1
        switch selection.threshold {
        case .none: break
        case .fixed(let time):
            slower_than_ns = time.count
            has_threshold = 1
        case .percentile:
            slower_than_ns = .max  // KILN_NO_THRESHOLD
            has_threshold = 1
        }
        keeps_fast = selection.keepsFast ? 1 : 0
        errors_only = selection.errorsOnly ? 1 : 0
        by_command = selection.commands.isEmpty ? 0 : 1
        let wanted = selection.clients.compactMap(TraceFilter.Client.init).flatMap { [$0.address] + $0.mapped }
        clients = UInt32(min(wanted.count, Int(KILN_WORK_CLIENTS)))
        withUnsafeMutableBytes(of: &client) { bytes in
            let entries = bytes.bindMemory(to: kiln_work_client.self)
            for (index, client) in wanted.prefix(entries.count).enumerated() {
                entries[index] = kiln_work_client(address: client.address, family: UInt64(client.family))
            }
        }
    }
}

/// Stacks that are not in their sums yet: the next event of their thread decides what they are for, they wait for their call's reply, or a program settles
/// them when it holds the next one.
final class HeldStacks {
    private struct Held {
        let key: StackTable.Key
        let times: kiln_wait_times
        /// Its label and its band no longer change; where only some calls' stacks are kept, it is kept.
        let isDecided: Bool

        /// So many it stands for.
        var count: UInt64 { times.waits &+ times.earlier_waits }
    }

    private let map, work: BPFMap
    /// Only stacks of calls that were answered, and are to be kept.
    private let isJudged: Bool
    /// Those of the session's end: requests that are answered later change nothing.
    private var frozen: [Held]?

    init(_ object: borrowing BPFObject, _ work: WorkMaps) throws(KernelError) {
        map = try object.map("held_stacks")
        self.work = try object.map("work")
        isJudged = !work.selection.keepsAll
    }

    /// No stack is taken any more.
    func freeze() { frozen = frozen ?? (try? read()) }

    /// Calls `body` with each one that is kept, and its label. `decided`: only those of which everything is known.
    func forEachKept(decided: Bool, _ body: (StackTable.Key, kiln_wait_times) -> Void) throws(KernelError) {
        for held in try all() where held.isDecided || (!isJudged && (!decided || frozen != nil)) { body(held.key, held.times) }
    }

    /// Calls `body` with those that are not, whose calls were not asked for, or not answered, and how many.
    func forEachDropped(_ body: (StackTable.Key, UInt64) -> Void) throws(KernelError) {
        for held in try all() where isJudged && !held.isDecided { body(held.key, held.count) }
    }

    private func all() throws(KernelError) -> [Held] {
        if let frozen { return frozen }
        return try read()
    }

    private func read() throws(KernelError) -> [Held] {
        var all: [Held] = [], ends: [UInt32: Int] = [:]
        // A slot has 64 KiB, and few have any stack.
        try work.forEachEntry(key: UInt32.self, value: kiln_work.self) { slot, work in
            if work.pointee.held_end != 0 { ends[slot.pointee] = min(Int(work.pointee.held_end), Int(KILN_HELD_STACKS)) }
        }
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: MemoryLayout<kiln_held_stacks>.size, alignment: 8)
        defer { bytes.deallocate() }
        for (slot, end) in ends where try map.read(slot, into: bytes) {
            for stack in bytes.bindMemory(to: kiln_held_stack.self).prefix(end) {
                guard stack.state > KILN_HELD_TAKEN.rawValue, var key = StackTable.Key(stack.key) else { continue }
                key.label |= Int(stack.work.finalLabel)
                all.append(Held(key: key, times: stack.times, isDecided: stack.state == KILN_HELD_KEPT.rawValue))
            }
        }
        return all
    }
}

extension kiln_known_work {
    /// The label of a stack that nothing decides any more.
    var finalLabel: UInt16 {
        label != 0 || slot >= UInt32(KILN_WORK_SLOTS)
            ? kiln_kept_label(label)
            : UInt16(KILN_ACTIVITY_UNKNOWN.rawValue) << UInt16(KILN_LABEL_ACTIVITY_SHIFT) | UInt16(KILN_UNKNOWN_EDGE.rawValue) << UInt16(KILN_LABEL_ROW_SHIFT)
    }
}
