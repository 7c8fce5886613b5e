import CLibbpf
import Glibc
@_exported import KilnBPF
import KilnKernel
import KilnSymbols
@_exported import StackCheckBPF

/// Samples one process with the unwinder that sessions use: each stack with what it was made from, or with a clock around
/// the unwinder. What the process maps later is not followed.
package struct StackCheck: ~Copyable {
    package enum Kind: String {
        case copies = "copy_sample"
        case times = "time_sample"
    }

    private var object: BPFObject
    private let ring: CopyRing

    /// Samples as soon as it is made. `table`: of a file, as sessions have it if nothing else is said.
    package init(
        _ kind: Kind, pid: Int32, frequency: Int, table: @escaping (UnwindableFile) -> UnwindTable? = { try? $0.unwindTable() }
    ) throws {
        guard let watched = WatchedProcesses(pids: [pid]) else { throw KernelError("watch process \(pid)", code: EINVAL) }
        var object = try BPFObject(stack_check_object(), name: "stack_check")
        object.loadOnly([kind.rawValue])
        try object.setConstant(section: ".rodata.targets", watched.constants)
        try object.load()
        let unwinding = UnwindMaps(tables: try object.map("unwind_tables"), mappings: try object.map("code_mappings"))
        try unwinding.set([0: ProcessCode(Symbolizer(pid: pid).executableMappings().map { Self.code($0, table) })])
        let ring = try CopyRing(map: object.map("copies"))
        try object.attach(kind.rawValue, toCPUClocksAt: frequency)
        self.object = object
        self.ring = ring
    }

    /// As the unwinder takes it.
    package static func code(_ mapping: ExecutableMapping) -> CodeMapping { code(mapping) { try? $0.unwindTable() } }

    private static func code(_ mapping: ExecutableMapping, _ table: @escaping (UnwindableFile) -> UnwindTable?) -> CodeMapping {
        CodeMapping(
            start: mapping.start, end: mapping.end, bias: mapping.bias, file: mapping.file.map(AnyHashable.init), inode: mapping.comparableInode
        ) {
            guard let table = mapping.file.flatMap(table) else { return nil }
            return UnwindCells(base: table.base, granules: table.granuleCount, cells: table.cells)
        }
    }

    /// Take the copies that are there; each is valid during the call.
    package func drain(_ body: (UnsafePointer<stack_copy>) -> Void) { ring.drain(body) }

    /// The sums so far.
    package func times() throws -> stack_times {
        var sum = stack_times()
        try object.map("times").forEachCopy(of: stack_times.self, entries: 1) { _, copy in
            sum.samples += copy.pointee.samples
            sum.user_frames += copy.pointee.user_frames
            sum.kernel_frames += copy.pointee.kernel_frames
            sum.kernel_ns += copy.pointee.kernel_ns
            sum.user_ns += copy.pointee.user_ns
            sum.again_ns += copy.pointee.again_ns
            sum.clock_ns += copy.pointee.clock_ns
        }
        return sum
    }
}

/// The reading end of `copies`.
private final class CopyRing {
    private var ring: OpaquePointer?
    private var body: ((UnsafePointer<stack_copy>) -> Void)?

    init(map: BPFMap) throws {
        ring = ring_buffer__new(
            map.fd,
            { context, record, size in
                guard let context, let record, size >= MemoryLayout<stack_copy>.size else { return 0 }
                let copy = UnsafePointer(record.assumingMemoryBound(to: stack_copy.self))
                Unmanaged<CopyRing>.fromOpaque(context).takeUnretainedValue().body?(copy)
                return 0
            }, Unmanaged.passUnretained(self).toOpaque(), nil)
        guard ring != nil else { throw KernelError("map the ring of copies", code: errno) }
    }

    deinit { ring_buffer__free(ring) }

    func drain(_ body: (UnsafePointer<stack_copy>) -> Void) {
        withoutActuallyEscaping(body) {
            self.body = $0
            ring_buffer__consume(ring)
            self.body = nil
        }
    }
}
