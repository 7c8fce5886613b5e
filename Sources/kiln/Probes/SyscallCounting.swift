import KilnKernel
import KilnModel

/// Counts the targets' system calls.
final class SyscallCounting: Probe {
    static let needs = [Capabilities.syscalls]

    private let watched: WatchedProcesses
    private let turns: Turns?
    private var probe: SyscallProbe?
    private var isCounting: Bool

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
        return began
    }

    func read(into snapshot: inout Snapshot) throws { try probe?.read(into: &snapshot) }

    func describe(_ record: inout SessionRecord, at moment: SessionMoment) {
        record.addSyscalls(of: moment.snapshot, process: moment.process) { syscallName($0) }
    }

    var costKind: WritableKeyPath<Budget.Reading, ProgramCounts>? { \.systemCalls }

    func follow(_ level: WatchLevel, at cpu: [Nanoseconds]) throws {
        guard level.countsSystemCalls != isCounting else { return }
        isCounting = level.countsSystemCalls
        if isCounting { try probe?.attach() } else { try probe?.detach() }
    }

    func detach() { probe = nil }

    func loadedPrograms() -> [LoadedProgram] { probe?.loadedPrograms() ?? [] }
}
