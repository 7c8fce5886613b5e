import KilnKernel
import KilnModel

/// Traces executed programs, each alone.
final class ExecTracing: Probe {
    static let needs = [Capabilities.executedPrograms]

    private let members: Members
    private let descendants: (() -> [Int32])?
    private let filter: ExecutionFilter
    private let deliver: ([ExecutionRecord]) throws -> Void
    private var probe: ExecProbe?
    /// The numbers of the programs that ran when the session ended.
    private(set) var running: Set<UInt64> = []
    private(set) var details: [String] = []
    private var hasDelivered = false

    /// `deliver` receives the records in batches. `descendants`: as in `Whom`.
    init(_ members: Members, descendants: (() -> [Int32])?, _ filter: ExecutionFilter, deliver: @escaping ([ExecutionRecord]) throws -> Void) {
        self.members = members
        self.descendants = descendants
        self.filter = filter
        self.deliver = deliver
    }

    func load() throws(KernelError) { probe = try ExecProbe(members, filter) }

    func attach() throws -> Nanoseconds {
        let began = MonotonicClock.now()
        let adopted = try probe?.attach(withDescendants: descendants) ?? 0
        details = (descendants == nil ? [] : ["with \(adopted) running descendants"]) + [filter.succeeded ? "executed programs" : "failed executions"]
        if filter.succeeded && filter.failed { details.append("failed executions") }
        return began
    }

    func drain() throws -> Bool {
        guard let (records, more) = try probe?.drain() else { return false }
        guard !records.isEmpty else { return more }
        hasDelivered = true
        try deliver(records)
        return more
    }

    func read(into snapshot: inout Snapshot) throws { try probe?.read(into: &snapshot) }

    /// Without a choice of failures, nothing means that nobody was there.
    func conclude(_ total: Snapshot) throws {
        guard filter.succeeded, !hasDelivered, total.losses.values.allSatisfy({ $0 == 0 }) else { return }
        throw Failure("no program was executed by those that were asked for: check whom to observe, or trace longer (--duration).")
    }

    func stop() {
        probe?.detach()
        running = (try? probe?.runningPrograms()) ?? []
    }

    func detach() { probe?.detach() }

    func loadedPrograms() -> [LoadedProgram] { probe?.loadedPrograms() ?? [] }
}
