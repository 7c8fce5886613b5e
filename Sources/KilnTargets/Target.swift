import PrintableText
import SystemPackage

/// A process to be profiled.
public struct Target: Hashable, Sendable {
    /// The pid in the namespace of /proc.
    public var pid: Int32
    /// The name of the thread-group leader.
    public var comm: String
    /// The path of the program in the process's mount namespace; nil if it can't be read.
    public var exe: String?
    /// Clock ticks from boot. Together with the pid it identifies a process forever.
    public var startTime: UInt64
    /// The real user id.
    public var uid: UInt32
    /// The TCP ports on which the process listens, ascending.
    public var ports: [UInt16]
    /// The unix sockets on which it listens, with their bound paths.
    public var unixSockets: [String]
    /// False if its descriptors can't be read; empty ports and sockets then mean nothing.
    public var socketsWereRead: Bool
    public var container: Container?
    /// The pid in its own namespace, if it differs from `pid`.
    public var pidInNamespace: Int32?
    /// The inode of its network namespace; nil if it can't be read.
    public var networkNamespace: UInt64?
    /// Whether its network namespace differs from kiln's.
    public var hasOtherNetwork: Bool
    public var role: ProcessRole

    /// The known server that it is; nil for sentinels, forked children and all other processes.
    public var server: KnownServer? { role.server }
}

extension Target {
    /// A line for each target, in columns: pid, listening address, name, container.
    static func listing(_ targets: [Target]) -> String {
        let rows = targets.sorted { $0.pid < $1.pid }.map(\.columns)
        let widths = (0..<3).map { column in rows.map { $0[column].count }.max() ?? 0 }
        return rows.map { row in
            "\n  " + zip(row, widths).map { $0.padded(to: $1) }.joined(separator: "  ") + "  " + row[3]
        }.joined()
    }

    private var columns: [String] { ["pid \(pid)", listensOn, displayName, place] }

    var listensOn: String {
        if !ports.isEmpty { return (ports.count == 1 ? "port " : "ports ") + ports.map { String($0) }.joined(separator: ",") }
        return unixSockets.first.map { "unix " + $0.printable } ?? (socketsWereRead ? "no port" : "port unknown")
    }

    private var displayName: String {
        switch role {
        case .serverChild(let title): title.printable
        case .sentinel: comm.contains("sentinel") ? comm.printable : comm.printable + " (sentinel)"
        case .server, .other: comm.printable
        }
    }

    private var place: String {
        if let container { return container.description.printable }
        guard hasOtherNetwork, let networkNamespace else { return "no container" }
        return "network namespace \(networkNamespace)"
    }
}

extension Target {
    /// Reads everything about one process, and about no other except the parent of a fork.
    ///
    /// Fields that can't be read stay empty.
    /// - Parameters:
    ///   - ownNetwork: the network namespace of kiln.
    ///   - listening: the known listening sockets, by network namespace.
    init(
        reading process: borrowing ProcessDirectory, stat: ProcessStat, status: ProcessStatus, in procfs: ProcFS,
        ownNetwork: UInt64?, listening: [UInt64: [ListeningTCPSocket]] = [:]
    ) {
        pid = process.pid
        // Not the name in stat, which for some kernel threads is longer than in other files.
        comm = (try? process.comm()) ?? stat.comm
        exe = try? process.exe()
        startTime = stat.startTime
        uid = status.uid
        container = (try? process.container()) ?? nil
        pidInNamespace = status.namespacePIDs.last.flatMap { $0 == status.pid ? nil : $0 }
        networkNamespace = try? process.namespace(.network)
        hasOtherNetwork = networkNamespace != nil && ownNetwork != nil && networkNamespace != ownNetwork
        role = ProcessRole(comm: comm, exe: exe, arguments: (try? process.arguments()) ?? []) { process.serverProgram() }
        ports = []
        unixSockets = []
        socketsWereRead = true
        if role.server != nil, Self.isServer(stat.parent, withExe: exe, in: procfs) {
            role = .serverChild(title: "fork of \(stat.parent)")
        }
        let known = networkNamespace.flatMap { listening[$0] }
        readListeners(of: process, tcp: known ?? (try? process.listeningTCPSockets()) ?? [])
    }

    private mutating func readListeners(of process: borrowing ProcessDirectory, tcp: [ListeningTCPSocket]) {
        let unix = (try? process.listeningUnixSockets()) ?? []
        let listening = Set(tcp.map(\.inode) + unix.map(\.inode))
        guard let held = try? process.socketInodes(among: listening) else { socketsWereRead = false; return }
        ports = Set(tcp.filter { held.contains($0.inode) }.map(\.port)).sorted()
        unixSockets = Set(unix.filter { held.contains($0.inode) }.map(\.path)).sorted()
    }

    /// A server whose parent runs the same program as a server is a fork of it. The title shows this, too, unless `proc-title-template`
    /// leaves it out.
    private static func isServer(_ parent: Int32, withExe exe: String?, in procfs: ProcFS) -> Bool {
        guard parent > 1, let process = try? procfs.process(parent), let comm = try? process.comm() else { return false }
        let parentExe = try? process.exe()
        guard parentExe == exe else { return false }
        return ProcessRole(comm: comm, exe: parentExe, arguments: (try? process.arguments()) ?? []) { process.serverProgram() }.server != nil
    }
}
