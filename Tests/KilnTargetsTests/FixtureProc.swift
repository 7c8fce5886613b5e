import Foundation
import SystemPackage

@testable import KilnTargets

/// A directory that looks like /proc: only what is added exists. Removed with the last reference.
final class FixtureProc {
    let directory: URL
    var procfs: ProcFS { ProcFS(root: FilePath(directory.path)) }
    /// The network namespace of each process.
    private var networkOf: [Int32: UInt64] = [:]
    var discovery: TargetDiscovery { TargetDiscovery(procfs: procfs) }

    static let hostNetwork: UInt64 = 4_026_531_840
    private var networks: [UInt64: Network] = [:]

    struct Network {
        var tcp = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        var tcp6 = "  sl  local_address                         remote_address                        st tx_queue rx_queue\n"
        var unix = "Num       RefCount Protocol Flags    Type St Inode Path\n"
        var trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n"
    }

    /// With one process in it already: kiln, pid 900, to which "self" points.
    init() throws {
        directory = FileManager.default.temporaryDirectory.appendingPathComponent("kiln-proc-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        try add(900, "kiln", exe: "/usr/bin/kiln")
        try link("self", to: "900")
    }

    deinit { try? FileManager.default.removeItem(at: directory) }

    /// A listening IPv4 socket.
    func listen(_ port: UInt16, inode: UInt64, network: UInt64 = FixtureProc.hostNetwork, address: String = "00000000") throws {
        let local = address + ":" + String(format: "%04X", Int(port))
        networks[network, default: Network()].tcp +=
            "   0: \(local) 00000000:0000 0A 00000000:00000000 00:00000000 00000000   999        0 \(inode) 1 0 100 0 0 10 0\n"
        try writeTables(of: network)
    }

    func listenUnix(_ path: String, inode: UInt64, network: UInt64 = FixtureProc.hostNetwork) throws {
        networks[network, default: Network()].unix += "ffff888003e0c000: 00000002 00000000 00010000 0001 01 \(inode) \(path)\n"
        try writeTables(of: network)
    }

    func address(_ address: String, network: UInt64) throws {
        networks[network, default: Network()].trie += "           |-- \(address)\n              /32 host LOCAL\n"
        try writeTables(of: network)
    }

    func add(
        _ pid: Int32, _ comm: String, exe: String? = nil, arguments: [String] = [], parent: Int32 = 1, state: String = "S (sleeping)",
        flags: UInt32 = 0x40_0000, start: UInt64 = 5000, group: Int32? = nil, network: UInt64 = FixtureProc.hostNetwork,
        pidNamespace: UInt64 = 4_026_531_836, namespacePIDs: [Int32]? = nil, cgroup: String = "0::/system.slice/x.service\n",
        sockets: [UInt64] = []
    ) throws {
        try write("\(pid)/comm", comm + "\n")
        try write("\(pid)/cmdline", arguments.map { $0 + "\0" }.joined())
        try write(
            "\(pid)/stat",
            "\(pid) (\(comm)) \(state.prefix(1)) \(parent) 1 1 0 -1 \(flags) 0 0 0 0 7 3 0 0 20 0 4 0 \(start) 1000 20 18446744073709551615\n")
        let inner = (namespacePIDs ?? [group ?? pid]).map { String($0) }.joined(separator: "\t")
        try write(
            "\(pid)/status",
            "Name:\t\(comm)\nState:\t\(state)\nTgid:\t\(group ?? pid)\nPid:\t\(pid)\nPPid:\t\(parent)\nUid:\t999\t999\t999\t999\nNSpid:\t\(inner)\n")
        try write("\(pid)/cgroup", cgroup)
        try link("\(pid)/ns/net", to: "net:[\(network)]")
        try link("\(pid)/ns/pid", to: "pid:[\(pidNamespace)]")
        try link("\(pid)/ns/mnt", to: "mnt:[4026531841]")
        if let exe { try link("\(pid)/exe", to: exe) }
        try link("\(pid)/fd/0", to: "/dev/null")
        for (index, inode) in sockets.enumerated() { try link("\(pid)/fd/\(index + 3)", to: "socket:[\(inode)]") }
        networkOf[pid] = network
        try writeTables(of: network)
    }

    private func writeTables(of network: UInt64) throws {
        let tables = networks[network] ?? Network()
        for pid in networkOf.filter({ $0.value == network }).keys {
            try write("\(pid)/net/tcp", tables.tcp)
            try write("\(pid)/net/tcp6", tables.tcp6)
            try write("\(pid)/net/unix", tables.unix)
            try write("\(pid)/net/fib_trie", tables.trie)
        }
    }

    func addRedis(
        _ pid: Int32, ports: [(port: UInt16, inode: UInt64)], network: UInt64 = FixtureProc.hostNetwork,
        cgroup: String = "0::/system.slice/redis.service\n"
    ) throws {
        for (port, inode) in ports { try listen(port, inode: inode, network: network) }
        try add(
            pid, "redis-server", exe: "/usr/bin/redis-check-rdb", arguments: ["redis-server *:\(ports.first?.port ?? 0)"],
            network: network, cgroup: cgroup, sockets: ports.map(\.inode))
    }

    func write(_ path: String, _ text: String) throws {
        let url = directory.appendingPathComponent(path)
        try FileManager.default.createDirectory(at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(text.utf8).write(to: url)
    }

    func remove(_ path: String) throws { try FileManager.default.removeItem(at: directory.appendingPathComponent(path)) }

    func link(_ path: String, to target: String) throws {
        let url = directory.appendingPathComponent(path)
        try FileManager.default.createDirectory(at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        try FileManager.default.createSymbolicLink(atPath: url.path, withDestinationPath: target)
    }
}

/// The error that a search ends with, as the person reads it.
func message(_ search: () throws(DiscoveryError) -> [Target]) -> String {
    do throws(DiscoveryError) {
        return "found " + (try search()).map { String($0.pid) }.joined(separator: ",")
    } catch {
        return error.description
    }
}
