import KilnKernel
import KilnModel

/// Counts the targets' system calls.
final class SyscallCounting: Probe {
    static let needs = [Capabilities.syscalls]

    private let watched: WatchedProcesses
    private let turns: Turns?
    private var probe: SyscallProbe?
    private var isCounting: Bool
    /// How long calls were counted before `countedSince`.
    private var counted = Nanoseconds.zero
    private var countedSince = Nanoseconds.zero

    /// - Parameters:
    ///   - turns: Shared with the probe of requests.
    ///   - waits: Counts only when a budget says so.
    init(watched: WatchedProcesses, turns: Turns?, waits: Bool = false) {
        isCounting = !waits
        self.watched = watched
        self.turns = turns
    }

    func load() throws(KernelError) { probe = try SyscallProbe(watching: watched, turns: turns) }

    func attach() throws -> Nanoseconds {
        let began = MonotonicClock.now()
        if isCounting { try probe?.attach() }
        countedSince = began
        return began
    }

    func read(into snapshot: inout Snapshot) throws {
        try probe?.read(into: &snapshot)
        snapshot[CountedSystemCalls.self] = CountedSystemCalls(seconds: countedTime.seconds)
    }

    private var countedTime: Nanoseconds { isCounting ? counted + (MonotonicClock.now() - countedSince) : counted }

    func describe(_ record: inout SessionRecord, at moment: SessionMoment) {
        record.addSyscalls(of: moment.snapshot, process: moment.process) { syscallName($0) }
        // Half a second of tolerance, for a session whose probes were attached one after the other.
        if let counted = moment.snapshot[CountedSystemCalls.self]?.seconds, counted + 0.5 < record.durationS { record.syscallsCountedS = counted }
    }

    func costKind(of program: String) -> WritableKeyPath<Budget.Reading, ProgramCounts>? { \.systemCalls }

    func follow(_ level: WatchLevel, at cpu: [Nanoseconds]) throws {
        guard level.countsSystemCalls != isCounting else { return }
        counted = countedTime
        countedSince = MonotonicClock.now()
        isCounting = level.countsSystemCalls
        if isCounting { try probe?.attach() } else { try probe?.detach() }
    }

    func detach() { probe = nil }

    func loadedPrograms() -> [LoadedProgram] { probe?.loadedPrograms() ?? [] }
}
