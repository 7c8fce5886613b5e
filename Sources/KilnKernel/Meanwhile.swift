import Dispatch

/// Work that a queue does meanwhile; it has ended when this goes.
///
/// What the work touches is nobody else's until then. The compiler doesn't check that.
package final class Meanwhile<Outcome: ~Copyable> {
    private final class Slot {
        var outcome: Result<Outcome, KernelError>?
    }

    private let slot = Slot()
    private let group = DispatchGroup()

    package init(on queue: DispatchQueue, _ work: @escaping () throws(KernelError) -> Outcome) {
        nonisolated(unsafe) let slot = slot, work = work
        queue.async(group: group) {
            do throws(KernelError) { slot.outcome = .success(try work()) } catch { slot.outcome = .failure(error) }
        }
    }

    deinit { group.wait() }

    /// What became of it, once it has ended; to be asked for once.
    package func outcome() throws(KernelError) -> Outcome {
        group.wait()
        guard let outcome = slot.outcome.take() else { preconditionFailure("asked for twice") }
        return try outcome.get()
    }
}
