import CLibbpf
import Glibc
import KilnBPF
import KilnModel

/// How receives and sends of the targets are seen. Counts are the same.
public enum CommandHook: String, CaseIterable, Sendable {
    /// tp_btf sock_recv_length and sock_send_length, sk_data_ready: Linux 6.3; and tcp_destroy_sock.
    case socket
    /// tp_btf sys_exit: Linux 5.17 with BTF; costs every system call of the host.
    case syscall

    public var programs: [String] {
        switch self {
        case .socket: ["socket_receive", "socket_send", "socket_data", "socket_end"]
        case .syscall: ["syscall_exit"]
        }
    }
}

/// Counts commands of Redis servers in the kernel while it lives.
public struct CommandProbe: ~Copyable {
    /// What per-CPU histograms may take in all on a machine with so many CPUs.
    public static func memoryCeiling(cpus: Int) -> Int { max(64 << 20, cpus * 2 << 20) }

    public let hook: CommandHook
    /// When counting began: just before the first program was attached.
    public let attachedAt: Nanoseconds
    private(set) var object: BPFObject
    private let control: UnsafeMutablePointer<kiln_redis_control>
    let ids: BPFMap
    private let stats: BPFMap
    private let errors: BPFMap
    private let waits: BPFMap
    private let clients: ClientMaps
    private let losses: BPFMap
    private let processes: Int

    /// Load and attach. `openSockets` lists the inode numbers of the sockets that the processes hold; it is asked for
    /// after attaching, so that no connection can be missing from it and unseen. `trace`: also send a record for each request.
    public init(
        watching watched: WatchedProcesses, hook: CommandHook, trace: TraceFilter? = nil, openSockets: () throws -> [UInt64]
    ) throws {
        var object = try BPFObject(kiln_redis_object(), name: "redis")
        let cpus = try BPFMap.possibleCPUs()
        let affordable = Self.memoryCeiling(cpus: cpus) / (MemoryLayout<kiln_command_stats>.size * cpus)
        let capacity = UInt32(min(max(affordable, 2 * Int(KILN_MAX_TARGETS)), Int(KILN_COMMAND_CAPACITY)))
        try object.setConstant(section: ".rodata.targets", watched.constants)
        try object.setConstant(section: ".rodata.commands", capacity)
        try object.setCapacity(ofMap: "command_stats", to: capacity)
        try trace?.configure(object) ?? TraceFilter.leaveOut(of: object)
        object.loadOnly(hook.programs)
        try object.load()
        try trace?.fill(object)
        let ids = try object.map("command_ids"), stats = try object.map("command_stats")
        let losses = try object.map("losses"), errors = try object.map("errors")
        let waits = try object.map("waits")
        let clients = ClientMaps(rows: try object.map("clients"), stats: try object.map("client_stats"))
        let special = try object.map("special_commands")
        for index in 0..<kiln_special_command_count() {
            let command = kiln_special_command(index)
            try special.update(command.name, command.command_class)
        }
        let control = try object.mapVariables(as: kiln_redis_control.self)
        let attachedAt = Snapshot.now()
        for program in hook.programs { try object.attach(program) }
        let earlier = try object.map("earlier_sockets")
        for inode in try openSockets() { try earlier.update(inode, UInt8(1)) }
        control.pointee.armed = 1
        self.object = object
        self.control = control
        self.ids = ids
        self.stats = stats
        self.errors = errors
        self.waits = waits
        self.clients = clients
        self.losses = losses
        self.hook = hook
        self.attachedAt = attachedAt
        processes = watched.pids.count
    }

