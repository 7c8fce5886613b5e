import CLibbpf
import Glibc
import KilnModel

/// Probes of the capabilities. Each one tries what it probes.
extension Capabilities {
    /// This process, as the target of programs that need one.
    static func own() throws -> WatchedProcesses {
        guard let own = WatchedProcesses(pids: [getpid()]) else { throw Missing(description: "no process to watch") }
        return own
    }

    /// Loads, attaches and detaches the real programs.
    static func hook(_ hook: CommandHook, takesAway: String, remedy: String) -> Entry {
        Entry(name: hook.rawValue, group: .hooks, isRequired: false, takesAway: takesAway, remedy: remedy) {
            try timed { try tryCommands([hook]) }
        }
    }

    /// Loads and attaches the programs of the first hook that works.
    static func tryCommands(_ hooks: [CommandHook] = CommandHook.allCases, side: Side = .server, trace: TraceFilter? = nil) throws {
        for (index, hook) in hooks.enumerated() {
            do {
                var probe = try CommandProbe(watching: try own(), side: side, hook: hook, trace: trace)
                return try probe.attach { [] }
            } catch  where index < hooks.count - 1 {}
        }
    }

    /// The hooks of requests, in the order in which they are taken; one is enough.
    public static let hooks: [Entry] = [
        hook(.socket, takesAway: "the cheapest hook: kiln uses fentry", remedy: "Linux 6.3 or later, with BTF."),
        hook(
            .fentry, takesAway: "io_uring, recvmmsg and 32-bit servers; without hook socket also queue: kiln uses syscall",
            remedy: "A kernel with CONFIG_FUNCTION_TRACER=y that isn't locked down."
        ),
        hook(.syscall, takesAway: "the last resort", remedy: "A kernel with CONFIG_FTRACE_SYSCALLS=y."),
    ]
    public static let syscalls = feature("system calls", "counts of system calls (or leave them out: kiln redis --no-syscalls)") {
        var probe = try SyscallProbe(watching: try own())
        try probe.attach()
    }
    public static let syscallTimes = feature("times of system calls", isRequired: false, "kiln syscalls, and kiln redis --syscall-latency") {
        var probe = try SyscallTimesProbe(of: Members(try own()))
        try probe.attach()
    }
    public static let stacks = feature("stacks", "on-CPU stacks and the flamegraph (or leave them out: kiln redis --frequency 0)") {
        var probe = try StackProbe(of: Members(try own())) { _ in ProcessCode([]) }
        try probe.attach(frequency: 99)
    }
    public static let events = feature("events", isRequired: false, "kiln record --event") {
        let events = [
            Event(RecordedEvent(name: "sched_switch", fileName: "sched_switch", every: 1), at: .tracepoint("sched_switch")),
            Event(RecordedEvent(name: "page-faults", fileName: "page-faults", every: 1), at: .counter(UInt64(PERF_COUNT_SW_PAGE_FAULTS.rawValue))),
        ]
        var probe = try StackProbe(of: Members(try own()), events: events) { _ in ProcessCode([]) }
        try probe.attach(frequency: 0)
    }
    public static let executedPrograms = feature("executed programs", isRequired: false, "kiln trace exec") {
        var filter = ExecutionFilter()
        filter.failed = true
        var probe = try ExecProbe(Members(try own()), filter)
        try probe.attach()
    }
    public static let singleCalls = feature("single system calls", isRequired: false, "kiln trace syscalls") {
        var probe = try CallTraceProbe(Members(try own()))
        try probe.attach()
    }
    public static let functions = feature("functions", isRequired: false, "kiln functions") {
        let site = FunctionSite.ofKiln()
        var probe = try FunctionProbe([site], of: Members(try own()), timing: .returnInstructions, onlyProcess: getpid())
        if let refused = try probe.attach().refused.first { throw refused.error }
    }
    public static let singleRequests = feature("single requests", isRequired: false, "kiln trace redis") { try tryCommands(trace: TraceFilter()) }
    public static let clientSide = feature("client's side", isRequired: false, "kiln redis --client") { try tryCommands(side: .client) }

    static func feature(
        _ name: String, isRequired: Bool = true, _ takesAway: String, _ attach: @escaping @Sendable () throws -> Void
    ) -> Entry {
        Entry(
            name: name, group: .features, isRequired: isRequired, takesAway: takesAway,
            remedy: "A kernel as the usual distributions build it.", probe: { try timed(attach) }
        )
    }

    private static func timed(_ attach: () throws -> Void) throws -> String {
        let began = MonotonicClock.now()
        try attach()
        return "attached and detached in \((MonotonicClock.now() - began).count / 1_000_000) ms"
    }

    static func helper(_ name: String, _ helper: bpf_func_id, required: Bool, takesAway: String, since version: String) -> Entry {
        Entry(name: name, group: .kernel, isRequired: required, takesAway: takesAway, remedy: "It came with Linux \(version).") {
            kiln_libbpf_prepare()
            let result = libbpf_probe_bpf_helper(BPF_PROG_TYPE_RAW_TRACEPOINT, helper, nil)
            guard result != 0 else { throw Missing(description: "this kernel has no \(name)") }
            guard result > 0 else { throw KernelError("ask for \(name)", code: -result) }
            return ""
        }
    }

