import CLibbpf
import Dispatch
import Glibc
import KilnBPF

/// The map of the commands' histograms. The kernel needs 10 to 20 ms to create it, more than for all other maps. It doesn't depend on the
/// targets, so a background thread creates it from this moment on.
public final class CommandRows {
    private let making: BackgroundWork<Int32>
    /// Nil if the kernel refuses it; creating the map again then throws the reason.
    private(set) lazy var descriptor: Int32? = try? making.outcome()

    public init() {
        making = BackgroundWork(on: DispatchQueue(label: "rows")) { () throws(KernelError) in
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

    /// The number of rows that fit into the memory limit.
    static func capacity() throws(KernelError) -> UInt32 {
        let cpus = try BPFMap.possibleCPUs()
        let affordable = CommandProbe.memoryCeiling(cpus: cpus) / (MemoryLayout<kiln_command_stats>.size * cpus)
        return UInt32(min(max(affordable, 2 * Int(KILN_MAX_TARGETS)), Int(KILN_COMMAND_CAPACITY)))
    }
}
