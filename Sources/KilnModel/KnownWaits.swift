/// Who made whom wait, in the intervals in which all connections were watched: with a share of the connections it isn't known.
public struct KnownWaits: Sendable {
    private var last = Snapshot(time: .zero)
    private var known: [WaitKey: WaitCounts] = [:]

    public init() {}

    /// The known waits up to a snapshot, which has the estimates and all waits that were seen.
    public mutating func added(_ snapshot: Snapshot) -> [WaitKey: WaitCounts] {
        var now = Snapshot(time: .zero)
        now.waits = snapshot.waits
        now[Estimates.self] = snapshot[Estimates.self]
        let interval = now.since(last)
        last = now
        guard interval[Estimates.self]?.leavesOutConnections != true else { return known }
        for (key, counts) in interval.waits {
            let before = known[key] ?? WaitCounts(times: 0, wait: .zero)
            known[key] = WaitCounts(times: before.times &+ counts.times, wait: before.wait + counts.wait)
        }
        return known
    }
}
