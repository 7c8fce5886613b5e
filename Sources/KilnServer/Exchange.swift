import NIOCore
import Synchronization

/// A request that waits for its answer. May be used on any thread.
public final class Exchange: Sendable {
    private struct State {
        /// Nil once it is answered or the client has gone: it keeps the connection, which whoever waits to answer must not do any longer.
        var send: (@Sendable (ServerResponse) -> Void)?
        var whenGone: (@Sendable () -> Void)?
    }

    private let state: Mutex<State>

    init(_ send: @escaping @Sendable (ServerResponse) -> Void) { state = Mutex(State(send: send)) }

    /// Answers. Only the first answer counts, and none after the client has gone.
    public func answer(_ response: ServerResponse) { finish().send?(response) }

    /// Calls `body` once if the client goes before it is answered; at once, if it has gone or was answered.
    public func whenGone(_ body: @escaping @Sendable () -> Void) {
        let hasGone = state.withLock { state in
            if state.send != nil { state.whenGone = body }
            return state.send == nil
        }
        if hasGone { body() }
    }

    /// The client has gone.
    func cancel() { finish().whenGone?() }

    private func finish() -> State {
        state.withLock { state in
            defer { state = State() }
            return state
        }
    }
}
