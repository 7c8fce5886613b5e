import CLibbpf
import Glibc
import KilnBPF
import KilnModel

/// Which system calls are timed, and by which callers they are counted.
public struct SyscallSelection: Sendable {
    public var callers = Callers.process
    /// Nil: all.
    public var calls: Set<SystemCall>?
    /// Only calls that return an errno.
    public var failedOnly = false
    /// Only calls that take as long.
    public var slowerThan = Nanoseconds.zero

    public init() {}
}

/// The map of system calls in flight, which the objects of a session share: those that time calls, and those that take stacks of them.
public final class InFlightCalls: Sendable {
    static let map = "in_flight"
    let descriptor: Int32

    /// Throws if the kernel refuses the map.
    public init() throws(KernelError) {
        // libbpf describes the map's type to the kernel, which requires that of storage with tasks.
        var object = try BPFObject(kiln_syscall_times_object(), name: "in_flight")
        object.loadOnly([])
        object.createOnly([Self.map])
        try object.load()
        descriptor = fcntl(try object.map(Self.map).fd, F_DUPFD_CLOEXEC, 0)
        guard descriptor >= 0 else { throw KernelError("share the map \(Self.map)", code: errno) }
    }

    deinit { close(descriptor) }
}

/// Times system calls in the kernel, by caller and call.
public struct SyscallTimesProbe: ~Copyable {
    /// Bytes of all histograms: of a session of a few processes, and of one that observes all.
    private static let ceilings = (few: 64 << 20, all: 256 << 20)
    private static let leastRows = 256, rowsOfFew = 1024

    private var object: BPFObject
    private let members: Members
    private let callers: Callers
    private let turns: Turns?
    private let session: UnsafeMutablePointer<kiln_syscall_session>
    private let rows, times, errnos, names, losses: BPFMap
    private var hasStopped = false

    /// Loads the programs. Timing doesn't begin yet. `turns`: the map in which they store the beginnings of event loop turns; then only the targets are
    /// observed, not what descends from them. `inFlight`: shared with other objects.
    public init(
        of members: Members, _ selection: SyscallSelection = SyscallSelection(), turns: Turns? = nil, inFlight: InFlightCalls? = nil
    ) throws(KernelError) {
        var object = try BPFObject(kiln_syscall_times_object(), name: "syscall_times")
        try members.configure(object)
        let capacity = try Self.rows(ofAll: members.watched == nil)
        try object.setConstant(section: ".rodata.options", kiln_syscall_options(selection, rows: capacity, followsTurns: turns != nil))
        if let turns { try object.use(turns.descriptor, asMap: "turns") }
        if let inFlight { try object.use(inFlight.descriptor, asMap: InFlightCalls.map) }
        for map in ["syscall_rows", "syscall_times"] { try object.setCapacity(ofMap: map, to: UInt32(capacity)) }
        object.loadOnly(
            ["call_enters", "call_returns", "caller_exits", "note_earlier_calls", "count_calls_in_flight"] + (turns == nil ? Members.programs : []))
        try object.load()
        let rows = try object.map("syscall_rows"), times = try object.map("syscall_times"), errnos = try object.map("syscall_errnos")
        let names = try object.map("syscall_callers"), losses = try object.map("losses")
        let variables = try object.mapVariables(as: kiln_syscall_session.self)
        session = variables
        self.rows = rows
        self.times = times
        self.errnos = errnos
        self.names = names
        self.losses = losses
        self.members = members
        self.turns = turns
        callers = selection.callers
        self.object = object
    }

    /// The number of rows that fit into the memory limit.
    private static func rows(ofAll all: Bool) throws(KernelError) -> Int {
        let affordable = (all ? ceilings.all : ceilings.few) / (MemoryLayout<kiln_syscall_times>.size * (try BPFMap.possibleCPUs()))
        return min(max(affordable, leastRows), all ? Int(KILN_SYSCALL_ROWS) : rowsOfFew)
    }

    /// Begins. `descendants`: lists running descendants of the first target, which are observed, too. Returns how many there are.
    @discardableResult
    public mutating func attach(withDescendants descendants: (() -> [Int32])? = nil) throws(KernelError) -> Int {
        let adopted = turns == nil ? try members.attach(to: &object, withDescendants: descendants) : 0
        // A thread's first return without an entry is then that of a call which began before.
        try object.run(overAllTasks: "note_earlier_calls")
        for program in ["caller_exits", "call_enters", "call_returns"] { try object.attach(program) }
        session.pointee.began_ns = MonotonicClock.now().count
        if let turns, let watched = members.watched { try turns.setKnown(true, processes: watched.pids.count) }
        return adopted
    }

    /// Counts nothing more but the calls that are in flight now. Counts stay readable.
    public mutating func stop() throws(KernelError) {
        guard !hasStopped, session.pointee.began_ns != 0 else { return }
        hasStopped = true
        session.pointee.ended = MonotonicClock.now().count
        defer { object.detach() }
        if let turns, let watched = members.watched { try turns.setKnown(false, processes: watched.pids.count) }
        try object.run(overAllTasks: "count_calls_in_flight")
    }

