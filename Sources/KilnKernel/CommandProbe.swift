import CLibbpf
import Dispatch
import Glibc
import KilnBPF
import KilnModel

/// How receives and sends of the targets are seen. Counts are the same.
public enum CommandHook: String, CaseIterable, Sendable {
    /// tp_btf sock_recv_length and sock_send_length, sk_data_ready: Linux 6.3; and tcp_destroy_sock.
    case socket
    /// fexit of tcp_recvmsg, tcp_sendmsg and their unix twins, fentry of sock_def_readable; and tcp_destroy_sock.
    case fentry
    /// tp_btf sys_exit: Linux 5.17 with BTF; costs every system call of the host.
    case syscall

    /// What is loaded, in the order in which it is attached: what sees a request comes last. A connection on which a request was seen, and
    /// its reply was not, would give each later reply to the command before.
    public func programs(for side: Side) -> [String] {
        switch (self, side) {
        case (.socket, .server): ["socket_end", "socket_data", "socket_send", "socket_receive"]
        case (.socket, .client): ["socket_end", "socket_receive", "socket_send"]
        case (.fentry, .server):
            ["socket_end", "fentry_data", "fentry_tcp_send", "fentry_unix_send", "fentry_tcp_receive", "fentry_unix_receive"]
        case (.fentry, .client):
            ["socket_end", "fentry_tcp_receive", "fentry_unix_receive", "fentry_tcp_send", "fentry_unix_send"]
        case (.syscall, _): ["syscall_exit"]
        }
    }
}

/// Counts commands of Redis servers in the kernel while it lives.
public struct CommandProbe: ~Copyable {
    /// What per-CPU histograms may take in all on a machine with so many CPUs.
    public static func memoryCeiling(cpus: Int) -> Int { max(64 << 20, cpus * 2 << 20) }

    /// How many sockets the targets may hold when the session begins: as many as they may open, within these bounds. Who has given up the
    /// right to open more may hold some still.
    private static let earlierSockets = 1 << 16...1 << 20

    public let hook: CommandHook
    public let side: Side
    /// When counting began: just before the first program was attached.
    public let attachedAt: Nanoseconds
    /// The library by which encrypted connections are followed, by process.
    public let tlsLibraries: [Int: String]
    /// Why programs of TLS that switch off preemption could not be loaded, where others were then: older kernels don't let them.
    public let refusedPreemptionOff: KernelError?
    /// The names of the loaded programs.
    public let programNames: [String]
    private(set) var object: BPFObject
    private let control: UnsafeMutablePointer<kiln_request_control>
    let ids: BPFMap
    private let stats: BPFMap
    private let errors: BPFMap
    private let waits: BPFMap
    private let clients: ClientMaps
    private let losses: BPFMap
    private let processes: Int

