import Dispatch

/// Work that runs on a queue. Releasing this object waits for its end.
///
/// Until then, nothing else may use what the work uses. The compiler doesn't check that.
package final class BackgroundWork<Outcome: ~Copyable> {
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

    /// Waits for the end of the work and returns its outcome. Called at most once.
    package func outcome() throws(KernelError) -> Outcome {
        group.wait()
        guard let outcome = slot.outcome.take() else { preconditionFailure("outcome() was called twice") }
        return try outcome.get()
    }
}
