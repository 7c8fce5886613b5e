import Glibc
import KilnKernel
import KilnTargets
import SystemPackage

/// Whom a session observes: the processes, filters and command that a person gave, found and checked.
struct Whom {
    let target: SessionTarget
    let members: Members
    /// Lists running descendants of the processes, which are observed, too; nil: they are left out.
    let descendants: (() -> [Int32])?
    /// The command behind `--`, which waits for its start. It is the target, unless options say whom to observe.
    let child: ChildCommand?
    /// The command is the target.
    let isCommand: Bool
    private let pids: [Int32]

    /// Finds the processes, checks what the filters name, and makes a process for the command, which the caller ends if the session doesn't begin.
    ///
    /// - Parameters:
    ///   - purpose: A verb for errors: `record`.
    ///   - children: Running descendants of the processes are observed, too.
    init(_ options: WhomOptions, _ command: [String], to purpose: String, children: Bool = false) throws {
        let discovery = TargetDiscovery()
        try discovery.requireInitialPIDNamespace()
        let processes = try Self.processes(options.pid, discovery)
        let filter = try options.filter()
        pids = options.pid
        child = try command.isEmpty ? nil : waitingCommand(command)
        isCommand = child != nil && !options.isGiven
        do {
            target = try Self.target(processes, isCommand ? child : nil, command, options)
            var watched: WatchedProcesses?
            if !target.pids.isEmpty {
                watched = WatchedProcesses(pids: target.pids)
                guard watched != nil else {
                    throw Failure(
                        "cannot \(purpose) \(target.pids.count) processes: a session takes 1 to \(WatchedProcesses.limit). Give --all with --comm or --cgroup."
                    )
                }
            }
            // Until it executes the command, the child's stack begins where kiln's own does.
            let commandStack = isCommand ? (try? ProcFS().selfProcess().stat().startStack) ?? 0 : nil
            members = Members(watched, only: filter, commandStack: commandStack)
            let found = target.pids
            descendants = children ? { found.flatMap { ProcFS().descendants(of: $0) } } : nil
        } catch {
            child?.end()
            throw error
        }
    }

    private static func processes(_ pids: [Int32], _ discovery: TargetDiscovery) throws -> [Target] {
        guard !pids.isEmpty else { return [] }
        do { return try discovery.targets(pids: pids, ports: []) } catch {
            // The error's own text names an option that only servers have.
            if case .noSuchProcess(let pid) = error { throw Failure("no process has pid \(pid), or it has just ended. Look the pid up again.") }
            throw error
        }
    }

    private static func target(_ processes: [Target], _ child: ChildCommand?, _ command: [String], _ options: WhomOptions) throws -> SessionTarget {
        if !processes.isEmpty { return try SessionTarget(processes, roots: .everyProcess) }
        guard let child else { return try SessionTarget(pid: 0, name: options.words) }
        let program = FilePath(command[0]).lastComponent?.string ?? command[0]
        // The kernel names a process after the first 15 bytes of its program.
        return try SessionTarget(pid: child.pid, name: String(decoding: program.utf8.prefix(15), as: UTF8.self))
    }

    /// Code that is likely to run in the session: its unwind tables are loaded at the start.
    func knownCode(_ folding: StackFolding) -> [CodeMapping] {
        if target.pids.isEmpty { return folding.code(ofProcesses: (try? ProcFS().pids()) ?? []) }
        // Of a command, the C library and the loader, which the shell that started kiln has as a rule.
        if isCommand { return folding.code(ofProcesses: [getpid(), getppid()]) }
        return folding.code(ofProcesses: descendants?() ?? [])
    }

    /// A line for each process whose running descendants the session leaves out.
    var leftOut: [String] {
        guard descendants == nil else { return [] }
        return pids.compactMap { pid in
            let count = ProcFS().descendants(of: pid).filter { !pids.contains($0) }.count
            guard count > 0 else { return nil }
            let who = target.pids.count == 1 ? "pid \(pid) (\(target.name.comm))" : "pid \(pid)"
            return "\(who) has \(count == 1 ? "a descendant" : "\(count) descendants") that the session leaves out. --children adds them."
        }
    }
}