    /// Load and attach. `queue`: where something is loaded meanwhile; what is on it ends before anything is attached. `rows`: made already.
    /// `turns`: noted by another object of the session, too.
    /// `objects`: of the protocol that the targets serve. `openSockets` lists the inode numbers of the sockets that the processes hold; it is asked for after attaching, so that no
    /// connection can be missing from it and unseen. `refused` is told what of TLS can't be followed. `trace`: also send a record for
    /// each request.
    public init(
        watching watched: WatchedProcesses, objects: RequestObjects = .redis, side: Side = .server, hook: CommandHook, trace: TraceFilter? = nil,
        tls libraries: [TLSLibrary] = [], beside queue: DispatchQueue = DispatchQueue(label: "loading"), rows: CommandRows? = nil, turns: Turns? = nil, openSockets: () throws -> [UInt64],
        refused: (TLSLibrary, KernelError) -> Void = { _, _ in }
    ) throws {
        let programs = hook.programs(for: side)
        let loaded = try Self.load(watched, objects, side, hook, programs, trace, Shared(rows: rows, turns: turns), libraries, refused)
        let followable = loaded.followable
        let refusedPreemptionOff = loaded.refusedPreemptionOff
        var object = loaded.object
        let ids = try object.map("command_ids"), stats = try object.map("command_stats")
        let losses = try object.map("losses"), errors = try object.map("errors")
        let waits = try object.map("waits")
        let clients = ClientMaps(rows: try object.map("clients"), stats: try object.map("client_stats"))
        let listed = try object.map("listed_commands")
        for command in objects.commands() { try listed.update(command.name, command.command_class) }
        let control = try object.mapVariables(as: kiln_request_control.self)
        queue.sync {}
        let attachedAt = MonotonicClock.now()
        // TLS probes are attached first: without them the hook takes encrypted bytes for requests.
        let followed = object.attachTLS(to: followable, refused: refused)
        for program in programs { try object.attach(program) }
        let earlier = try object.map("earlier_sockets")
        for inode in try openSockets() { try earlier.update(inode, UInt8(1)) }
        control.pointee.armed = 1
        if hook == .syscall { try object.map("turns").setTurns(known: true, processes: watched.pids.count) }
        programNames = programs + (followable.isEmpty ? [] : TLSProbes.programs)
        self.object = object
        self.control = control
        self.ids = ids
        self.stats = stats
        self.errors = errors
        self.waits = waits
        self.clients = clients
        self.losses = losses
        self.hook = hook
        tlsLibraries = followed
        self.refusedPreemptionOff = refusedPreemptionOff
        self.side = side
        self.attachedAt = attachedAt
        processes = watched.pids.count
    }

    /// Attach with the first hook that this kernel allows, or only with `forced`. What was refused before is told.
    public static func attach(
        watching watched: WatchedProcesses, side: Side = .server, forced: CommandHook?, trace: TraceFilter? = nil, tls libraries: [TLSLibrary] = [],
        beside queue: DispatchQueue = DispatchQueue(label: "loading"), rows: CommandRows? = nil, turns: Turns? = nil, openSockets: () throws -> [UInt64],
        refused: (CommandHook, KernelError) -> Void,
        refusedTLS: (TLSLibrary, KernelError) -> Void = { _, _ in }
    ) throws -> CommandProbe {
        func probe(_ hook: CommandHook) throws -> CommandProbe {
            try CommandProbe(
                watching: watched, side: side, hook: hook, trace: trace, tls: libraries, beside: queue, rows: rows, turns: turns,
                openSockets: openSockets, refused: refusedTLS
            )
        }
        if let forced { return try probe(forced) }
        for hook in CommandHook.allCases.dropLast() {
            do {
                return try probe(hook)
            } catch let error as KernelError {
                refused(hook, error)
            }
        }
        return try probe(.syscall)
    }

    private static func load(
        _ watched: WatchedProcesses, _ objects: RequestObjects, _ side: Side, _ programs: [String], _ trace: TraceFilter?, _ shared: Shared, tls: kiln_tls = kiln_tls()
    ) throws(KernelError) -> BPFObject {
        var object = try objects.open(side, tracing: trace != nil)
        let capacity = try CommandRows.capacity()
        try object.setConstant(section: ".rodata.targets", watched.constants)
        try object.setConstant(section: ".rodata.commands", capacity)
        try object.setConstant(section: ".rodata.tls", tls)
        if let turns = shared.turns { try object.use(turns.descriptor, asMap: "turns") }
        if let made = shared.rows?.descriptor {
            try object.use(made, asMap: "command_stats")
        } else {
            try object.setCapacity(ofMap: "command_stats", to: capacity)
        }
        try object.setCapacity(ofMap: "earlier_sockets", to: UInt32(watched.descriptorLimit(within: Self.earlierSockets)))
        if let trace { try trace.configure(object) }
        let ofTLS = tls.followed == 0 ? [] : TLSProbes.programs
        if !ofTLS.isEmpty && kiln_probe_uprobe_multi() == 0 { object.attachTogether(ofTLS) }
        object.loadOnly(programs + ofTLS)
        try object.load()
        if let trace { try trace.fill(object) }
        return object
    }

