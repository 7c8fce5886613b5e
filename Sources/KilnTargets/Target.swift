import PrintableText
import SystemPackage

/// A process to be profiled.
public struct Target: Hashable, Sendable {
    /// As the pid namespace of /proc numbers it.
    public var pid: Int32
    /// The thread-group leader's.
    public var comm: String
    /// The program file as the process would name it; nil where it can't be read.
    public var exe: String?
    /// Clock ticks from boot: with the pid, this names one process for good.
    public var startTime: UInt64
    /// The real user id.
    public var uid: UInt32
    /// The TCP ports on which the process listens, ascending.
    public var ports: [UInt16]
    /// The unix sockets on which it listens, as it named them.
    public var unixSockets: [String]
    /// False where the kernel doesn't show its descriptors: then no ports and no sockets means nothing.
    public var socketsWereRead: Bool
    public var container: Container?
    /// What the process calls itself, when that differs from `pid`.
    public var pidInNamespace: Int32?
    /// Inode of its network namespace; nil where it can't be read.
    public var networkNamespace: UInt64?
    /// Whether that is another one than kiln's.
    public var hasOtherNetwork: Bool
    public var role: ProcessRole

    /// The server this is known to be; nil for sentinels, forked children and everything else.
    public var server: KnownServer? { role.server }
}

extension Target {
    /// A line for each target, in columns: pid, where it listens, name, container.
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
    /// Reads everything about one process and nothing about any other, save for the fork's parent.
    ///
    /// Whatever can't be read is left empty.
    /// - Parameters:
    ///   - ownNetwork: the network namespace of kiln.
    ///   - listening: the sockets that listen, by network namespace, as far as they are known.
    init(
        reading process: borrowing ProcessDirectory, stat: ProcessStat, status: ProcessStatus, in procfs: ProcFS,
        ownNetwork: UInt64?, listening: [UInt64: [ListeningTCPSocket]] = [:]
    ) {
        pid = process.pid
        // Not stat's, which for some kernel threads is longer than what everyone else shows.
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

    /// A server whose parent runs the same program as a server is a fork of it: the title tells too, but
    /// `proc-title-template` may leave it out.
    private static func isServer(_ parent: Int32, withExe exe: String?, in procfs: ProcFS) -> Bool {
        guard parent > 1, let process = try? procfs.process(parent), let comm = try? process.comm() else { return false }
        let parentExe = try? process.exe()
        guard parentExe == exe else { return false }
        return ProcessRole(comm: comm, exe: parentExe, arguments: (try? process.arguments()) ?? []) { process.serverProgram() }.server != nil
    }
}
