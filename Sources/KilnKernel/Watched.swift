import CLibbpf
import KilnBPF

/// The processes of a session, as the BPF programs know them.
public struct WatchedProcesses: Sendable {
    /// The largest number of processes in one session.
    public static let limit = Int(KILN_MAX_TARGETS)

    /// Thread-group ids in the initial pid namespace. Everywhere else, a process is its index here.
    public let pids: [Int32]
    private let knownServers: Set<Int32>

    /// `knownServers`: the known servers of the protocol. For the other processes, plain text from clients counts as requests only after
    /// a reply of the protocol. Nil if there are no pids, or more than `limit`.
    public init?(pids: [Int32], knownServers: some Sequence<Int32> = []) {
        guard (1...Self.limit).contains(pids.count) else { return nil }
        self.pids = pids
        self.knownServers = Set(knownServers)
    }

    /// The sum of the processes' limits of open files, within `bounds`; the upper bound if it is unknown.
    func descriptorLimit(within bounds: ClosedRange<Int>) -> Int {
        let sum = pids.reduce(0) { sum, pid in
            let limit = kiln_descriptor_limit(pid)
            return limit < 0 || limit > bounds.upperBound - sum ? bounds.upperBound : sum + limit
        }
        return max(sum, bounds.lowerBound)
    }

    package var constants: kiln_targets {
        var targets = kiln_targets()
        targets.count = UInt32(pids.count)
        withUnsafeMutableBytes(of: &targets.tgids) { bytes in
            let slots = bytes.bindMemory(to: UInt32.self)
            for (index, pid) in pids.enumerated() { slots[index] = UInt32(bitPattern: pid) }
        }
        for (index, pid) in pids.enumerated() where knownServers.contains(pid) { targets.known_servers |= 1 << UInt32(index) }
        return targets
    }
}
