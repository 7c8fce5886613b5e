import Glibc
import KilnBPF

/// Which tasks a session observes: the targets and what descends from them, or everything; of these, those that a filter lets through. The kernel's
/// part is members.bpf.h.
public struct Members: Sendable {
    public let watched: WatchedProcesses?
    public let threads: ThreadFilter
    let commandStack: UInt64?

    /// `watched`: nil observes every process. `commandStack`: the target is a child of this process that is about to execute a command; while its stack
    /// begins here, it has not, and is not observed.
    public init(_ watched: WatchedProcesses?, only threads: ThreadFilter = ThreadFilter(), commandStack: UInt64? = nil) {
        self.watched = watched
        self.threads = threads
        self.commandStack = commandStack
    }

    /// The programs that follow forks.
    static let programs = ["member_forked", "member_freed"]

    /// Before loading.
    func configure(_ object: borrowing BPFObject) throws(KernelError) {
        try object.setConstant(section: ".rodata.targets", watched?.constants ?? kiln_targets())
        try object.setConstant(
            section: ".rodata.members", kiln_members(everything: watched == nil ? 1 : 0, reserved: 0, command_stack: commandStack ?? 0))
        try threads.configure(object)
    }

    /// Follows forks from here on; to be attached before what observes. `descendants`: lists running descendants of the first target, which become members,
    /// too. Returns how many there are.
    func attach(to object: inout BPFObject, withDescendants descendants: (() -> [Int32])? = nil) throws(KernelError) -> Int {
        for program in Self.programs { try object.attach(program) }
        guard let descendants else { return 0 }
        return try adopt(descendants, in: try object.map("descendants"))
    }

    /// Treats descendants as if their forks had been seen. Once they are known, their later forks are seen; a second look finds their
    /// earlier ones.
    private func adopt(_ descendants: () -> [Int32], in map: BPFMap) throws(KernelError) -> Int {
        let family: UInt32 = 0
        var adopted: Set<Int32> = []
        while true {
            let found = descendants().filter { !adopted.contains($0) }
            if found.isEmpty { break }
            for pid in found {
                try map.update(UInt32(bitPattern: pid), family)
                adopted.insert(pid)
            }
        }
        // A process that ends before it is in the map sends no event, so it is removed here.
        for pid in adopted where kill(pid, 0) != 0 && errno == ESRCH {
            map.remove(UInt32(bitPattern: pid))
            adopted.remove(pid)
        }
        return adopted.count
    }
}