    public func loadedPrograms() -> [LoadedProgram] { object.loadedPrograms() }

    /// Adds the cumulative numbers to a snapshot.
    public func read(into snapshot: inout Snapshot) throws(KernelError) {
        var counts = [TimedCalls](repeating: TimedCalls(), count: min(Int(session.pointee.rows_given), times.capacity))
        try times.forEachCopy(of: kiln_syscall_times.self, entries: counts.count) { row, copy in counts[row].add(copy) }
        try errnos.forEachEntry(key: kiln_errno_key.self, value: UInt64.self) { key, count in
            let row = Int(key.pointee.row)
            if counts.indices.contains(row) { counts[row].errnos[Int(key.pointee.number)] = count.pointee }
        }
        var section = SyscallTimes()
        try rows.forEachEntry(key: kiln_syscall_key.self, value: UInt32.self) { key, row in
            let row = Int(row.pointee)
            guard counts.indices.contains(row), counts[row].calls != 0 else { return }
            let caller = Caller(key.pointee.caller, isOthers: key.pointee.others != 0)
            section.calls[.init(caller: caller, call: SystemCall(rawValue: key.pointee.call))] = counts[row]
            if caller.isOthers { section.names[caller] = CallerName(comm: CallerName.text(key.pointee.caller.who), isOthers: true) }
        }
        try names.forEachEntry(key: kiln_caller.self, value: kiln_caller_name.self) { caller, name in
            section.names[Caller(caller.pointee)] = CallerName(name.pointee, of: caller.pointee, callers)
        }
        snapshot[SyscallTimes.self] = section
        try snapshot.addLosses(losses, count: Int(KILN_SYSCALL_TIME_LOSS_COUNT.rawValue)) { kiln_describe_syscall_time_loss($0) }
        snapshot.addPrograms(object.programCounts())
    }
}

extension kiln_syscall_options {
    /// Of the rows, three eighths are kept for callers that find none of their own: a quarter for rows by name, the rest for rows by call. Rows of
    /// servers are not shared: each number belongs to one of them.
    fileprivate init(_ selection: SyscallSelection, rows: Int, followsTurns: Bool) {
        self.init()
        slower_than_ns = selection.slowerThan.count
        switch selection.callers {
        case .process: callers = KILN_CALLERS_PROCESSES.rawValue
        case .thread: callers = KILN_CALLERS_THREADS.rawValue
        case .comm: callers = KILN_CALLERS_COMMS.rawValue
        case .cgroup: callers = KILN_CALLERS_CGROUPS.rawValue
        }
        self.rows = UInt32(rows)
        let byName = selection.callers == .process || selection.callers == .thread
        name_rows = UInt32(followsTurns ? rows : rows - rows / 8)
        caller_rows = byName && !followsTurns ? name_rows - UInt32(rows / 4) : name_rows
        failed = selection.failedOnly ? 1 : 0
        follows_turns = followsTurns ? 1 : 0
        calls = kiln_chosen_calls(selection.calls)
    }
}

extension TimedCalls {
    /// Adds one CPU's counts.
    fileprivate mutating func add(_ copy: UnsafePointer<kiln_syscall_times>) {
        let slots = UnsafeRawPointer(copy).assumingMemoryBound(to: UInt64.self)
        latency.add(slots: slots, sum: copy.pointee.latency)
        earlier.count &+= copy.pointee.earlier
        earlier.time = earlier.time + Nanoseconds(copy.pointee.earlier_ns)
        withoutEntry &+= copy.pointee.without_entry
        unreturned.count &+= copy.pointee.unreturned
        unreturned.time = unreturned.time + Nanoseconds(copy.pointee.unreturned_ns)
        inFlight.count &+= copy.pointee.in_flight
        inFlight.time = inFlight.time + Nanoseconds(copy.pointee.in_flight_ns)
        errors &+= copy.pointee.errors
        interrupted &+= copy.pointee.interrupted
        if copy.pointee.again != 0 { errnos[Int(EAGAIN), default: 0] &+= copy.pointee.again }
    }
}

extension Caller {
    fileprivate init(_ caller: kiln_caller, isOthers: Bool = false) { self.init(caller.who.0, caller.who.1, isOthers: isOthers) }
}

extension CallerName {
    fileprivate init(_ name: kiln_caller_name, of caller: kiln_caller, _ callers: Callers) {
        self.init()
        switch callers {
        case .process:
            pid = Int32(bitPattern: name.tgid)
            comm = Self.text(name.comm)
        case .thread:
            pid = Int32(bitPattern: name.tgid)
            tid = Int32(bitPattern: name.tid)
            comm = Self.text(name.thread)
        case .comm: comm = Self.text(caller.who)
        case .cgroup: cgroup = "\(caller.who.0)"
        }
    }

    fileprivate static func text(_ bytes: (UInt64, UInt64)) -> String {
        withUnsafeBytes(of: bytes) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }
}