    /// Maps that are made before the object is loaded.
    private struct Shared {
        let rows: CommandRows?
        let turns: Turns?
    }

    private struct Loaded: ~Copyable {
        var object: BPFObject
        /// The libraries for which the programs of TLS are loaded.
        var followable: [TLSLibrary] = []
        var refusedPreemptionOff: KernelError?
    }

    private static func load(
        _ watched: WatchedProcesses, _ objects: RequestObjects, _ side: Side, _ hook: CommandHook, _ programs: [String], _ trace: TraceFilter?, _ shared: Shared,
        _ libraries: [TLSLibrary], _ refused: (TLSLibrary, KernelError) -> Void
    ) throws(KernelError) -> Loaded {
        if !libraries.isEmpty {
            do throws(KernelError) {
                return try loadWithTLS(watched, objects, side, hook, programs, trace, shared, libraries)
            } catch {
                // What the hook itself lacks is no matter of TLS.
                let loaded = Loaded(object: try load(watched, objects, side, programs, trace, shared))
                for library in libraries { refused(library, error) }
                return loaded
            }
        }
        return Loaded(object: try load(watched, objects, side, programs, trace, shared))
    }

    /// Where the kernel doesn't let a program switch off preemption, and beside programs that can be preempted themselves, with
    /// a claim of the CPU instead.
    private static func loadWithTLS(
        _ watched: WatchedProcesses, _ objects: RequestObjects, _ side: Side, _ hook: CommandHook, _ programs: [String], _ trace: TraceFilter?, _ shared: Shared,
        _ libraries: [TLSLibrary]
    ) throws(KernelError) -> Loaded {
        func load(claims: Bool) throws(KernelError) -> BPFObject {
            let object = try Self.load(watched, objects, side, programs, trace, shared, tls: kiln_tls(followed: 1, claims: claims ? 1 : 0))
            if let refused = object.refusedProbes { throw refused }
            return object
        }
        guard hook != .fentry else { return Loaded(object: try load(claims: true), followable: libraries) }
        do throws(KernelError) {
            return Loaded(object: try load(claims: false), followable: libraries)
        } catch {
            return Loaded(object: try load(claims: true), followable: libraries, refusedPreemptionOff: error)
        }
    }

    public func loadedPrograms() -> [LoadedProgram] { object.loadedPrograms() }

    /// Detach: nothing is counted from here on, what was stays.
    mutating func stop() {
        object.detach()
    }

    /// Add the cumulative numbers to a snapshot.
    public func read(into snapshot: inout Snapshot) throws(KernelError) {
        // Rows first and names second: a row without its name would be lost from this snapshot's sums.
        var rows = try readRows()
        try errors.forEachEntry(key: kiln_error_key.self, value: UInt64.self) { key, count in
            let word = withUnsafeBytes(of: key.pointee.word) { printableText($0) }
            rows[Int(key.pointee.command), default: CommandCounts()].errorWords[word, default: 0] &+= count.pointee
        }
        var names = [Int(KILN_SEVERAL_COMMANDS): CommandName.several]
        for process in 0..<processes {
            names[process] = .other
            if let counts = rows[process] { snapshot.commands[CommandKey(process: process, name: .other)] = counts }
        }
        let servers = side == .client ? try clients.addresses() : [:]
        try ids.forEachEntry(key: kiln_command_key.self, value: UInt32.self) { key, row in
            let name = withUnsafeBytes(of: key.pointee.name) { CommandName(bytes: $0) }
            names[Int(row.pointee)] = name
            guard let counts = rows[Int(row.pointee)] else { return }
            // Variants of a command, and on the client's side its servers, are one command here.
            let process = Int(key.pointee.process) & (1 << Int(KILN_SERVER_SHIFT) - 1)
            snapshot.commands[CommandKey(process: process, name: name), default: CommandCounts()].add(counts)
            guard side == .client else { return }
            let server = servers[Int(key.pointee.process) >> Int(KILN_SERVER_SHIFT)] ?? "other"
            snapshot.served[ServedCommandKey(process: process, server: server, name: name), default: CommandCounts()].add(counts)
        }
        try waits.forEachEntry(key: kiln_wait_key.self, value: kiln_wait.self) { key, wait in
            // A row that was named after its name was looked for counts with the next snapshot.
            guard let culprit = names[Int(key.pointee.blocker)], let victim = names[Int(key.pointee.blocked)] else { return }
            let counted = WaitKey(process: Int(key.pointee.process), culprit: culprit, victim: victim)
            let before = snapshot.waits[counted] ?? WaitCounts(times: 0, wait: .zero)
            snapshot.waits[counted] = WaitCounts(
                times: before.times &+ wait.pointee.times, wait: before.wait + Nanoseconds(wait.pointee.wait_ns)
            )
        }
        snapshot.undecidedBytes = UInt64(control.pointee.undecided_bytes)
        snapshot.clients = try clients.counts(taken: Int(control.pointee.clients_taken), processes: processes)
        snapshot.readByOtherThreads = Set((0..<processes).filter { control.pointee.several_threads & 1 << UInt32($0) != 0 })
        try snapshot.addLosses(losses, count: Int(KILN_REQUEST_LOSS_COUNT.rawValue)) {
            kiln_describe_request_loss($0)
        }
        snapshot.addPrograms(programs())
    }

