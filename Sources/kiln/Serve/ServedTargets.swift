import Glibc
import KilnKernel
import KilnModel
import KilnTargets

/// The servers that `kiln serve` watches: those that are asked for and run now. Looking for them is cheap, because it is done all day.
final class ServedTargets {
    /// What is asked for. Nothing: all known servers that run.
    struct Choice {
        var pids: [Int32] = []
        var ports: [UInt16] = []
        var names: [String] = []

        var isEmpty: Bool { pids.isEmpty && ports.isEmpty && names.isEmpty }
        /// Servers may come later.
        var mayGrow: Bool { isEmpty || !ports.isEmpty || !names.isEmpty }
    }

    struct Server {
        let target: Target
        /// Stays the same when the server is restarted.
        let instance: String
    }

    /// A process that has come is looked at in these looks: it may not have executed the server yet, or not listen yet.
    private static let looksAtNew: Set = [0, 1, 2, 4, 8], young = 9
    /// A server that does not listen yet is left for later so many times.
    private static let patience = 5
    /// All processes are looked at again each time that so many looks have passed, because one may have executed a server late.
    private static let wholeEvery = 30

    private let choice: Choice
    private let discovery = TargetDiscovery()
    private let host: String
    /// By pid: how many times it was looked at.
    private var looks: [Int32: Int] = [:]
    private var count = 0
    private var gone: Set<Int32> = []
    private var told: Set<String> = []
    private var found: [Server] = []

    /// Those that run, the longest known first; at most as many as a session takes.
    var servers: [Server] { Array(found.prefix(WatchedProcesses.limit)) }
    /// Those that run besides.
    var leftOut: Int { max(found.count - WatchedProcesses.limit, 0) }

    /// Reads the processes that are asked for by pid. Throws if one of them does not exist.
    init(_ choice: Choice) throws {
        self.choice = choice
        var names = utsname()
        uname(&names)
        host = withUnsafeBytes(of: names.nodename) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        for target in choice.pids.isEmpty ? [] : try discovery.targets(pids: choice.pids, ports: []) { add(target) }
    }

    /// A process has ended, though it may still be listed.
    func ended(_ pid: Int32) {
        gone.insert(pid)
        found.removeAll { $0.target.pid == pid }
    }

    /// Looks for servers that have come or gone. Reads the list of processes, and more only of those that are new.
    func look() {
        guard let pids = try? discovery.procfs.pids() else { return }
        let running = Set(pids)
        gone.formIntersection(running)
        looks = looks.filter { running.contains($0.key) }
        found.removeAll { !running.contains($0.target.pid) }
        let isWhole = count % Self.wholeEvery == 0
        count += 1
        guard choice.mayGrow else { return }
        let known = Set(found.map(\.target.pid)).union(gone)
        let candidates = pids.filter { pid in
            guard !known.contains(pid) else { return false }
            let times = looks[pid, default: 0]
            if times < Self.young { looks[pid] = times + 1 }
            return Self.looksAtNew.contains(times) || isWhole
        }
        if !candidates.isEmpty { take(candidates) }
        if isWhole { takeListeners() }
    }

    private func take(_ candidates: [Int32]) {
        if choice.isEmpty || !choice.ports.isEmpty {
            for target in discovery.knownServers(among: candidates) where choice.isEmpty || !missingPorts.isDisjoint(with: target.ports) {
                // A server that has just begun has no ports yet by which it is called.
                let listens = !target.ports.isEmpty || !target.unixSockets.isEmpty || !target.socketsWereRead
                if listens || looks[target.pid, default: 0] >= Self.patience { add(target) }
            }
        }
        guard !choice.names.isEmpty else { return }
        for pid in candidates {
            guard let process = try? discovery.procfs.process(pid), let name = try? process.comm(), choice.names.contains(name),
                let target = try? discovery.targets(pids: [pid], ports: []).first
            else { continue }
            if case .serverChild = target.role { continue }
            if !target.ports.isEmpty || looks[pid, default: 0] >= Self.patience { add(target) }
        }
    }

    private var missingPorts: Set<UInt16> { Set(choice.ports).subtracting(found.flatMap(\.target.ports)) }

    /// Finds processes that listen on a wanted port and were not recognised by their name: servers of other names, or in containers. This reads the
    /// descriptors of all processes.
    private func takeListeners() {
        for port in choice.ports where missingPorts.contains(port) {
            do {
                for target in try discovery.targets(pids: [], ports: [port]) where !gone.contains(target.pid) { add(target, port: port) }
            } catch DiscoveryError.nobodyListens {
                continue
            } catch {
                let reason = "\(error)"
                // Reasons name processes, which come and go all day.
                if told.count >= 1000 { told = [] }
                if told.insert(reason).inserted { say("kiln: ", error) }
            }
        }
    }

    private func add(_ target: Target, port: UInt16? = nil) {
        guard !found.contains(where: { $0.target.pid == target.pid }) else { return }
        var instance = instance(of: target, port: port)
        if found.contains(where: { $0.instance == instance }) { instance += "/\(target.pid)" }
        found.append(Server(target: target, instance: instance))
    }

    /// `HOST:6379`, in a container `HOST/0123456789ab:6379`.
    private func instance(of target: Target, port asked: UInt16?) -> String {
        let place = target.container.map { "\(host)/\($0.shortID)" } ?? (target.hasOtherNetwork ? "\(host)/net-\(target.networkNamespace ?? 0)" : host)
        let ports = target.ports.filter { choice.ports.contains($0) } + target.ports
        if let port = asked ?? ports.first { return "\(place):\(port)" }
        return "\(place):\(target.unixSockets.first ?? "pid-\(target.pid)")"
    }
}
