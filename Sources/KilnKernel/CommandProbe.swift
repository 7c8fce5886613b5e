import CLibbpf
import Dispatch
import Glibc
import KilnBPF
import KilnModel

/// Where receives and sends of the targets are observed. All hooks give the same counts.
public enum CommandHook: String, CaseIterable, Sendable {
    /// tp_btf sock_recv_length and sock_send_length, sk_data_ready: Linux 6.3; and tcp_destroy_sock.
    case socket
    /// fexit of tcp_recvmsg, tcp_sendmsg and the same of unix sockets, fentry of sock_def_readable; and tcp_destroy_sock.
    case fentry
    /// tp_btf sys_exit: Linux 5.17 with BTF. Adds time to every system call of the host.
    case syscall

    /// The programs of the hook, in the order of attaching. Those that see requests come last: if only the request of a connection were
    /// seen, each later reply would be matched with the request before it.
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

/// Counts the commands of servers in the kernel.
public struct CommandProbe: ~Copyable {
    /// The memory limit, in bytes, of all per-CPU histograms on a machine with this many CPUs.
    public static func memoryCeiling(cpus: Int) -> Int { max(64 << 20, cpus * 2 << 20) }

    /// The bounds for the number of sockets that the targets hold when the session begins. Within them, it is their limit of open files. A
    /// process may hold more files than its present limit.
    private static let earlierSockets = 1 << 16...1 << 20

    public let hook: CommandHook
    public let side: Side
    /// The time when counting began, just before the first program was attached; zero before.
    public private(set) var attachedAt = Nanoseconds.zero
    /// The TLS library that is followed, by process.
    public private(set) var tlsLibraries: [Int: String] = [:]
    /// The reason why TLS programs that switch off preemption could not be loaded and others were used: older kernels refuse them.
    public let refusedPreemptionOff: KernelError?
    /// The names of the loaded programs.
    public let programNames: [String]
    var object: BPFObject
    /// The number of attachments of TLS programs, which come first.
    private(set) var attachmentsOfTLS = 0
    let control: UnsafeMutablePointer<kiln_request_control>
    let ids: BPFMap
    private let stats: BPFMap
    private let errors: BPFMap
    private let waits: BPFMap
    private let clients: ClientMaps
    private let losses: BPFMap
    private let thresholds: BPFMap
    private let judged: BPFMap
    private let selection: CallSelection
    private let processes: Int
    /// The libraries for which programs are loaded.
    private let followable: [TLSLibrary]

    /// Loads the programs. Counting doesn't begin yet.
    ///
    /// - Parameters:
    ///   - objects: The programs for the targets' protocol.
    ///   - trace: Also emits a record for each request.
    ///   - rows: The map of histograms, if it was created already.
    ///   - turns: Another object of the session updates it, too.
    ///   - work: Another object takes stacks, which get labels.
    ///   - watchVaries: A part of the requests may be left out (`beginSlice`).
    ///   - refused: Called with each library that can't be followed, and the reason.
    public init(
        watching watched: WatchedProcesses, objects: RequestObjects = .redis, side: Side = .server, hook: CommandHook, trace: TraceFilter? = nil,
        tls libraries: [TLSLibrary] = [], rows: CommandRows? = nil, turns: Turns? = nil, work: WorkMaps? = nil,
        watchVaries: Bool = false,
        refused: (TLSLibrary, KernelError) -> Void = { _, _ in }
    ) throws(KernelError) {
        let programs = hook.programs(for: side)
        let shared = Shared(rows: rows, turns: turns, work: work, watchVaries: watchVaries)
        let loaded = try Self.load(watched, objects, side, hook, programs, trace, shared, libraries, refused)
        let followable = loaded.followable
        let refusedPreemptionOff = loaded.refusedPreemptionOff
        var object = loaded.object
        let ids = try object.map("command_ids"), stats = try object.map("command_stats")
        let losses = try object.map("losses"), errors = try object.map("errors")
        let waits = try object.map("waits")
        let thresholds = try object.map("thresholds"), judged = try object.map("judged_calls")
        let clients = ClientMaps(rows: try object.map("clients"), stats: try object.map("client_stats"))
        let listed = try object.map("listed_commands")
        for command in objects.commands() { try listed.update(command.name, command.command_class) }
        control = try object.mapVariables(as: kiln_request_control.self)
        control.pointee.watch.share = KILN_WATCH_ALL
        control.pointee.watch.sampled = watchVaries ? 1 : 0
        programNames = programs + (followable.isEmpty ? [] : TLSProbes.programs)
        self.object = object
        self.ids = ids
        self.stats = stats
        self.errors = errors
        self.waits = waits
        self.thresholds = thresholds
        self.judged = judged
        selection = work?.selection ?? CallSelection()
        self.clients = clients
        self.losses = losses
        self.hook = hook
        self.followable = followable
        self.refusedPreemptionOff = refusedPreemptionOff
        self.side = side
        processes = watched.pids.count
    }

