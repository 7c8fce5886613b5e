import ArgumentParser
import KilnKernel
import KilnTargets
import SystemPackage

/// What kiln requires of a kernel before it loads anything.
struct KernelOptions: ParsableArguments {
    @Flag(name: .customLong("untested-kernel"), help: "Run on kernels older than 6.1, too. None of them was tested.")
    var untestedKernel = false

    func require() throws {
        try Capabilities.require(
            untested: untestedKernel
                ? {
                    say("kiln: this kernel is older than 6.1, the oldest that kiln is tested with: counts may be inexact, and stacks incomplete.")
                } : nil)
    }
}

/// Which servers are watched, and how: the options that subcommands share.
struct TargetOptions: ParsableArguments {
    @Option(name: .shortAndLong, help: ArgumentHelp("Watch this process; repeat for several.", valueName: "pid"))
    var pid: [Int32] = []

    @Option(help: ArgumentHelp("Watch the process that listens on this port; repeat for several.", valueName: "port"))
    var port: [UInt16] = []

    @Option(help: ArgumentHelp("Where requests are observed: \(CommandHook.allCases.map(\.rawValue).joined(separator: " or ")).", valueName: "hook"))
    var hook: CommandHook?

    @OptionGroup var kernel: KernelOptions

    func validate() throws {
        for pid in pid where pid <= 0 { throw ValidationError("--pid \(pid) is no process: give a positive number.") }
        for port in port where port == 0 { throw ValidationError("--port 0 is no port: give 1 to 65535.") }
    }

    /// The targets of these options and of the pids in `more`. Throws if this kernel or this user can't observe them.
    func targets(and more: [Int32] = []) throws -> [Target] {
        try requireLimits()
        try kernel.require()
        let discovery = TargetDiscovery()
        try discovery.requireInitialPIDNamespace()
        return try discovery.targets(pids: pid + more, ports: port)
    }
}

extension CommandHook: ExpressibleByArgument {}

extension WatchedProcesses {
    /// `observer`: the subject of the error message.
    init(_ targets: [Target], for observer: String) throws {
        guard let watched = WatchedProcesses(pids: targets.map(\.pid), knownServers: targets.filter(\.role.readsRequests).map(\.pid)) else {
            throw Failure("cannot watch \(targets.count) processes: \(observer) takes 1 to \(WatchedProcesses.limit). Start a second one.")
        }
        self = watched
    }
}

extension Target {
    /// Inode numbers; empty for a process that has just exited.
    func openSockets() throws -> [UInt64] {
        do {
            let process = try ProcFS().process(pid)
            return Array(try process.socketInodes())
        } catch Errno.noSuchFileOrDirectory {
            return []
        } catch Errno.noSuchProcess {
            return []
        } catch {
            throw Failure("cannot list the sockets of pid \(pid): \(error). Run as root.")
        }
    }
}