    /// The kernel's account of the loaded programs, by name.
    public func programs() -> [String: ProgramCounts] { object.programCounts() }

    /// What each row counted, all CPUs together.
    private func readRows() throws(KernelError) -> [Int: CommandCounts] {
        var rows: [Int: CommandCounts] = [:]
        let taken = Int(control.pointee.rows_taken)
        let used = min(Int(KILN_MAX_TARGETS) + taken, stats.capacity)
        let phases = Int(KILN_PHASE_COUNT.rawValue)
        let sumsOffset = MemoryLayout<kiln_command_stats>.offset(of: \.sums) ?? 0
        let slotsOffset = MemoryLayout<kiln_command_stats>.offset(of: \.slots) ?? 0
        try stats.forEachCopy(of: kiln_command_stats.self, entries: used) { row, copy in
            // A request may be read on one CPU and answered on another: either part may be missing in a copy.
            var counts = rows[row] ?? CommandCounts()
            counts.calls &+= copy.pointee.calls
            counts.queued &+= copy.pointee.queued
            counts.errors &+= copy.pointee.errors
            counts.runQueue = counts.runQueue + Nanoseconds(copy.pointee.run_queue_ns)
            counts.largestRequest = max(counts.largestRequest, copy.pointee.request_bytes_max)
            counts.largestReply = max(counts.largestReply, copy.pointee.reply_bytes_max)
            let bytes = UnsafeRawPointer(copy)
            let sums = bytes.advanced(by: sumsOffset).assumingMemoryBound(to: kiln_latency_sum.self)
            guard copy.pointee.calls != 0 || (0..<phases).contains(where: { sums[$0].max_ns != 0 }) else { return }
            let slots = bytes.advanced(by: slotsOffset).assumingMemoryBound(to: UInt64.self)
            for (index, phase) in Phase.allCases.prefix(phases).enumerated() {
                var histogram = counts.phases[shown(phase, row)] ?? Histogram()
                histogram.add(slots: slots + index * (Histogram.slotCount + 1), sum: sums[index])
                if histogram.count != 0 { counts.phases[shown(phase, row)] = histogram }
            }
            if counts.calls != 0 || !counts.phases.isEmpty { rows[row] = counts }
        }
        return rows
    }

    /// A row's service is the wait of a blocking command, and on the client's side all that is known.
    private func shown(_ phase: Phase, _ row: Int) -> Phase {
        phase != .service ? phase : isBlocking(row) ? .wait : side == .client ? .total : .service
    }

    private func isBlocking(_ row: Int) -> Bool {
        withUnsafeBytes(of: &control.pointee.row_classes) { $0[row] } == UInt8(KILN_CLASS_BLOCKING.rawValue)
    }
}