    /// Loads the first of `hooks` that this kernel allows. `refused` is called for each refused hook but the last.
    public static func load(
        watching watched: WatchedProcesses, objects: RequestObjects = .redis, side: Side = .server, firstOf hooks: [CommandHook],
        trace: TraceFilter? = nil, tls libraries: [TLSLibrary] = [], rows: CommandRows? = nil, turns: Turns? = nil, work: WorkMaps? = nil,
        watchVaries: Bool = false, refused: (CommandHook, KernelError) -> Void,
        refusedTLS: (TLSLibrary, KernelError) -> Void = { _, _ in }
    ) throws(KernelError) -> CommandProbe {
        func probe(_ hook: CommandHook) throws(KernelError) -> CommandProbe {
            try CommandProbe(
                watching: watched, objects: objects, side: side, hook: hook, trace: trace, tls: libraries, rows: rows, turns: turns, work: work,
                watchVaries: watchVaries, refused: refusedTLS
            )
        }
        for hook in hooks.dropLast() {
            do throws(KernelError) { return try probe(hook) } catch { refused(hook, error) }
        }
        return try probe(hooks.last ?? .syscall)
    }

    /// Attaches the programs. Counting begins.
    ///
    /// - Parameters:
    ///   - openSockets: Lists the inode numbers of the sockets that the processes hold. Called after attaching, so that every connection is
    ///     in the list or is seen.
    ///   - refused: Called with each library that can't be followed, and the reason.
    public mutating func attach(openSockets: () throws -> [UInt64], refused: (TLSLibrary, KernelError) -> Void = { _, _ in }) throws {
        attachedAt = MonotonicClock.now()
        // TLS probes are attached first: without them the hook takes encrypted bytes for requests.
        tlsLibraries = attachTLS(refused)
        for program in hook.programs(for: side) { try object.attach(program) }
        let earlier = try object.map("earlier_sockets")
        for inode in try openSockets() { try earlier.update(inode, UInt8(1)) }
        control.pointee.armed = 1
        if hook == .syscall { try object.map("turns").setTurns(known: true, processes: processes) }
    }

    mutating func attachTLS(_ refused: (TLSLibrary, KernelError) -> Void) -> [Int: String] {
        let followed = object.attachTLS(to: followable, refused: refused)
        attachmentsOfTLS = object.attachmentCount
        return followed
    }

    private static func load(
        _ watched: WatchedProcesses, _ objects: RequestObjects, _ side: Side, _ programs: [String], _ trace: TraceFilter?, _ shared: Shared,
        tls: kiln_tls = kiln_tls()
    ) throws(KernelError) -> BPFObject {
        var object = try objects.open(side, tracing: trace != nil)
        let capacity = try CommandRows.capacity()
        try object.setConstant(section: ".rodata.targets", watched.constants)
        try object.setConstant(section: ".rodata.commands", capacity)
        try object.setConstant(section: ".rodata.tls", tls)
        try object.setConstant(section: ".rodata.watch", UInt32(shared.watchVaries ? 1 : 0))
        if let turns = shared.turns { try object.use(turns.descriptor, asMap: "turns") }
        try WorkMaps.configure(object, shared.work)
        if let made = shared.rows?.descriptor {
            try object.use(made, asMap: "command_stats")
        } else {
            try object.setCapacity(ofMap: "command_stats", to: capacity)
        }
        try object.setCapacity(ofMap: "earlier_sockets", to: UInt32(watched.descriptorLimit(within: Self.earlierSockets)))
        if let trace { try trace.configure(object) }
        let ofTLS = tls.followed == 0 ? [] : TLSProbes.programs
        if !ofTLS.isEmpty && kiln_probe_uprobe_multi() == 0 { object.attachToManyAtOnce(ofTLS) }
        object.loadOnly(programs + ofTLS)
        try object.load()
        if let trace { try trace.fill(object) }
        try shared.work?.fill(object)
        return object
    }

