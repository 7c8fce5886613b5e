import CLibbpf
import Glibc
import KilnBPF
import KilnModel

/// Counts system calls of the targets in the kernel.
public struct SyscallProbe: ~Copyable {
    private var object: BPFObject
    private let stats: BPFMap
    private let losses: BPFMap
    private let turns: BPFMap
    private let processes: Int

    /// Loads the program. Counting doesn't begin yet. `turns`: the map in which it stores the beginnings of event loop turns, for other
    /// objects of the session.
    public init(watching watched: WatchedProcesses, turns shared: Turns? = nil) throws(KernelError) {
        var object = try BPFObject(kiln_syscalls_object(), name: "syscalls")
        if let shared { try object.use(shared.descriptor, asMap: "turns") }
        try object.setConstant(section: ".rodata.targets", watched.constants)
        try object.setCapacity(ofMap: "syscall_stats", to: UInt32(watched.pids.count) * UInt32(KILN_SYSCALL_NUMBERS))
        try object.load()
        let stats = try object.map("syscall_stats"), losses = try object.map("losses")
        turns = try object.map("turns")
        processes = watched.pids.count
        self.object = object
        self.stats = stats
        self.losses = losses
    }

    public mutating func attach() throws(KernelError) {
        try object.attach("count_syscall")
        try turns.setTurns(known: true, processes: processes)
    }

    /// Stops counting. Counts stay readable.
    public mutating func detach() throws(KernelError) {
        try turns.setTurns(known: false, processes: processes)
        object.detach()
    }

    /// BPF run-time statistics of the loaded programs, by name.
    public func programs() -> [String: ProgramCounts] { object.programCounts() }

    public func loadedPrograms() -> [LoadedProgram] { object.loadedPrograms() }

    /// Adds the cumulative counts to a snapshot.
    public func read(into snapshot: inout Snapshot) throws(KernelError) {
        var cells: [Int: SyscallCounts] = [:]
        try stats.forEachCopy(of: kiln_syscall_stats.self, entries: stats.capacity) { cell, copy in
            guard copy.pointee.count != 0 else { return }
            cells[cell, default: SyscallCounts()].count &+= copy.pointee.count
            cells[cell, default: SyscallCounts()].errors &+= copy.pointee.errors
        }
        let numbers = Int(KILN_SYSCALL_NUMBERS)
        for (cell, counts) in cells {
            snapshot.syscalls[SyscallKey(process: cell / numbers, number: cell % numbers)] = counts
        }
        try snapshot.addLosses(losses, count: Int(KILN_SYSCALL_LOSS_COUNT.rawValue)) { kiln_describe_syscall_loss($0) }
        snapshot.addPrograms(object.programCounts())
    }
}

/// The name of a system call of this architecture, or `syscall_N` if it was unknown at build time.
public func syscallName(_ number: Int) -> String {
    kiln_syscall_name(KILN_ABI_NATIVE.rawValue, UInt32(number)).map { String(cString: $0) } ?? "syscall_\(number)"
}
