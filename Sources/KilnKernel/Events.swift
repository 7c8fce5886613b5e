import CLibbpf
import Glibc
import KilnBPF
import KilnModel

/// An event whose stacks a session records.
public struct Event: Sendable {
    /// What a program is attached to.
    public enum Place: Sendable {
        /// A tracepoint of the kernel, by its name without category.
        case tracepoint(String)
        /// The tracepoint of all system calls, for one of them.
        case systemCall(number: Int, atReturn: Bool)
        /// The returns of the system calls that a `SyscallTimesProbe` of the session counts; it is attached before. `byTime`: a stack weighs the
        /// nanoseconds that the call took.
        case countedCalls(InFlightCalls, byTime: Bool)
        /// A counter of the kernel, by its number in linux/perf_event.h.
        case counter(UInt64)
        /// A counter of the hardware, by its type and number. Stacks are taken `frequency` times a second, or with nil at each `every`th event.
        case hardware(type: UInt32, config: UInt64, frequency: Int?)
        /// Functions, or static probes, of a program or library at places of its file.
        case functions(file: String, places: [FunctionPlace], atReturn: Bool)
    }

    /// The largest number in one session.
    public static let limit = Int(KILN_MAX_EVENTS)

    public let recorded: RecordedEvent
    public let place: Place

    public init(_ recorded: RecordedEvent, at place: Place) {
        self.recorded = recorded
        self.place = place
    }
}

/// An instruction in a file, by its offset, and the offset of the counter that enables it (a semaphore of a static probe); 0: none.
public struct FunctionPlace: Equatable, Sendable {
    public let offset: UInt64
    public let semaphore: UInt64

    public init(offset: UInt64, semaphore: UInt64 = 0) {
        self.offset = offset
        self.semaphore = semaphore
    }
}

/// The events of a session in the kernel: programs and maps of events.bpf.h.
struct Events {
    let events: [Event]
    private let counts: BPFMap

    /// The programs for these events, by their index.
    static func programs(for events: [Event]) -> [String] {
        Array(Set(events.indices.map { program(for: events[$0], $0) })).sorted()
    }

    private static func program(for event: Event, _ index: Int) -> String {
        switch event.place {
        case .tracepoint, .systemCall, .countedCalls: "event_tracepoint_\(index)"
        case .counter: "event_counter"
        case .hardware: "event_hardware"
        case .functions(_, let places, _): isAttachedAtOnce(places) ? manyFunctions : "event_function"
        }
    }

    private static let manyFunctions = "event_functions"

    /// One link for all of them, where the kernel can.
    private static func isAttachedAtOnce(_ places: [FunctionPlace]) -> Bool {
        places.count > 1 && kiln_probe_uprobe_multi() == 0
    }

    /// Before loading.
    static func configure(_ object: inout BPFObject, _ events: [Event]) throws(KernelError) {
        if programs(for: events).contains(manyFunctions) { object.attachToManyAtOnce([manyFunctions]) }
        try object.setConstant(section: ".rodata.events", kiln_event_options(events))
        try object.setCapacity(ofMap: "stack_stats", to: UInt32((StackKind.withoutEvents + events.count) * 2 * Int(KILN_MAX_TARGETS)))
        try object.setCapacity(ofMap: "event_counts", to: UInt32(max(1, events.count)))
        for case .countedCalls(let calls, _) in events.map(\.place) { try object.use(calls.descriptor, asMap: InFlightCalls.map) }
        guard events.isEmpty else { return }
        for map in ["stack_scratch", "unwindings"] { try object.setCapacity(ofMap: map, to: UInt32(KILN_STACK_CONTEXTS)) }
    }

    init(_ object: borrowing BPFObject, _ events: [Event]) throws(KernelError) {
        self.events = events
        counts = try object.map("event_counts")
    }

    /// `leavingOut`: places of files, by path, that are not to be probed.
    func attach(to object: inout BPFObject, leavingOut: [String: Set<UInt64>]) throws(KernelError) {
        for (index, event) in events.enumerated() {
            let program = Self.program(for: event, index), name = event.recorded.name
            switch event.place {
            case .tracepoint(let tracepoint): try object.attach(program, toTracepoint: tracepoint)
            case .systemCall(_, let atReturn): try object.attach(program, toTracepoint: atReturn ? "sys_exit" : "sys_enter")
            case .countedCalls: try object.attach(program, toTracepoint: "sys_exit")
            case .counter(let config):
                try object.attach(program, toCounter: (PERF_TYPE_SOFTWARE.rawValue, config), named: name, cookie: index, every: 1, frequency: nil)
            case .hardware(let type, let config, let frequency):
                try object.attach(
                    program, toCounter: (type, config), named: name, cookie: index, every: event.recorded.every, frequency: frequency)
            case .functions(let file, let all, let atReturn):
                let places = all.filter { leavingOut[file]?.contains($0.offset) != true }
                if places.isEmpty { continue }
                guard program == Self.manyFunctions else {
                    try object.attach(program, to: places, of: file, named: name, cookie: index, atReturn: atReturn)
                    continue
                }
                try object.attach(
                    program,
                    toFunctions: places.map { ProbedFunction(name: name, offset: $0.offset, cookie: UInt64(index), semaphore: $0.semaphore) }, of: file,
                    inProcess: 0, atReturn: atReturn, named: name)
            }
        }
    }

