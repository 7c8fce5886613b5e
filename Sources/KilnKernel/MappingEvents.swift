import CLibbpf
import Glibc

/// Tells which processes have mapped code since they were last asked about: the kernel's own notes for profilers (the
/// "side band" of perf_event_open(2)), on a ring for each CPU.
///
/// An exec maps the new program, so it shows as well. Nothing wakes kiln: the rings are looked at when stacks are drained.
final class MappingEvents {
    /// 64 KiB a CPU: some 500 mappings of code between two looks, by all processes of the host.
    private static let pagesPerRing = 16

    private var rings: OpaquePointer?
    private var mappers: Set<Int32> = []
    private var overran = false

    init() throws(KernelError) {
        let cpus = try BPFMap.possibleCPUs()
        // libbpf wants a map to put the events into; no program writes there.
        let map = bpf_map_create(BPF_MAP_TYPE_PERF_EVENT_ARRAY, "mapping_events", 4, 4, UInt32(cpus), nil)
        guard map >= 0 else { throw KernelError("create the map mapping_events", code: -map) }
        defer { close(map) }
        var attributes = kiln_code_mapping_events()
        rings = perf_buffer__new_raw(map, Self.pagesPerRing, &attributes, { context, _, header in
            if let context, let header {
                Unmanaged<MappingEvents>.fromOpaque(context).takeUnretainedValue().take(UnsafeRawPointer(header))
            }
            return LIBBPF_PERF_EVENT_CONT
        }, Unmanaged.passUnretained(self).toOpaque(), nil)
        guard rings != nil else { throw KernelError("follow the mappings of processes", code: errno) }
    }

    deinit { perf_buffer__free(rings) }

    /// The processes that have mapped code since the last call.
    func take() throws(KernelError) -> Mappers {
        let result = perf_buffer__consume(rings)
        guard result >= 0 else { throw KernelError("read which processes mapped code", code: -result) }
        defer {
            mappers.removeAll(keepingCapacity: true)
            overran = false
        }
        return overran ? .anybody : .these(mappers)
    }

    enum Mappers {
        case these(Set<Int32>)
        /// Records were lost.
        case anybody

        func contains(_ pid: Int32) -> Bool {
            switch self {
            case .these(let pids): pids.contains(pid)
            case .anybody: true
            }
        }
    }

    private func take(_ record: UnsafeRawPointer) {
        let header = record.load(as: perf_event_header.self)
        let room = Int(header.size) - MemoryLayout<perf_event_header>.size
        switch header.type {
        case UInt32(PERF_RECORD_MMAP.rawValue) where room >= MemoryLayout<Int32>.size:
            // struct { header; u32 pid, tid; ... }
            mappers.insert(record.load(fromByteOffset: MemoryLayout<perf_event_header>.size, as: Int32.self))
        case UInt32(PERF_RECORD_LOST.rawValue): overran = true
        default: break
        }
    }
}
