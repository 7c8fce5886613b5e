import CLibbpf
import Dispatch
import Glibc
import KilnBPF

/// The map of the commands' histograms. The kernel takes 10 to 20 ms to make it, more than for all other maps, and nothing of it depends on
/// who is watched: so it is made meanwhile, from this moment on.
public final class CommandRows {
    private let making: Meanwhile<Int32>
    /// Nil where the kernel refuses; whoever makes the map then is told why.
    private(set) lazy var descriptor: Int32? = try? making.outcome()

    public init() {
        making = Meanwhile(on: DispatchQueue(label: "rows")) { () throws(KernelError) in
            kiln_libbpf_prepare()
            let map = bpf_map_create(
                BPF_MAP_TYPE_PERCPU_ARRAY, "command_stats", UInt32(MemoryLayout<UInt32>.size),
                UInt32(MemoryLayout<kiln_command_stats>.size), try Self.capacity(), nil
            )
            guard map >= 0 else { throw KernelError("create the map command_stats", code: -map) }
            return map
        }
    }

    deinit {
        if let descriptor { close(descriptor) }
    }

    /// How many rows: as many as the ceiling of their memory has room for.
    static func capacity() throws(KernelError) -> UInt32 {
        let cpus = try BPFMap.possibleCPUs()
        let affordable = CommandProbe.memoryCeiling(cpus: cpus) / (MemoryLayout<kiln_command_stats>.size * cpus)
        return UInt32(min(max(affordable, 2 * Int(KILN_MAX_TARGETS)), Int(KILN_COMMAND_CAPACITY)))
    }
}