    /// `stacks`: the counts of stacks of an event.
    func read(stacks: (StackKind) -> SampleCounts) throws(KernelError) -> EventCounts {
        let happened = try counts.sums(of: events.count)
        return EventCounts(
            events: events.indices.map { index in
                var count = EventCount()
                count.happened = happened[index]
                count.stacks = stacks(.event(index))
                return count
            })
    }
}

extension kiln_event_options {
    init(_ events: [Event]) {
        self.init()
        own_tgid = UInt32(bitPattern: getpid())
        withUnsafeMutableBytes(of: &every) { bytes in
            for (slot, event) in zip(bytes.bindMemory(to: UInt32.self).indices, events) {
                let counts: Bool = if case .hardware = event.place { true } else { false }
                bytes.bindMemory(to: UInt32.self)[slot] = counts ? 1 : UInt32(clamping: event.recorded.every)
            }
        }
        withUnsafeMutableBytes(of: &syscall) { bytes in
            let numbers = bytes.bindMemory(to: Int32.self)
            for slot in numbers.indices { numbers[slot] = -1 }
            for (slot, event) in zip(numbers.indices, events) {
                if case .systemCall(let number, _) = event.place { numbers[slot] = Int32(clamping: number) }
            }
        }
        for (index, event) in events.enumerated() {
            if case .countedCalls(_, let byTime) = event.place {
                counted_calls |= 1 << UInt32(index)
                by_time = byTime ? 1 : 0
            }
            if case .tracepoint(let name) = event.place, Self.causedByKiln.contains(where: name.hasPrefix) { caused_by_kiln |= 1 << UInt32(index) }
        }
    }

    /// Tracepoints of what the programs that take stacks make the kernel do: it reads memory that may be absent, takes locks, allocates.
    private static let causedByKiln = ["page_fault_", "contention_", "lock_", "km", "kfree", "mm_page_", "rss_stat", "bpf_trace_printk", "percpu_"]
}

extension BPFObject {
    /// Attaches a program to a tracepoint by its name. The section of the program has none.
    mutating func attach(_ program: String, toTracepoint name: String) throws(KernelError) {
        let link = bpf_program__attach_raw_tracepoint(try find(program: program), name)
        guard let link else { throw KernelError("attach to the tracepoint \(name)", code: errno, log: String(cString: kiln_libbpf_log_take())) }
        add((program, "tracepoint \(name)", link))
    }

    /// Attaches a program to a counter on each online CPU.
    mutating func attach(
        _ program: String, toCounter counter: (type: UInt32, config: UInt64), named name: String, cookie: Int, every: UInt64, frequency: Int?
    ) throws(KernelError) {
        let found = try find(program: program)
        var options = bpf_perf_event_opts()
        options.sz = MemoryLayout<bpf_perf_event_opts>.size
        options.bpf_cookie = UInt64(cookie)
        for cpu in 0..<Int32(try BPFMap.possibleCPUs()) {
            let fd = kiln_perf_event_open_counter(counter.type, UInt(counter.config), UInt(every), UInt(frequency ?? 0), cpu)
            if fd == -ENODEV { continue }  // possible, but not online
            guard fd >= 0 else { throw KernelError("count \(name) on CPU \(cpu)", code: -fd) }
            guard let link = bpf_program__attach_perf_event_opts(found, fd, &options) else {
                let code = errno
                close(fd)
                throw KernelError("attach to \(name)", code: code)
            }
            add((program, name, link))
        }
    }

    /// Attaches a program to places of a file, in every process that maps it.
    mutating func attach(
        _ program: String, to places: [FunctionPlace], of file: String, named name: String, cookie: Int, atReturn: Bool
    ) throws(KernelError) {
        let found = try find(program: program)
        if let refusedProbes { throw refusedProbes }
        for place in places {
            var options = bpf_uprobe_opts()
            options.sz = MemoryLayout<bpf_uprobe_opts>.size
            options.retprobe = atReturn
            options.bpf_cookie = UInt64(cookie)
            options.ref_ctr_offset = Int(place.semaphore)
            guard let link = bpf_program__attach_uprobe_opts(found, -1, file, Int(place.offset), &options) else {
                throw KernelError("attach to \(name) at offset 0x\(String(place.offset, radix: 16))", code: errno, log: String(cString: kiln_libbpf_log_take()))
            }
            add((program, name, link))
        }
    }
}
