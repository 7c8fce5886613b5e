import ArgumentParser
import KilnKernel
import KilnTargets
import SystemPackage

/// What kiln asks of a kernel before it loads anything.
struct KernelOptions: ParsableArguments {
    @Flag(name: .customLong("untested-kernel"), help: "Run on kernels older than 6.1, too: none of them was tested.")
    var untestedKernel = false

    func require() throws {
        try Capabilities.require(untested: untestedKernel ? {
            say("kiln: this kernel is older than what kiln is tested with (6.1): counts may not be exact, nor stacks whole.")
        } : nil)
    }
}

/// Which servers, and how they are watched: the options that subcommands share.
struct TargetOptions: ParsableArguments {
    @Option(name: .shortAndLong, help: ArgumentHelp("Watch this process; repeat for several.", valueName: "pid"))
    var pid: [Int32] = []

    @Option(help: ArgumentHelp("Watch the process that listens on this port; repeat for several.", valueName: "port"))
    var port: [UInt16] = []

    @Option(help: ArgumentHelp("How requests are seen: \(CommandHook.allCases.map(\.rawValue).joined(separator: " or ")).", valueName: "hook"))
    var hook: CommandHook?

    @OptionGroup var kernel: KernelOptions

    func validate() throws {
        for pid in pid where pid <= 0 { throw ValidationError("--pid \(pid) is no process: give a positive number.") }
        for port in port where port == 0 { throw ValidationError("--port 0 is no port: give 1 to 65535.") }
    }

    /// With the processes of `more` pids. Whoever runs kiln has to be allowed to.
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
    /// `observer`: what watches them, for the error.
    init(_ targets: [Target], for observer: String) throws {
        guard let watched = WatchedProcesses(pids: targets.map(\.pid), knownServers: targets.filter(\.role.readsRequests).map(\.pid)) else {
            throw Failure("cannot watch \(targets.count) processes: \(observer) takes 1 to \(WatchedProcesses.limit). Start a second one.")
        }
        self = watched
    }
}

extension Target {
    /// Inode numbers; none of a process that has just exited.
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
