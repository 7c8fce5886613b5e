import CLibbpf
import Glibc
import KilnBPF

/// The events that this host has.
public enum HostEvents {
    /// A counter of perf_event_open(2), by its name in perf.
    public struct Counter: Sendable {
        public let name: String
        public let type: UInt32
        public let config: UInt64

        /// Whether this host can count it.
        public var exists: Bool {
            let fd = kiln_perf_event_open_counter(type, UInt(config), 1 << 40, 0, 0)
            guard fd >= 0 else { return false }
            close(fd)
            return true
        }
    }

    private static func software(_ name: String, _ config: perf_sw_ids) -> Counter {
        Counter(name: name, type: PERF_TYPE_SOFTWARE.rawValue, config: UInt64(config.rawValue))
    }

    private static func hardware(_ name: String, _ config: perf_hw_id) -> Counter {
        Counter(name: name, type: PERF_TYPE_HARDWARE.rawValue, config: UInt64(config.rawValue))
    }

    /// Counters of the kernel. The kernel reports each single event. The last entries are other names that perf accepts.
    public static let software = [
        software("page-faults", PERF_COUNT_SW_PAGE_FAULTS), software("minor-faults", PERF_COUNT_SW_PAGE_FAULTS_MIN),
        software("major-faults", PERF_COUNT_SW_PAGE_FAULTS_MAJ), software("context-switches", PERF_COUNT_SW_CONTEXT_SWITCHES),
        software("cpu-migrations", PERF_COUNT_SW_CPU_MIGRATIONS), software("cgroup-switches", PERF_COUNT_SW_CGROUP_SWITCHES),
        software("alignment-faults", PERF_COUNT_SW_ALIGNMENT_FAULTS), software("emulation-faults", PERF_COUNT_SW_EMULATION_FAULTS),
    ]

    public static let hardware = [
        hardware("cycles", PERF_COUNT_HW_CPU_CYCLES), hardware("instructions", PERF_COUNT_HW_INSTRUCTIONS),
        hardware("cache-references", PERF_COUNT_HW_CACHE_REFERENCES), hardware("cache-misses", PERF_COUNT_HW_CACHE_MISSES),
        hardware("branches", PERF_COUNT_HW_BRANCH_INSTRUCTIONS), hardware("branch-misses", PERF_COUNT_HW_BRANCH_MISSES),
        hardware("bus-cycles", PERF_COUNT_HW_BUS_CYCLES), hardware("stalled-cycles-frontend", PERF_COUNT_HW_STALLED_CYCLES_FRONTEND),
        hardware("stalled-cycles-backend", PERF_COUNT_HW_STALLED_CYCLES_BACKEND), hardware("ref-cycles", PERF_COUNT_HW_REF_CPU_CYCLES),
    ]

    /// perf's other names.
    public static let aliases = [
        "faults": "page-faults", "cs": "context-switches", "migrations": "cpu-migrations", "cpu-cycles": "cycles", "branch-instructions": "branches",
    ]

    /// The names of all tracepoints, with their category where tracefs has it; nil: tracefs is not mounted, or the event is not in it.
    public static func tracepoints() throws(KernelError) -> [String: String?] {
        final class Names { var all: [String] = [] }
        let names = Names()
        let result = withExtendedLifetime(names) {
            kiln_for_each_tracepoint(
                { context, name in
                    guard let context, let name else { return }
                    Unmanaged<Names>.fromOpaque(context).takeUnretainedValue().all.append(String(cString: name))
                }, Unmanaged.passUnretained(names).toOpaque())
        }
        guard result == 0 else { throw KernelError("read the kernel's type information", code: -result) }
        let categories = categories()
        return Dictionary(names.all.map { ($0, categories[$0]) }, uniquingKeysWith: { first, _ in first })
    }

    /// System calls by the names of their tracepoints (`sys_enter_NAME`), which for a few are not those of the calls.
    public static let systemCalls: [String: Int] = {
        var calls: [String: Int] = [:]
        for number in 0..<Int(KILN_SYSCALL_NUMBERS) {
            if let name = kiln_syscall_name(KILN_ABI_NATIVE.rawValue, UInt32(number)) { calls[String(cString: name)] = number }
        }
        for (call, tracepoint) in otherNames { calls[tracepoint] = calls[call] }
        return calls
    }()

    /// Of the few calls whose tracepoints have the name of another version, that name.
    static let otherNames = [
        "stat": "newstat", "lstat": "newlstat", "fstat": "newfstat", "uname": "newuname", "sendfile": "sendfile64", "umount2": "umount",
    ]

    /// Where tracefs may be mounted.
    static let directories = ["/sys/kernel/tracing/events", "/sys/kernel/debug/tracing/events"]

    /// The category of each event in tracefs; empty where it isn't mounted.
    private static func categories() -> [String: String] {
        var categories: [String: String] = [:]
        for place in directories where categories.isEmpty {
            for category in entries(of: place) where category != "syscalls" {
                for event in entries(of: "\(place)/\(category)") { categories[event] = category }
            }
        }
        return categories
    }

    private static func entries(of path: String) -> [String] {
        guard let directory = opendir(path) else { return [] }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            guard entry.pointee.d_type == UInt8(DT_DIR) else { continue }
            let name = withUnsafePointer(to: &entry.pointee.d_name) { $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) } }
            if !name.hasPrefix(".") { names.append(name) }
        }
        return names
    }
}
