import KilnModel
import KilnTargets

/// The target of a session: a process, a process and its descendants, or every process of the host.
final class SessionTarget {
    /// The stacks that belong to the target, and their roots in its flamegraph.
    enum StackRoots {
        /// Stacks of the process below its name, and those of its children below `NAME (child)`. A child that a server forks (BGSAVE) runs
        /// the same functions and must be distinguishable.
        case processAndChildren
        /// All stacks of the session, each below the name of its process.
        case everyProcess
    }

    /// 0 means every process of the host.
    let pid: Int32
    let ports: [UInt16]
    let container: String?
    let name: ProcessName
    /// CPU time since `begin`, by the last reading.
    private(set) var cpu = Nanoseconds.zero
    private(set) var hasExited = false
    private let roots: StackRoots
    /// Nil for the whole host.
    private let clock: ProcessCPUClock?
    private var cpuBefore: UInt64 = 0

    /// A running process.
    init(_ target: Target, roots: StackRoots = .processAndChildren) throws {
        pid = target.pid
        ports = target.ports
        container = target.container.map { String(describing: $0) }
        name = ProcessName(pid: target.pid, comm: target.comm, exe: target.exe)
        self.roots = roots
        clock = try cpuClock(of: target.pid)
    }

    /// A command that is about to start, or the whole host (`pid` 0).
    init(pid: Int32, name: String) throws {
        self.pid = pid
        ports = []
        container = nil
        self.name = ProcessName(pid: pid, comm: name)
        roots = .everyProcess
        clock = try pid == 0 ? nil : cpuClock(of: pid)
    }

    /// Starts counting CPU time.
    func begin() { cpuBefore = (try? clock?.nanoseconds()) ?? 0 }

    /// Reads name and CPU clock again. After the target has exited, the last values stay.
    func refresh() {
        guard pid != 0 else { return }
        name.refresh()
        if !hasExited, let now = try? clock?.nanoseconds(), now >= cpuBefore { cpu = Nanoseconds(now - cpuBefore) }
    }

    func exited() { hasExited = true }

    /// The target with its present name.
    var described: SessionRecord.Target {
        var target = SessionRecord.Target(pid: pid, exe: name.exe, comm: name.comm, ports: ports, container: container)
        target.commAtStart = name.formerComm
        return target
    }

    /// The root of a process's stacks in this target's flamegraph; nil if they belong to another target.
    ///
    /// - Parameters:
    ///   - process: The number of the process in `table`.
    ///   - index: The index of this target in the session.
    func stackRoot(of process: Int, in table: StackTable, target index: Int) -> String? {
        let sampled = table.processes[process]
        switch roots {
        case .everyProcess: return sampled?.comm ?? name.comm
        case .processAndChildren where process == index: return name.comm
        case .processAndChildren: return sampled.flatMap { $0.family == index ? "\($0.comm) (child)" : nil }
        }
    }

    /// The sampled processes, the most sampled first; nil unless the target includes other processes.
    func sampledProcesses(in table: StackTable) -> [SessionRecord.Process]? {
        guard roots == .everyProcess else { return nil }
        return table.weights(of: .onCPU).map { number, samples in
            .init(pid: table.processes[number]?.pid ?? pid, comm: table.processes[number]?.comm ?? name.comm, samples: samples)
        }.sorted { ($1.samples, $0.pid) < ($0.samples, $1.pid) }
    }
}
