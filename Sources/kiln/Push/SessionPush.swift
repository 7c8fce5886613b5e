import KilnKernel
import KilnModel
import KilnProfiles
import KilnSessions

/// Pushes the samples of a session: at its end, and with an interval also while it runs; each push has what is new.
///
/// What is new are the intervals of samples.jsonl that no push had. The last one may still grow, so it has to wait for the next push.
final class SessionPush: Sink {
    let interval: Nanoseconds?
    private let target: PushTarget
    private var pusher: Pusher?
    private let pushed = PushedIntervals()
    private var records: [SessionRecord] = []
    private var last = Nanoseconds.zero
    private var atEnd: Pusher.Requests = { [] }

    init(to target: PushTarget, every interval: Nanoseconds?) {
        self.target = target
        self.interval = interval
    }

    /// Signals are blocked by now, on the new thread, too.
    func begin(_ start: SessionStart) throws {
        last = MonotonicClock.now()
        let place = target.endpoint.place
        pusher = try Pusher(tell: { say("kiln: cannot push to \(place): \($0). The session goes on.") }, send: target.send)
    }

    func checkpoint(_ checkpoint: SessionCheckpoint) {
        if !checkpoint.records.isEmpty { records = checkpoint.records }
        guard let interval, !checkpoint.samples.isEmpty, !records.isEmpty else { return }
        // Half the time between checkpoints of tolerance.
        let now = MonotonicClock.now(), tolerance = Nanoseconds(FoldingTimes.every(interval).count / 2)
        guard now + tolerance >= last + interval else { return }
        last = now
        pusher?.add(requests(records, checkpoint.samples, isLast: false))
    }

    func end(_ result: SessionResult) { atEnd = requests(result.records, result.samples, isLast: true) }

    func discard() { _ = pusher?.finish(until: { true }) }

    private func requests(_ records: [SessionRecord], _ samples: [SampleRecords], isLast: Bool) -> Pusher.Requests {
        { [pushed, target] in
            var requests: [PushRequest] = []
            for (index, (record, samples)) in zip(records, samples).enumerated() {
                guard let profile = try pushed.profile(ofTarget: index, record, samples, isLast: isLast) else { continue }
                requests += try target.destination.requests(profile, target.endpoint)
            }
            return requests
        }
    }

    /// Sends the rest and waits until everything is sent. Throws what couldn't be.
    func finish(until isInterrupted: @escaping () -> Bool) throws {
        let again = "The session's files are complete: `kiln export DIR --push` sends them."
        try pusher?.finish(adding: atEnd, to: target.endpoint.place, until: isInterrupted, again: again)
    }
}

/// Which intervals were pushed. Used on the pushing thread only.
final class PushedIntervals: @unchecked Sendable {
    /// By target: the ends of the intervals, as rows have them, and that of the last push in nanoseconds since 1970.
    private var times: [Int: Set<String>] = [:]
    private var ends: [Int: UInt64] = [:]

    /// A profile of the intervals that no push had; nil if there is none with samples.
    func profile(ofTarget index: Int, _ record: SessionRecord, _ samples: SampleRecords, isLast: Bool) throws -> Profile? {
        let known = times[index] ?? [], growing = isLast ? nil : samples.rows.last?.time
        var new = samples
        new.keepRows { !known.contains($0.time) && $0.time != growing }
        if new.rows.isEmpty { return nil }
        // They are of the whole session.
        if !isLast { for kind in new.header.kinds.indices { new.header.kinds[kind].dropped = 0 } }
        times[index] = known.union(new.rows.map(\.time))
        var profile = try Profile(of: MemoryFiles(record, new), version: kilnVersion)
        profile.series.removeAll(where: \.samples.isEmpty)
        let lastRow = new.rows.compactMap { WallClock.nanoseconds($0.time) }.max() ?? profile.start
        let end = isLast ? max(lastRow, profile.start &+ profile.duration) : lastRow
        profile.start = ends[index] ?? profile.start
        profile.duration = end > profile.start ? end - profile.start : 0
        ends[index] = end
        return profile
    }
}
