import KilnKernel
import KilnModel

/// Times system calls.
final class SyscallTiming: Probe {
    static let needs = [Capabilities.syscallTimes]

    /// `kiln redis --syscall-latency`: times the calls of servers, and takes the place of `SyscallCounting`.
    private let servers: WatchedProcesses?
    private let members: Members
    private let selection: SyscallSelection
    private let turns: Turns?
    private let inFlight: InFlightCalls?
    private let descendants: (() -> [Int32])?
    private let groups = ControlGroupNames()
    private var probe: SyscallTimesProbe?
    private(set) var details: [String] = []

    init(of members: Members, _ selection: SyscallSelection, inFlight: InFlightCalls? = nil, descendants: (() -> [Int32])? = nil) {
        self.members = members
        self.selection = selection
        self.inFlight = inFlight
        self.descendants = descendants
        servers = nil
        turns = nil
    }

    /// `turns`: shared with the probe of requests.
    init(servers: WatchedProcesses, turns: Turns) {
        self.servers = servers
        self.turns = turns
        members = Members(servers)
        selection = SyscallSelection()
        inFlight = nil
        descendants = nil
    }

    func load() throws(KernelError) { probe = try SyscallTimesProbe(of: members, selection, turns: turns, inFlight: inFlight) }

    func attach() throws -> Nanoseconds {
        let adopted = try probe?.attach(withDescendants: descendants) ?? 0
        if descendants != nil { details.append("with \(adopted) running descendants") }
        details.append(servers == nil ? "system calls by \(selection.callers.rawValue)" : "times of system calls")
        return MonotonicClock.now()
    }

    func read(into snapshot: inout Snapshot) throws {
        try probe?.read(into: &snapshot)
        if selection.callers == .cgroup { snapshot[SyscallTimes.self]?.names(ofGroups: groups) }
        guard let servers, let section = snapshot[SyscallTimes.self] else { return }
        for (key, calls) in section.calls where key.call.table == .native {
            guard let pid = section.names[key.caller]?.pid, let process = servers.pids.firstIndex(of: pid) else { continue }
            snapshot.syscalls[SyscallKey(process: process, number: key.call.number), default: SyscallCounts()].add(calls)
        }
    }

    func describe(_ record: inout SessionRecord, at moment: SessionMoment) {
        guard let section = moment.snapshot[SyscallTimes.self] else { return }
        record.syscallTimes = section.named(pid: servers?.pids[moment.process]).map { SyscallTimesRecord($0) }
        if servers != nil { record.addSyscalls(of: moment.snapshot, process: moment.process) { syscallName($0) } }
    }

    func costKind(of program: String) -> WritableKeyPath<Budget.Reading, ProgramCounts>? { \.systemCalls }

    /// The calls in flight are those of this moment.
    func stop() { do { try probe?.stop() } catch { say("kiln: calls in flight at the end are not counted: \(error)") } }

    func conclude(_ total: Snapshot) throws {
        guard servers == nil, total[SyscallTimes.self]?.calls.isEmpty != false else { return }
        say(
            "kiln: no system call was seen that was asked for: check that the processes run and are not idle, widen the filters, or observe longer (--duration)."
        )
    }

    func detach() { probe = nil }

    func loadedPrograms() -> [LoadedProgram] { probe?.loadedPrograms() ?? [] }
}

extension SyscallCounts {
    fileprivate mutating func add(_ calls: TimedCalls) {
        count &+= calls.returned
        errors &+= calls.errors
    }
}

extension SyscallTimes {
    /// Gives control groups the paths in place of their numbers.
    fileprivate mutating func names(ofGroups groups: ControlGroupNames) {
        for (caller, name) in names where !caller.isOthers { names[caller]?.cgroup = groups.path(of: caller.first) ?? name.cgroup }
    }
}

extension RowFile {
    /// `syscalls.jsonl` with the times of calls. `ofTarget`: only calls of the target's own process; otherwise of all callers.
    static func syscallTimes(ofTarget: Bool) -> RowFile {
        RowFile(name: "syscalls.jsonl") { moment in
            let calls = moment.counts[SyscallTimes.self]?.named(pid: ofTarget ? moment.target.pid : nil) ?? []
            return try jsonLines(calls.map { SyscallTimesRow(time: moment.time.rfc3339, interval: moment.counts.time, calls: $0) })
        }
    }
}
