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

    /// One of the processes that the target consists of.
    private struct Member {
        let pid: Int32
        let name: ProcessName
        let clock: ProcessCPUClock
        var before: UInt64 = 0
        var cpu: UInt64 = 0
        var hasExited = false
    }

    /// The first process; 0 means every process of the host, or those that a filter lets through.
    let pid: Int32
    let ports: [UInt16]
    let container: String?
    /// Of several processes all their names.
    let name: ProcessName
    private let roots: StackRoots
    /// Empty for the whole host.
    private var members: [Member]

    /// A running process.
    convenience init(_ target: Target, roots: StackRoots = .processAndChildren) throws { try self.init([target], roots: roots) }

    /// Several running processes together; at least one.
    init(_ targets: [Target], roots: StackRoots) throws {
        members = try targets.map {
            Member(pid: $0.pid, name: ProcessName(pid: $0.pid, comm: $0.comm, exe: $0.exe), clock: try cpuClock(of: $0.pid))
        }
        pid = targets.first?.pid ?? 0
        ports = targets.count == 1 ? targets[0].ports : []
        container = targets.count == 1 ? targets[0].container.map { String(describing: $0) } : nil
        let names = targets.map(\.comm).reduce(into: [String]()) { if !$0.contains($1) { $0.append($1) } }
        name = targets.count == 1 ? members[0].name : ProcessName(pid: 0, comm: names.joined(separator: ", "))
        self.roots = roots
    }

    /// A command that is about to start, or the whole host (`pid` 0).
    init(pid: Int32, name: String) throws {
        self.pid = pid
        ports = []
        container = nil
        let process = ProcessName(pid: pid, comm: name)
        self.name = process
        roots = .everyProcess
        members = try pid == 0 ? [] : [Member(pid: pid, name: process, clock: try cpuClock(of: pid))]
    }

    /// Of its processes.
    var pids: [Int32] { members.map(\.pid) }

    /// CPU time since `begin`, by the last reading.
    var cpu: Nanoseconds { Nanoseconds(members.reduce(0) { $0 &+ $1.cpu }) }

    /// All its processes have.
    var hasExited: Bool { !members.isEmpty && members.allSatisfy(\.hasExited) }

    /// Starts counting CPU time.
    func begin() { for index in members.indices { members[index].before = (try? members[index].clock.nanoseconds()) ?? 0 } }

    /// Reads names and CPU clocks again. After a process has exited, its last values stay.
    func refresh() {
        for index in members.indices {
            members[index].name.refresh()
            let member = members[index]
            if !member.hasExited, let now = try? member.clock.nanoseconds(), now >= member.before { members[index].cpu = now - member.before }
        }
    }

    /// A process has exited, which may be one of the target.
    func exited(_ pid: Int32) {
        for index in members.indices where members[index].pid == pid { members[index].hasExited = true }
    }

    /// The target with its present name.
    var described: SessionRecord.Target {
        var target = SessionRecord.Target(pid: pid, exe: name.exe, comm: name.comm, ports: ports, container: container)
        target.commAtStart = name.formerComm
        target.pids = members.count > 1 ? pids : nil
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
        case .everyProcess: return sampled?.comm ?? member(process)?.name.comm ?? name.comm
        case .processAndChildren where process == index: return name.comm
        case .processAndChildren: return sampled.flatMap { $0.family == index ? "\($0.comm) (child)" : nil }
        }
    }

    /// The sampled processes, the most sampled first; nil unless the target includes other processes.
    func sampledProcesses(in table: StackTable) -> [SessionRecord.Process]? {
        guard roots == .everyProcess else { return nil }
        return table.weights(of: .onCPU).map { number, samples in
            let sampled = table.processes[number], own = member(number)
            return .init(pid: sampled?.pid ?? own?.pid ?? pid, comm: sampled?.comm ?? own?.name.comm ?? name.comm, samples: samples)
        }.sorted { ($1.samples, $0.pid) < ($0.samples, $1.pid) }
    }

    /// The process with this number in the session's stacks.
    private func member(_ number: Int) -> Member? { members.indices.contains(number) ? members[number] : nil }
}
