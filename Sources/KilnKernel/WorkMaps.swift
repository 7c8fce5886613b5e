import CLibbpf
import Glibc
import KilnBPF
import KilnModel

/// The maps of bpf/work/, which the programs that follow requests and those that take stacks share: what each thread of a server works on, and
/// the stacks that wait until that is known.
public final class WorkMaps {
    private static let work = "work", slots = "work_slots", held = "held_stacks"

    private let descriptors: [String: Int32]

    /// Throws if the kernel refuses a map.
    public init() throws(KernelError) {
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
        try object.setConstant(section: ".rodata.work", kiln_work_options(followed: 1, reserved: 0))
    }
}

/// Stacks that are not in their sums yet: the next event of their thread decides what they are for, or a program settles them when it holds the
/// next one.
struct HeldStacks {
    private let map: BPFMap

    init(_ object: borrowing BPFObject) throws(KernelError) { map = try object.map("held_stacks") }

    /// Calls `body` with each one and its label.
    func forEach(_ body: (StackTable.Key, kiln_wait_times) -> Void) throws(KernelError) {
        try map.forEachEntry(key: UInt32.self, value: kiln_held_stacks.self) { _, held in
            let stacks = UnsafeRawPointer(held).assumingMemoryBound(to: kiln_held_stack.self)
            for stack in UnsafeBufferPointer(start: stacks, count: Int(KILN_HELD_STACKS)) {
                guard stack.state == KILN_HELD_UNDECIDED.rawValue || stack.state == KILN_HELD_DECIDED.rawValue, var key = StackTable.Key(stack.key) else {
                    continue
                }
                key.label |= Int(stack.work.finalLabel)
                body(key, stack.times)
            }
        }
    }
}

extension kiln_known_work {
    /// The label of a stack that nothing decides any more.
    var finalLabel: UInt16 {
        label != 0 || slot >= UInt32(KILN_WORK_SLOTS)
            ? label
            : UInt16(KILN_ACTIVITY_UNKNOWN.rawValue) << UInt16(KILN_LABEL_ACTIVITY_SHIFT) | UInt16(KILN_UNKNOWN_EDGE.rawValue) << UInt16(KILN_LABEL_ROW_SHIFT)
    }
}