    /// Maps that are created before the object is loaded, and what else it is loaded with.
    private struct Shared {
        let rows: CommandRows?
        let turns: Turns?
        let work: WorkMaps?
        let watchVaries: Bool
    }

    private struct Loaded: ~Copyable {
        var object: BPFObject
        /// The libraries for which TLS programs are loaded.
        var followable: [TLSLibrary] = []
        var refusedPreemptionOff: KernelError?
    }

    private static func load(
        _ watched: WatchedProcesses, _ objects: RequestObjects, _ side: Side, _ hook: CommandHook, _ programs: [String], _ trace: TraceFilter?,
        _ shared: Shared,
        _ libraries: [TLSLibrary], _ refused: (TLSLibrary, KernelError) -> Void
    ) throws(KernelError) -> Loaded {
        if !libraries.isEmpty {
            do throws(KernelError) {
                return try loadWithTLS(watched, objects, side, hook, programs, trace, shared, libraries)
            } catch {
                // An error of the hook itself is not one of TLS.
                let loaded = Loaded(object: try load(watched, objects, side, programs, trace, shared))
                for library in libraries { refused(library, error) }
                return loaded
            }
        }
        return Loaded(object: try load(watched, objects, side, programs, trace, shared))
    }

    /// If the kernel doesn't let a program switch off preemption, and for programs that can be preempted themselves, the programs claim
    /// their CPU instead.
    private static func loadWithTLS(
        _ watched: WatchedProcesses, _ objects: RequestObjects, _ side: Side, _ hook: CommandHook, _ programs: [String], _ trace: TraceFilter?,
        _ shared: Shared,
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

    /// Stops counting. Counts stay readable.
    public mutating func detach() { object.detach() }

    /// Adds the cumulative counts to a snapshot.
    public func read(into snapshot: inout Snapshot) throws(KernelError) {
        // Rows are read before names: a row without a name would be missing from this snapshot's sums.
        var rows = try readRows()
        try errors.forEachEntry(key: kiln_error_key.self, value: UInt64.self) { key, count in
            let word = withUnsafeBytes(of: key.pointee.word) { printableText($0) }
            rows[Int(key.pointee.command), default: CommandCounts()].errorWords[word, default: 0] &+= count.pointee
        }
        var names = [Int(KILN_SEVERAL_COMMANDS): CommandName.several], processOfRow: [Int: Int] = [:]
        for process in 0..<processes {
            names[process] = .other
            processOfRow[process] = process
            if let counts = rows[process] { snapshot.commands[CommandKey(process: process, name: .other)] = counts }
        }
        let servers = side == .client ? try clients.addresses() : [:]
        try ids.forEachEntry(key: kiln_command_key.self, value: UInt32.self) { key, row in
            let name = withUnsafeBytes(of: key.pointee.name) { CommandName(bytes: $0) }
            // Variants of a command, and its servers on the client's side, are one command here.
            let process = Int(key.pointee.process) & (1 << Int(KILN_SERVER_SHIFT) - 1)
            names[Int(row.pointee)] = name
            processOfRow[Int(row.pointee)] = process
            guard let counts = rows[Int(row.pointee)] else { return }
            snapshot.commands[CommandKey(process: process, name: name), default: CommandCounts()].add(counts)
            guard side == .client else { return }
            let server = servers[Int(key.pointee.process) >> Int(KILN_SERVER_SHIFT)] ?? "other"
            snapshot.served[ServedCommandKey(process: process, server: server, name: name), default: CommandCounts()].add(counts)
        }
        try waits.forEachEntry(key: kiln_wait_key.self, value: kiln_wait.self) { key, wait in
            // A row that was named after the names were read counts in the next snapshot.
            guard let blocker = names[Int(key.pointee.blocker)], let blocked = names[Int(key.pointee.blocked)] else { return }
            let counted = WaitKey(process: Int(key.pointee.process), blocker: blocker, blocked: blocked)
            let before = snapshot.waits[counted] ?? WaitCounts(times: 0, wait: .zero)
            snapshot.waits[counted] = WaitCounts(
                times: before.times &+ wait.pointee.times, wait: before.wait + Nanoseconds(wait.pointee.wait_ns)
            )
        }
        try judged.forEachCopy(of: kiln_judged.self, entries: min(Int(KILN_MAX_TARGETS) + Int(control.pointee.rows_taken), judged.capacity)) { row, copy in
            guard let name = names[row], let process = processOfRow[row] else { return }
            snapshot.judged[CommandKey(process: process, name: name), default: JudgedCalls()].add(copy.pointee, isJudged: selection.threshold != .none)
        }
        snapshot.undecidedBytes = UInt64(control.pointee.undecided_bytes)
        snapshot.clients = try clients.counts(taken: Int(control.pointee.clients_taken), processes: processes)
        snapshot.readByOtherThreads = Set((0..<processes).filter { control.pointee.several_threads & 1 << UInt32($0) != 0 })
        try snapshot.addLosses(losses, count: Int(KILN_REQUEST_LOSS_COUNT.rawValue)) {
            kiln_describe_request_loss($0)
        }
        snapshot.addPrograms(programs())
    }

    /// The commands' names by row, which labels of stacks hold.
    public func rowNames() throws(KernelError) -> [Int: CommandName] {
        var names = Dictionary(uniqueKeysWithValues: (0..<processes).map { ($0, CommandName.other) })
        try ids.forEachEntry(key: kiln_command_key.self, value: UInt32.self) { key, row in
            names[Int(row.pointee)] = withUnsafeBytes(of: key.pointee.name) { CommandName(bytes: $0) }
        }
        return names
    }

    /// From now on calls of these commands are slow from this service on.
    public func set(_ thresholds: [CommandKey: Nanoseconds]) throws(KernelError) {
        guard !thresholds.isEmpty else { return }
        var rows = (0..<processes).compactMap { process in
            thresholds[CommandKey(process: process, name: .other)].map { (row: UInt32(process), threshold: $0) }
        }
        try ids.forEachEntry(key: kiln_command_key.self, value: UInt32.self) { key, row in
            let name = withUnsafeBytes(of: key.pointee.name) { CommandName(bytes: $0) }
            if let threshold = thresholds[CommandKey(process: Int(key.pointee.process), name: name)] { rows.append((row.pointee, threshold)) }
        }
        for (row, threshold) in rows { try self.thresholds.update(row, max(threshold.count, 1)) }
    }

    /// BPF run-time statistics of the loaded programs, by name.
    public func programs() -> [String: ProgramCounts] { object.programCounts() }

    /// The counts of each row, summed over all CPUs.
    private func readRows() throws(KernelError) -> [Int: CommandCounts] {
        var rows: [Int: CommandCounts] = [:]
        let taken = Int(control.pointee.rows_taken)
        let used = min(Int(KILN_MAX_TARGETS) + taken, stats.capacity)
        let phases = Int(KILN_PHASE_COUNT.rawValue)
        let sumsOffset = MemoryLayout<kiln_command_stats>.offset(of: \.sums) ?? 0
        let slotsOffset = MemoryLayout<kiln_command_stats>.offset(of: \.slots) ?? 0
        try stats.forEachCopy(of: kiln_command_stats.self, entries: used) { row, copy in
            // A request may be read on one CPU and answered on another, so either part may be missing in a copy.
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

    /// Service of a blocking command is shown as wait; on the client's side it is the total.
    private func shown(_ phase: Phase, _ row: Int) -> Phase {
        phase != .service ? phase : isBlocking(row) ? .wait : side == .client ? .total : .service
    }

    private func isBlocking(_ row: Int) -> Bool {
        withUnsafeBytes(of: &control.pointee.row_classes) { $0[row] } == UInt8(KILN_CLASS_BLOCKING.rawValue)
    }
}

extension JudgedCalls {
    /// `isJudged`: there is a threshold. Otherwise the programs count all calls as slow.
    mutating func add(_ copy: kiln_judged, isJudged: Bool) {
        if isJudged { slow.add(copy.slow) } else { unjudged.add(copy.slow) }
        fast.add(copy.fast)
    }
}

extension JudgedCalls.Calls {
    mutating func add(_ copy: kiln_judged_calls) {
        count &+= copy.calls
        service = service + Nanoseconds(copy.service_ns)
        sendBlocked = sendBlocked + Nanoseconds(copy.blocked_ns)
    }
}
