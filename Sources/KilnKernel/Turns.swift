import CLibbpf
import Glibc
import KilnBPF
import KilnModel

/// The map `turns`, which all objects of a session share: the time at which the main thread of each process last returned from waiting for
/// events.
public final class Turns {
    let descriptor: Int32

    /// Throws if the kernel refuses the map.
    public init() throws(KernelError) {
        kiln_libbpf_prepare()
        let map = bpf_map_create(
            BPF_MAP_TYPE_ARRAY, "turns", UInt32(MemoryLayout<UInt32>.size), UInt32(MemoryLayout<kiln_turn>.size), UInt32(KILN_MAX_TARGETS), nil
        )
        guard map >= 0 else { throw KernelError("create the map turns", code: -map) }
        descriptor = map
    }

    deinit { close(descriptor) }

    /// Sets whether a program sees the beginnings of turns from now on.
    func setKnown(_ known: Bool, processes: Int) throws(KernelError) {
        try map.setTurns(known: known, processes: processes)
    }

    var map: BPFMap {
        BPFMap(
            fd: descriptor, name: "turns", keySize: MemoryLayout<UInt32>.size, valueSize: MemoryLayout<kiln_turn>.size, capacity: Int(KILN_MAX_TARGETS))
    }
}

extension BPFMap {
    /// Sets whether a program sees the beginnings of event loop turns from now on. Everything received until now counts as received in an
    /// earlier turn.
    func setTurns(known: Bool, processes: Int) throws(KernelError) {
        var turn = kiln_turn()
        turn.began_ns = MonotonicClock.now().count
        turn.known = known ? 1 : 0
        for process in 0..<processes { try update(UInt32(process), turn) }
    }
}
