import NIOCore
import Synchronization

/// A request that waits for its answer. May be used on any thread.
public final class Exchange: Sendable {
    private struct State {
        var isDone = false
        var whenGone: (@Sendable () -> Void)?
    }

    private let state = Mutex(State())
    private let send: @Sendable (ServerResponse) -> Void

    init(_ send: @escaping @Sendable (ServerResponse) -> Void) { self.send = send }

    /// Answers. Only the first answer counts, and none after the client has gone.
    public func answer(_ response: ServerResponse) {
        let isFirst = state.withLock { state in
            defer { state = State(isDone: true) }
            return !state.isDone
        }
        if isFirst { send(response) }
    }

    /// Calls `body` once if the client goes before it is answered; at once, if it has gone.
    public func whenGone(_ body: @escaping @Sendable () -> Void) {
        let hasGone = state.withLock { state in
            if !state.isDone { state.whenGone = body }
            return state.isDone
        }
        if hasGone { body() }
    }

    /// The client has gone.
    func cancel() {
        let body = state.withLock { state in
            defer { state = State(isDone: true) }
            return state.whenGone
        }
        body?()
    }
}