    /// Attach with the first hook that this kernel allows, or only with `forced`. What was refused before is told.
    public static func attach(
        watching watched: WatchedProcesses, forced: CommandHook?, trace: TraceFilter? = nil, openSockets: () throws -> [UInt64],
        refused: (CommandHook, KernelError) -> Void
    ) throws -> CommandProbe {
        if let forced { return try CommandProbe(watching: watched, hook: forced, trace: trace, openSockets: openSockets) }
        do {
            return try CommandProbe(watching: watched, hook: .socket, trace: trace, openSockets: openSockets)
        } catch let error as KernelError {
            refused(.socket, error)
        }
        return try CommandProbe(watching: watched, hook: .syscall, trace: trace, openSockets: openSockets)
    }

    /// Detach: nothing is counted from here on, what was stays.
    mutating func stop() { object.detach() }

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
        try ids.forEachEntry(key: kiln_command_key.self, value: UInt32.self) { key, row in
            let name = withUnsafeBytes(of: key.pointee.name) { CommandName(bytes: $0) }
            names[Int(row.pointee)] = name
            guard let counts = rows[Int(row.pointee)] else { return }
            // Variants of a command are one command here.
            snapshot.commands[CommandKey(process: Int(key.pointee.process), name: name), default: CommandCounts()].add(counts)
        }
        try waits.forEachEntry(key: kiln_wait_key.self, value: kiln_wait.self) { key, wait in
            // A row that was named after its name was looked for counts with the next snapshot.
            guard let culprit = names[Int(key.pointee.culprit)], let victim = names[Int(key.pointee.victim)] else { return }
            let counted = WaitKey(process: Int(key.pointee.process), culprit: culprit, victim: victim)
            let before = snapshot.waits[counted] ?? WaitCounts(times: 0, wait: .zero)
            snapshot.waits[counted] = WaitCounts(
                times: before.times &+ wait.pointee.times, wait: before.wait + Nanoseconds(wait.pointee.wait_ns)
            )
        }
        snapshot.clients = try clients.counts(taken: Int(control.pointee.clients_taken), processes: processes)
        snapshot.receiveOnSeveralThreads = Set((0..<processes).filter { control.pointee.several_threads & 1 << UInt32($0) != 0 })
        try snapshot.addLosses(losses, count: Int(KILN_REDIS_LOSS_COUNT.rawValue)) {
            kiln_describe_redis_loss($0)
        }
        snapshot.addPrograms(object.programCounts())
    }

    /// What each row counted, all CPUs together.
    private func readRows() throws(KernelError) -> [Int: CommandCounts] {
        var rows: [Int: CommandCounts] = [:]
        let taken = Int(control.pointee.rows_taken)
        let used = min(Int(KILN_MAX_TARGETS) + taken, stats.capacity)
        try stats.forEachCopy(of: kiln_command_stats.self, entries: used) { row, copy in
            // A request may be read on one CPU and answered on another: either part may be missing in a copy.
            var counts = rows[row] ?? CommandCounts()
            counts.calls &+= copy.pointee.calls
            counts.errors &+= copy.pointee.errors
            counts.runQueue = counts.runQueue + Nanoseconds(copy.pointee.run_queue_ns)
            counts.largestRequest = max(counts.largestRequest, copy.pointee.request_bytes_max)
            counts.largestReply = max(counts.largestReply, copy.pointee.reply_bytes_max)
            let histograms = UnsafeRawPointer(copy).advanced(by: MemoryLayout<kiln_command_stats>.offset(of: \.phases) ?? 0)
            for (index, phase) in Phase.allCases.prefix(Int(KILN_PHASE_COUNT.rawValue)).enumerated() {
                let histogram = histograms.assumingMemoryBound(to: kiln_histogram.self) + index
                let shown = phase == .service && isBlocking(row) ? .wait : phase
                if histogram.pointee.count != 0 { counts.phases[shown, default: Histogram()].add(histogram) }
            }
            if counts.calls != 0 || !counts.phases.isEmpty { rows[row] = counts }
        }
        return rows
    }

    private func isBlocking(_ row: Int) -> Bool {
        withUnsafeBytes(of: &control.pointee.row_classes) { $0[row] } == UInt8(KILN_CLASS_BLOCKING.rawValue)
    }
}
