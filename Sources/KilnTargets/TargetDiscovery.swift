import SystemPackage

/// Finds the processes to profile.
public struct TargetDiscovery: Sendable {
    public let procfs: ProcFS
    private let ownNetwork: UInt64?

    public init(procfs: ProcFS = ProcFS()) {
        self.procfs = procfs
        let own: UInt64?? = try? procfs.selfProcess().namespace(.network)
        ownNetwork = own ?? nil
    }

    /// The processes with these pids, then those that listen on these ports, each once and in this order. Without pids and ports, the one
    /// known server that is running.
    public func targets(pids: [Int32], ports: [UInt16]) throws(DiscoveryError) -> [Target] {
        if pids.isEmpty && ports.isEmpty { return [try onlyServer()] }
        var result: [Target] = []
        for pid in pids where !result.contains(where: { $0.pid == pid }) { result.append(try target(pid: pid)) }
        guard !ports.isEmpty else { return result }
        if ports.contains(0) { throw .portZero }

        let running = try processList()
        let holders = PortHolders(of: Set(ports), in: procfs, pids: running)
        for port in ports {
            let target = try listener(on: port, among: holders, running)
            if !result.contains(where: { $0.pid == target.pid }) { result.append(target) }
        }
        return result
    }

    /// All running known servers, ascending by pid, without forked children and sentinels.
    public func knownServers() throws(DiscoveryError) -> [Target] {
        knownServers(among: try processList())
    }

    /// Those among some processes, likewise. Of the others little more than the name is read.
    public func knownServers(among pids: [Int32]) -> [Target] { serversAndLookalikes(among: pids).filter { $0.server != nil } }

    /// Throws if kiln's pid namespace is not the kernel's first, because /proc and BPF then number processes differently.
    public func requireInitialPIDNamespace() throws(DiscoveryError) {
        switch procfs.pidNamespace {
        case .initial: return
        case .nested(let inode): throw .nestedPIDNamespace(inode: inode)
        // No /proc/self: there is no proc file system, or it belongs to a namespace that kiln is not in.
        case .unreadable(let error):
            _ = try processList()
            if error != .noSuchFileOrDirectory { throw .procUnreadable(root: procfs.root.string, error) }
            throw .nestedPIDNamespace(inode: nil)
        }
    }

    // MARK: - By pid

    private func target(pid: Int32) throws(DiscoveryError) -> Target {
        guard pid > 0 else { throw .noSuchProcess(pid: pid) }
        let outcome: Result<Target, DiscoveryError>
        do throws(Errno) {
            outcome = try read(pid)
        } catch .noSuchFileOrDirectory, .noSuchProcess {
            _ = try processList()
            throw .noSuchProcess(pid: pid)
        } catch {
            throw .unreadable(pid: pid, comm: comm(of: pid), error)
        }
        return try outcome.get()
    }

    private func read(_ pid: Int32) throws(Errno) -> Result<Target, DiscoveryError> {
        let process = try procfs.process(pid)
        let status = try process.status()
        let stat = try process.stat()
        if stat.state.isDead, let thread = try? process.livingThread() {
            var living = try procfs.process(thread)
            living.pid = pid
            return .success(Target(reading: living, stat: stat, status: status, in: procfs, ownNetwork: ownNetwork))
        }
        if let refusal = refusal(of: pid, status, stat) { return .failure(refusal) }
        return .success(Target(reading: process, stat: stat, status: status, in: procfs, ownNetwork: ownNetwork))
    }

    private func refusal(of pid: Int32, _ status: ProcessStatus, _ stat: ProcessStat) -> DiscoveryError? {
        if status.threadGroup != pid {
            let leader = comm(of: status.threadGroup) ?? stat.comm
            return .thread(id: pid, comm: stat.comm, process: status.threadGroup, processComm: leader)
        }
        if stat.isKernelThread { return .kernelThread(pid: pid, comm: comm(of: pid) ?? stat.comm) }
        if stat.state.isDead {
            return .zombie(pid: pid, comm: stat.comm, parent: stat.parent, parentComm: comm(of: stat.parent))
        }
        return nil
    }

    private func comm(of pid: Int32) -> String? {
        guard let process = try? procfs.process(pid) else { return nil }
        return try? process.comm()
    }

    private func processList() throws(DiscoveryError) -> [Int32] {
        do throws(Errno) {
            let pids = try procfs.pids()
            if !pids.isEmpty { return pids }
        } catch {
            throw .procUnreadable(root: procfs.root.string, error)
        }
        throw .procUnreadable(root: procfs.root.string, nil)
    }

    // MARK: - By name

    private func onlyServer() throws(DiscoveryError) -> Target {
        let found = serversAndLookalikes(among: try processList())
        let servers = found.filter { $0.server != nil }
        guard let first = servers.first else { throw .noServer(lookalikes: found) }
        if servers.count > 1 { throw .severalServers(servers) }
        return first
    }

