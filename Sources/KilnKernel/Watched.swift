import CLibbpf
import KilnBPF

/// The processes of a session, as the BPF programs know them.
public struct WatchedProcesses: Sendable {
    /// The most processes one session can watch.
    public static let limit = Int(KILN_MAX_TARGETS)

    /// Thread-group ids in the initial pid namespace; a process is its index here everywhere else.
    public let pids: [Int32]

    /// nil: none, or more than `limit`.
    public init?(pids: [Int32]) {
        guard (1...Self.limit).contains(pids.count) else { return nil }
        self.pids = pids
    }

    /// How many descriptors they may have open, all together; where that isn't known, the most.
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
        return targets
    }
}
