import CLibbpf
import Glibc

/// Reports which processes have mapped code since the last call. Uses the kernel's records for profilers (the "side band" of
/// perf_event_open(2)), with a ring buffer for each CPU.
///
/// An exec maps the new program, so it is reported, too. The rings are read when stacks are drained; they never wake kiln.
final class MappingEvents {
    /// 64 KiB per CPU: some 500 mappings of code between two reads, by all processes of the host.
    private static let pagesPerRing = 16

    private var rings: OpaquePointer?
    private var mappers: Set<Int32> = []
    private var overran = false

    init() throws(KernelError) {
        let cpus = try BPFMap.possibleCPUs()
        // libbpf needs a map for the events; no program writes to it.
        let map = bpf_map_create(BPF_MAP_TYPE_PERF_EVENT_ARRAY, "mapping_events", 4, 4, UInt32(cpus), nil)
        guard map >= 0 else { throw KernelError("create the map mapping_events", code: -map) }
        defer { close(map) }
        var attributes = kiln_code_mapping_events()
        rings = perf_buffer__new_raw(
            map, Self.pagesPerRing, &attributes,
            { context, _, header in
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
        /// Records were lost, so any process may have.
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
