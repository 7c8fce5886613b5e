import KilnKernel
import KilnModel

/// Traces system calls, each alone.
final class CallTracing: Probe {
    static let needs = [Capabilities.singleCalls]

    private let members: Members
    private let descendants: (() -> [Int32])?
    private let filter: CallFilter
    private let deliver: ([TracedCall]) throws -> Void
    private var probe: CallTraceProbe?
    private(set) var details: [String] = []
    private var hasDelivered = false

    /// `deliver` receives the calls in batches. `descendants`: as in `Whom`.
    init(_ members: Members, descendants: (() -> [Int32])?, _ filter: CallFilter, deliver: @escaping ([TracedCall]) throws -> Void) {
        self.members = members
        self.descendants = descendants
        self.filter = filter
        self.deliver = deliver
    }

    func load() throws(KernelError) { probe = try CallTraceProbe(members, filter) }

    func attach() throws -> Nanoseconds {
        let began = MonotonicClock.now()
        let adopted = try probe?.attach(withDescendants: descendants) ?? 0
        details = (descendants == nil ? [] : ["with \(adopted) running descendants"]) + ["single system calls"]
        return began
    }

    func drain() throws -> Bool {
        guard let (calls, more) = try probe?.drain() else { return false }
        guard !calls.isEmpty else { return more }
        hasDelivered = true
        try deliver(calls)
        return more
    }

    func read(into snapshot: inout Snapshot) throws { try probe?.read(into: &snapshot) }

    /// Without a filter of calls, nothing means that nobody was there.
    func conclude(_ total: Snapshot) throws {
        guard filter.calls == nil && !filter.failed && filter.slowerThan == .zero, !hasDelivered, total.losses.values.allSatisfy({ $0 == 0 }) else { return }
        throw Failure("no system call was made by those that were asked for: check that they run and are not idle, or trace longer (--duration).")
    }

    func stop() { probe?.detach() }

    func detach() { probe?.detach() }

    func loadedPrograms() -> [LoadedProgram] { probe?.loadedPrograms() ?? [] }
}
