import KilnKernel
import KilnModel
import KilnTargets

/// Targets that are not known servers of the protocol. Observes whether their traffic has the protocol, and prints a message if not.
final class UnknownTargets {
    /// Losses that may have hidden requests or replies.
    private static let unseen: Set = [
        "tls_connections", "unsupported_connections", "receive_gaps", "unsupported_receives", "split_receives", "discarded_receives",
        "unreadable_buffers", "preempted_calls", "connections_without_state", "unsupported_sends", "recursion_misses",
    ]

    private let wire: WireProtocol
    private let targets: [Target]
    /// The time of the check; nil if it is done or not needed.
    private var due: Nanoseconds?
    private var reported: Set<String> = []

    /// `began`: the time of kiln's start. The check is due after 2.3 s, because people wait for about three seconds.
    init(_ wire: WireProtocol, _ targets: [Target], began: Nanoseconds) {
        self.wire = wire
        self.targets = targets
        due = targets.allSatisfy(\.role.readsRequests) ? nil : began + Nanoseconds(2_300_000_000)
    }

    /// Checks once, when it is due, and prints a line for each target that has not spoken the protocol. Returns true if there is nothing to
    /// measure: no target has spoken it, and no loss may have hidden requests.
    ///
    /// `attachedAt`: the time from which traffic is visible. The check sees at least two seconds of traffic, even if a slow machine
    /// attaches late.
    func report(at now: Nanoseconds, attachedAt: Nanoseconds, _ snapshot: () throws -> Snapshot) throws -> Bool {
        guard let due, now >= due, now >= attachedAt + Nanoseconds(2_000_000_000) else { return false }
        self.due = nil
        let seen = try snapshot()
        let silent = silent(in: seen)
        for process in silent { report(message(process, in: seen)) }
        return silent.count == targets.count && Self.unseen.isDisjoint(with: seen.losses.keys)
    }

    /// Checks at the end. Returns whether a target has not spoken the protocol in the whole session. Messages that were printed are not
    /// repeated.
    func reportAtEnd(_ total: Snapshot) -> Bool {
        let silent = silent(in: total)
        for process in silent { report(message(process, in: total)) }
        return !silent.isEmpty
    }

    private func report(_ message: String) {
        if reported.insert(message).inserted { say("kiln: \(message)") }
    }

    /// Removes the counts of an unknown target whose every reply had another protocol: its requests can't be commands.
    func leaveOutOtherProtocols(of snapshot: inout Snapshot) {
        guard snapshot.losses["not_resp_connections"] != nil else { return }
        for (process, target) in targets.enumerated() where !target.role.readsRequests {
            let counts = snapshot.commands.filter { $0.key.process == process }.values
            if !counts.contains(where: \.isAnswered) { snapshot.leaveOutRequests(of: process) }
        }
    }

    private func silent(in snapshot: Snapshot) -> [Int] {
        targets.indices.filter { process in
            !targets[process].role.readsRequests && !snapshot.commands.keys.contains { $0.process == process }
        }
    }

    private func message(_ process: Int, in snapshot: Snapshot) -> String {
        let target = targets[process]
        let stacks = "`kiln record -p \(target.pid)` samples the stacks of any process."
        if target.isMemcached { return "pid \(target.pid) is memcached: kiln doesn't know its protocol. \(stacks)" }
        let name = "pid \(target.pid) (\(target.comm)) is not a known \(wire.title) server"
        if snapshot.losses["not_resp_connections"] != nil {
            return "\(name), and its replies are not \(wire.encoding). Give the --pid or --port of a \(wire.title) server; \(stacks)"
        }
        return "\(name), and it received no \(wire.title) command. Give the server's --pid or --port, or start kiln while clients use it; \(stacks)"
    }
}

extension Target {
    fileprivate var isMemcached: Bool { comm == "memcached" || exe?.split(separator: "/").last == "memcached" }
}
