import KilnKernel
import KilnModel
import KilnTargets

/// Targets that are not known to be servers of the protocol: whether they speak it is seen from their traffic, and said where they don't.
final class UnknownTargets {
    /// Losses of what may have been requests, or replies.
    private static let unseen: Set = [
        "tls_connections", "unsupported_connections", "receive_gaps", "unsupported_receives", "split_receives", "discarded_receives",
        "unreadable_buffers", "preempted_calls", "connections_without_state", "unsupported_sends", "recursion_misses",
    ]

    private let wire: WireProtocol
    private let targets: [Target]
    /// When it is told; nil: it has been, or there is nothing to tell.
    private var due: Nanoseconds?
    private var told: Set<String> = []

    /// `began`: when kiln started. A person waits for three seconds, and some of them are needed to look and to write.
    init(_ wire: WireProtocol, _ targets: [Target], began: Nanoseconds) {
        self.wire = wire
        self.targets = targets
        due = targets.allSatisfy(\.role.readsRequests) ? nil : began + Nanoseconds(2_300_000_000)
    }

    /// Once, when it is time: one line for each target that has not spoken the protocol. True: none of the targets has, and what they were seen to
    /// say is another protocol, or nothing; so there is nothing to measure.
    ///
    /// `attachedAt`: when traffic could first be seen. On a slow machine that is late, and two seconds of traffic are looked at in any case.
    func tell(at now: Nanoseconds, attachedAt: Nanoseconds, _ snapshot: () throws -> Snapshot) throws -> Bool {
        guard let due, now >= due, now >= attachedAt + Nanoseconds(2_000_000_000) else { return false }
        self.due = nil
        let seen = try snapshot()
        let silent = silent(in: seen)
        for process in silent { tell(complaint(process, in: seen)) }
        return silent.count == targets.count && Self.unseen.isDisjoint(with: seen.losses.keys)
    }

    /// At the end: whether a target has not spoken the protocol in the whole session. What was told already is not told again.
    func tellEnd(_ total: Snapshot) -> Bool {
        let silent = silent(in: total)
        for process in silent { tell(complaint(process, in: total)) }
        return !silent.isEmpty
    }

    private func tell(_ complaint: String) {
        if told.insert(complaint).inserted { say("kiln: \(complaint)") }
    }

    /// Of an unknown target whose every reply was another protocol's nothing is a command, whatever its clients sent.
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

    private func complaint(_ process: Int, in snapshot: Snapshot) -> String {
        let target = targets[process]
        let stacks = "`kiln record -p \(target.pid)` samples the stacks of any process."
        if target.isMemcached { return "pid \(target.pid) is memcached: kiln doesn't know its protocol. \(stacks)" }
        let name = "pid \(target.pid) (\(target.comm)) is not a known \(wire.title) server"
        if snapshot.losses["not_resp_connections"] != nil {
            return "\(name), and what it answers is not \(wire.encoding). Give the --pid or --port of a \(wire.title) server; \(stacks)"
        }
        return "\(name) and no \(wire.title) command reached it. Give the server's --pid or --port, or start kiln while it is asked; \(stacks)"
    }
}

extension Target {
    fileprivate var isMemcached: Bool { comm == "memcached" || exe?.split(separator: "/").last == "memcached" }
}
