import Dispatch
import Glibc
import KilnKernel
import KilnModel
import KilnProfiles
import Synchronization

/// Sends requests one after the other, on a thread of its own: nobody waits for a server before the end.
///
/// While others are added, a request is tried until the server accepts or refuses it, or until it is dropped to make room. At the end each request has so
/// many attempts as the delays say, and the first one that uses them up ends it all: the server can't be reached.
final class Pusher: @unchecked Sendable {
    /// What became of the requests.
    struct Outcome: Sendable {
        var sent = 0
        /// Bytes of bodies that were sent.
        var bytes = 0
        /// What the server told of requests that it accepted, each once.
        var remarks: [String] = []
        /// Requests that the server refused, and that were not sent before the end.
        var refused = 0, unsent = 0, dropped = 0
        /// Of the first failure that lasted.
        var reason: String?
    }

    typealias Requests = @Sendable () throws -> [PushRequest]

    private struct State {
        var requests: Requests?
        var isEnding = false
        var isInterrupted = false
    }

    private let state = Mutex(State())
    private let wake = DispatchSemaphore(value: 0), ended = DispatchSemaphore(value: 0)
    private let send: @Sendable (PushRequest, () -> Bool) -> PushVerdict
    private let delays: PushDelays
    /// Says the first refusal at once.
    private let tell: @Sendable (String) -> Void
    private var thread: BackgroundThread?
    // The rest is the thread's until it has ended.
    private var backlog: PushBacklog
    private var outcome = Outcome()

    /// - Parameters:
    ///   - tell: Gets the reason when a request is refused for the first time before the end.
    ///   - send: Sends a request; asks now and then whether it is interrupted.
    init(
        delays: PushDelays = PushDelays(), backlog: PushBacklog = PushBacklog(), tell: @escaping @Sendable (String) -> Void = { _ in },
        send: @escaping @Sendable (PushRequest, () -> Bool) -> PushVerdict
    ) throws {
        (self.delays, self.backlog, self.tell, self.send) = (delays, backlog, tell, send)
        thread = BackgroundThread.started { [self] in loop() }
        if thread == nil { throw Failure("--push needs a thread, and this host allows no more of them (ulimit -u).") }
    }

    /// Adds what `requests` makes, on the thread. They are not made if others are added before the thread has time: those have to stand for both.
    func add(_ requests: @escaping Requests) {
        state.withLock { $0.requests = requests }
        wake.signal()
    }

    /// Adds the last requests and waits until everything is sent, or can't be, or is interrupted. Called once.
    ///
    /// - Parameter waiting: It takes longer than two seconds.
    func finish(adding requests: Requests? = nil, until isInterrupted: () -> Bool, waiting: () -> Void = {}) -> Outcome {
        state.withLock { state in
            state.requests = requests ?? state.requests
            state.isEnding = true
        }
        wake.signal()
        var tenths = 0
        while ended.wait(timeout: .now() + 0.1) == .timedOut {
            tenths += 1
            if tenths == 20 { waiting() }
            guard isInterrupted() else { continue }
            state.withLock { $0.isInterrupted = true }
            wake.signal()
        }
        thread?.join()
        return outcome
    }

    private func loop() {
        defer {
            outcome.unsent = backlog.requests.count
            outcome.dropped = backlog.dropped
            ended.signal()
        }
        var failed = 0, due = MonotonicClock.now(), isAsked = false, isLast = false
        while true {
            let now = state.withLock { state in
                defer { state.requests = nil }
                return state
            }
            if now.isInterrupted { return fail("it was interrupted") }
            if let requests = now.requests {
                do { for request in try requests() { backlog.add(request) } } catch { refuse("\(error)", isLast: now.isEnding) }
                continue
            }
            if now.isEnding, !isLast {
                (isLast, failed) = (true, 0)
                // The server may be there again; but what it asked for stands.
                if !isAsked { due = MonotonicClock.now() }
            }
            guard let request = backlog.requests.first else {
                if isLast { return }
                wake.wait()
                continue
            }
            let time = MonotonicClock.now()
            if time < due {
                _ = wake.wait(timeout: .now() + .nanoseconds(Int(clamping: (due - time).count)))
                continue
            }
            let verdict = send(request) { state.withLock { $0.isInterrupted } }
            if case .later(let reason, let asked) = verdict {
                failed += 1
                isAsked = asked != nil
                due = MonotonicClock.now() + Nanoseconds(UInt64(delays.delay(after: failed, asked: asked) * 1e9))
                if isLast, failed >= delays.attempts { return fail("\(reason) (\(failed) attempts)") }
                continue
            }
            if verdict == .interrupted { return fail("it was interrupted") }
            (failed, due, isAsked) = (0, MonotonicClock.now(), false)
            backlog.removeFirst()
            switch verdict {
            case .accepted(let remark):
                outcome.sent += 1
                outcome.bytes += request.body.count
                if let remark, outcome.remarks.count < 4, !outcome.remarks.contains(remark) { outcome.remarks.append(remark) }
            case .refused(let reason): refuse(reason, isLast: isLast)
            case .later, .interrupted: break
            }
        }
    }

    private func fail(_ reason: String) { outcome.reason = outcome.reason ?? reason }

    private func refuse(_ reason: String, isLast: Bool) {
        if outcome.refused == 0, !isLast { tell(reason) }
        outcome.refused += 1
        fail(reason)
    }
}

extension Pusher {
    /// Adds the last requests and waits until everything is sent. Says what was, and throws what wasn't. `again`: how to send it later.
    func finish(adding requests: @escaping Requests, to place: String, until isInterrupted: () -> Bool, again: String? = nil) throws {
        try finish(adding: requests, until: isInterrupted, waiting: { say("kiln: pushing to \(place); Ctrl-C ends that") }).conclude(place, again: again)
    }
}

extension Pusher.Outcome {
    fileprivate func conclude(_ place: String, again: String?) throws {
        for remark in remarks { say("kiln: \(place) has accepted the profiles, and says: \(remark)") }
        let missing = refused + unsent + dropped, all = sent + missing
        if missing == 0, reason == nil {
            if all > 0 { say("kiln: pushed to \(place): \(all) \(all == 1 ? "request" : "requests"), \((bytes + 1023) / 1024) KiB") }
            return
        }
        var text = "cannot push to \(place): \(reason ?? "more waited than there was room for")."
        if all > 1 { text += " Of \(all) requests \(missing) were not accepted" + (dropped > 0 ? ", \(dropped) of them because too much waited." : ".") }
        throw Failure(text + (again.map { " \($0)" } ?? ""))
    }
}