    /// Checks names first, and reads the rest only for processes with a matching name.
    private func serversAndLookalikes(among pids: [Int32]) -> [Target] {
        var result: [Target] = []
        for pid in pids {
            guard let process = try? procfs.process(pid), let comm = try? process.comm() else { continue }
            let exe = try? process.exe()
            // Kernel threads and zombies have no exe and no arguments.
            let role = ProcessRole(comm: comm, exe: exe, arguments: (try? process.arguments()) ?? [])
            if role == .other { continue }
            guard let stat = try? process.stat(), !stat.state.isDead, !stat.isKernelThread,
                let status = try? process.status(), status.threadGroup == pid
            else { continue }
            result.append(Target(reading: process, stat: stat, status: status, in: procfs, ownNetwork: ownNetwork))
        }
        return result
    }

    // MARK: - By port

    private func listener(on port: UInt16, among holders: PortHolders, _ running: [Int32]) throws(DiscoveryError) -> Target {
        let listening = readable(holders, of: port)
        guard let first = listening.first else {
            if let orphans = holders.orphans[port] {
                throw .holderUnreadable(port: port, addresses: orphans.map(\.address))
            }
            throw .nobodyListens(port: port, servers: knownServers(among: running), unread: holders.unread)
        }
        let direct = listening.filter { $0.proxy == nil }
        let directServers = direct.filter { $0.target.server != nil }.map(\.target)
        if direct.count < listening.count {
            let proxied = proxiedPort(port, listening, running)
            // If the port is published under the same number, the server listens on the very port that the proxy forwards.
            if let server = directServers.first, directServers.count == 1, proxied.candidates.map(\.pid) == [server.pid] {
                return server
            }
            throw .proxied(proxied)
        }
        if listening.count == 1 { return first.target }
        if let server = directServers.first, directServers.count == 1 { return server }
        throw .severalListen(port: port, targets: listening.map(\.target))
    }

    private typealias Listener = (target: Target, proxy: ContainerProxy?)

    private func readable(_ holders: PortHolders, of port: UInt16) -> [Listener] {
        (holders.processes[port] ?? []).compactMap { pid in
            guard let process = try? procfs.process(pid), let stat = try? process.stat(), let status = try? process.status(),
                !stat.state.isDead, status.threadGroup == pid
            else { return nil }
            let target = Target(
                reading: process, stat: stat, status: status, in: procfs, ownNetwork: ownNetwork, listening: holders.listening
            )
            let arguments = (try? process.arguments()) ?? []
            return (target, ContainerProxy(comm: target.comm, exe: target.exe, arguments: arguments))
        }
    }

    private func proxiedPort(_ port: UInt16, _ listening: [Listener], _ running: [Int32]) -> ProxiedPort {
        let servers = knownServers(among: running)
        let proxies = listening.compactMap { listener in listener.proxy.map { (target: listener.target, proxy: $0) } }
        var candidates: [Target] = []
        var destinations: [String] = []
        // A rootless engine has two proxies in a row, of which only the inner one has the address.
        for (target, proxy) in proxies where proxy.destination != .unknown {
            destinations.append(proxy.destination.description)
            candidates += self.candidates(at: proxy.destination, behind: target, servers, running)
        }
        if destinations.isEmpty {
            let networks = Set(proxies.map(\.target.networkNamespace))
            candidates = servers.filter { $0.networkNamespace != nil && !networks.contains($0.networkNamespace) }
        }
        let unique = Dictionary(candidates.map { ($0.pid, $0) }, uniquingKeysWith: { first, _ in first })
        return ProxiedPort(
            port: port, proxies: proxies.map(\.target), destinations: Set(destinations).sorted(),
            candidates: unique.values.sorted { $0.pid < $1.pid },
            alsoListening: listening.filter { $0.proxy == nil && unique[$0.target.pid] == nil }.map(\.target),
            servers: servers
        )
    }

    private func candidates(
        at destination: ContainerProxy.Destination, behind proxy: Target, _ servers: [Target], _ running: [Int32]
    ) -> [Target] {
        switch destination {
        case .unknown: return []
        case .container(let id): return servers.filter { $0.container?.id == id }
        case .address(let address, let port):
            let listening = readable(PortHolders(of: [port], in: procfs, pids: running), of: port)
                .filter { $0.proxy == nil && $0.target.networkNamespace != proxy.networkNamespace }.map(\.target)
            let owners = listening.filter { target in
                guard let process = try? procfs.process(target.pid) else { return false }
                return (try? process.localAddresses().contains(address)) ?? false
            }
            // If no namespace has the address (unreadable, or one more hop between), only the port is compared.
            let reached = owners.isEmpty ? listening : owners
            let known = reached.filter { $0.server != nil }
            return known.isEmpty ? reached : known
        }
    }
}