    static func map(_ name: String, _ type: bpf_map_type, required: Bool, takesAway: String, since version: String) -> Entry {
        Entry(name: name, group: .kernel, isRequired: required, takesAway: takesAway, remedy: "It came with Linux \(version).") {
            kiln_libbpf_prepare()
            let result = libbpf_probe_bpf_map_type(type, nil)
            guard result != 0 else { throw Missing(description: "this kernel has no \(name)") }
            guard result > 0 else { throw KernelError("ask for \(name)", code: -result) }
            return ""
        }
    }

    /// The capabilities needed for loading, attaching and reading other processes, by bit (capabilities(7)).
    private static let needed: [(bit: UInt64, name: String)] = [
        (38, "CAP_PERFMON"), (39, "CAP_BPF"), (12, "CAP_NET_ADMIN"), (19, "CAP_SYS_PTRACE"), (2, "CAP_DAC_READ_SEARCH"),
    ]

    /// How kiln's program gets all rights that sessions need, and others. setcap(8) replaces those that it had. A program whose file is removed, because
    /// another host has sent it, can get none.
    static func rightsCommand(_ others: String...) -> String {
        var path = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
        let length = readlink("/proc/self/exe", &path, path.count - 1)
        let found = length > 0 ? String(decoding: path[..<length].map { UInt8(bitPattern: $0) }, as: UTF8.self) : "", isRemoved = found.hasSuffix(" (deleted)")
        let program = found.isEmpty || isRemoved ? "/usr/bin/kiln" : found
        let names = (needed.map(\.name) + others).map { $0.lowercased() }.joined(separator: ",")
        return "sudo setcap \(names)+ep \(program)" + (isRemoved ? " (where kiln is installed; with --host, give --sudo)" : "")
    }

    /// BPF ignores capabilities of any user namespace but the initial one.
    @Sendable static func probeUserNamespace() throws -> String {
        var status = stat()
        // PROC_USER_INIT_INO of include/linux/proc_ns.h, the same on every kernel since 3.8.
        guard stat("/proc/self/ns/user", &status) == 0, status.st_ino != 0xEFFF_FFFD else { return "the host's" }
        throw Missing(description: "kiln runs in its own user namespace, whose root can't load BPF programs")
    }

    @Sendable static func probePrivileges() throws -> String {
        let missing = missingPrivileges
        guard missing.isEmpty else { throw Missing(description: "this process lacks " + missing.joined(separator: ", ")) }
        return needed.map(\.name).joined(separator: ", ")
    }

    private static var missingPrivileges: [String] {
        guard let file = fopen("/proc/self/status", "re") else { return [] }
        defer { fclose(file) }
        var line: UnsafeMutablePointer<CChar>?
        var room = 0
        defer { free(line) }
        while getline(&line, &room, file) > 0, let text = line.map({ String(cString: $0) }) {
            guard text.hasPrefix("CapEff:") else { continue }
            let digits = text.dropFirst("CapEff:".count).filter(\.isHexDigit)
            guard let effective = UInt64(digits, radix: 16) else { return [] }
            // Before Linux 5.8 CAP_SYS_ADMIN was needed instead of the first two; it still includes them.
            let administrator = effective & (1 << 21) != 0
            return needed.filter { effective & (1 << $0.bit) == 0 && !(administrator && $0.bit >= 38) }.map(\.name)
        }
        return []
    }

    static func probeTypeInformation(at path: String) throws -> String {
        guard access(path, R_OK) == 0 else {
            throw Missing(description: "cannot read \(path): this kernel has no BTF type information")
        }
        return path
    }

    /// Reads a whole per-CPU array in one call.
    @Sendable static func probeBatches() throws -> String {
        let map = try smallMap(BPF_MAP_TYPE_PERCPU_ARRAY, nil)
        defer { close(map) }
        var key: UInt32 = 0, next: UInt32 = 0, count: UInt32 = 1
        var values = [UInt64](repeating: 0, count: try BPFMap.possibleCPUs())
        let result = bpf_map_lookup_batch(map, nil, &next, &key, &values, &count, nil)
        guard result == 0 || result == -ENOENT else { throw KernelError("read a per-CPU array at once", code: -result) }
        return ""
    }

    /// Sets several elements of a map of maps in one call.
    @Sendable static func probeOuterBatches() throws -> String {
        let inner = try smallMap(BPF_MAP_TYPE_ARRAY, nil)
        defer { close(inner) }
        let outer = try smallMap(BPF_MAP_TYPE_ARRAY_OF_MAPS, inner)
        defer { close(outer) }
        var key: UInt32 = 0, value = inner, count: UInt32 = 1
        var options = bpf_map_batch_opts()
        options.sz = MemoryLayout<bpf_map_batch_opts>.size
        let result = bpf_map_update_batch(outer, &key, &value, &count, &options)
        guard result == 0 else { throw KernelError("set elements of a map of maps at once", code: -result) }
        return ""
    }

    private static func smallMap(_ type: bpf_map_type, _ inner: Int32?) throws(KernelError) -> Int32 {
        var options = bpf_map_create_opts()
        options.sz = MemoryLayout<bpf_map_create_opts>.size
        options.inner_map_fd = UInt32(inner ?? 0)
        let map = bpf_map_create(type, "probe", 4, inner == nil ? 8 : 4, 1, &options)
        guard map >= 0 else { throw KernelError("create a map", code: -map) }
        return map
    }
}
