import PrintableText
import SystemPackage

/// Why there is no target, as a message for the user.
public enum DiscoveryError: Error, Hashable, Sendable {
    /// The process list can't be read.
    case procUnreadable(root: String, Errno?)
    /// kiln runs in a nested pid namespace; nil if the kernel doesn't report which.
    case nestedPIDNamespace(inode: UInt64?)

    case noSuchProcess(pid: Int32)
    case unreadable(pid: Int32, comm: String?, Errno)
    case thread(id: Int32, comm: String, process: Int32, processComm: String)
    case kernelThread(pid: Int32, comm: String)
    case zombie(pid: Int32, comm: String, parent: Int32, parentComm: String?)

    case portZero
    /// - Parameters:
    ///   - servers: the known servers, wherever they listen.
    ///   - unread: processes whose network namespace could not be looked up.
    case nobodyListens(port: UInt16, servers: [Target], unread: Int)
    /// The socket exists, but its process can't be read.
    case holderUnreadable(port: UInt16, addresses: [IPAddress])
    case severalListen(port: UInt16, targets: [Target])
    case proxied(ProxiedPort)

    /// - Parameter lookalikes: sentinels and forked children.
    case noServer(lookalikes: [Target])
    case severalServers([Target])
}

/// A port on which a container engine's proxy listens.
public struct ProxiedPort: Hashable, Sendable {
    public var port: UInt16
    public var proxies: [Target]
    /// The destinations according to the proxies: "to 172.17.0.2:6379", "into container 0123456789ab"; may be empty.
    public var destinations: [String]
    /// Servers that receive these bytes.
    public var candidates: [Target]
    /// Processes that listen on the same port themselves, in any network namespace, and are not candidates.
    public var alsoListening: [Target]
    /// All known servers, for a message without candidates.
    public var servers: [Target]
}

extension DiscoveryError: CustomStringConvertible {
    /// One line that says what, where, why and what to do; then a line for each candidate, if there are any.
    public var description: String {
        switch self {
        case .procUnreadable(let root, let error):
            let reason = error.map { "\($0)" } ?? "no processes in it"
            let advice =
                switch error {
                case nil, .noSuchFileOrDirectory: "kiln needs the proc file system: mount -t proc proc \(root)"
                case .permissionDenied, .notPermitted: "Run as root."
                case .tooManyOpenFiles: "Raise the limit of open files (ulimit -n)."
                default: "kiln needs to read it."
                }
            return "cannot list processes in \(root): \(reason). \(advice)"
        case .nestedPIDNamespace(let inode):
            let which = inode.map { " (pid:[\($0)])" } ?? ""
            return "kiln runs in its own pid namespace\(which), but BPF programs see the host's pids. "
                + "Run kiln on the host, or its container with --pid=host."
        case .noSuchProcess(let pid) where pid <= 0:
            return "\(pid) is not a process id. Give a number that ps shows."
        case .noSuchProcess(let pid):
            return "no process has pid \(pid), or it has just ended. Look the pid up again, or name the server with --port."
        case .unreadable(let pid, let comm, let error):
            let name = comm.map { " (\($0.printable))" } ?? ""
            switch error {
            case .permissionDenied, .notPermitted:
                return "cannot read about process \(pid)\(name) in /proc: \(error). Run as root."
            case .invalidArgument:
                return "cannot read about process \(pid)\(name) in /proc: its stat or status has an unknown format."
            default:
                return "cannot read about process \(pid)\(name) in /proc: \(error)."
            }
        case .thread(let id, let comm, let process, let processComm):
            return "\(id) is a thread (\(comm.printable)) of process \(process) (\(processComm.printable)). "
                + "Profile the process: --pid \(process)"
        case .kernelThread(let pid, let comm):
            return "pid \(pid) (\(comm.printable)) is a kernel thread: it has no program and no clients. "
                + "Give the pid of a process."
        case .zombie(let pid, let comm, let parent, let parentComm):
            let name = parentComm.map { " (\($0.printable))" } ?? ""
            return "pid \(pid) (\(comm.printable)) has ended and is only waiting for its parent, pid \(parent)\(name), "
                + "to notice. There is nothing left to profile."
        case .portZero:
            return "0 is not a port that a server can listen on. Give a port from 1 to 65535, or the process with --pid."
        case .nobodyListens(let port, let servers, let unread):
            return Self.nobodyListens(port, servers, unread)
        case .holderUnreadable(let port, let addresses):
            let places = Set(addresses.map { Self.endpoint($0, port) }).sorted().joined(separator: ", ")
            return "port \(port) is open (\(places)), but no process that kiln can read holds the socket. "
                + "Reading it needs root or CAP_SYS_PTRACE; a socket of the kernel itself has no process to profile."
        case .severalListen(let port, let targets):
            return "\(targets.count) processes listen on port \(port). Choose with --pid:" + Target.listing(targets)
        case .proxied(let proxied):
            return proxied.description
        case .noServer(let lookalikes):
            let first = "no running \(Self.knownNames) was found. Name the process with --pid or --port."
            return lookalikes.isEmpty ? first : first + " These processes serve no data:" + Target.listing(lookalikes)
        case .severalServers(let targets):
            return "\(targets.count) servers are running. Choose with --pid or --port:" + Target.listing(targets)
        }
    }

    private static let knownNames: String = {
        let names = KnownServer.allCases.map(\.rawValue)
        return names.dropLast().joined(separator: ", ") + " or " + (names.last ?? "")
    }()

    private static func nobodyListens(_ port: UInt16, _ servers: [Target], _ unread: Int) -> String {
        var text = "no process listens on TCP port \(port)"
        if unread > 0 {
            text +=
                " where kiln may look; the network namespace of \(unread) \(unread == 1 ? "process" : "processes") "
                + "can't be read, which needs root or CAP_SYS_PTRACE."
        } else if servers.isEmpty {
            return text + ", and no \(knownNames) is running. Check the port, or name the process with --pid."
        } else {
            text += "."
        }
        if servers.contains(where: \.hasOtherNetwork) {
            text += " A published container port may be forwarded by the packet filter, which has no listening socket: use --pid."
        }
        return servers.isEmpty ? text : text + " Running servers:" + Target.listing(servers)
    }

    static func endpoint(_ address: IPAddress, _ port: UInt16) -> String {
        address.bytes.count == 4 ? "\(address):\(port)" : "[\(address)]:\(port)"
    }
}

extension ProxiedPort: CustomStringConvertible {
    public var description: String {
        let owners = Set(proxies.map(\.comm)).sorted().map { comm in
            let pids = proxies.filter { $0.comm == comm }.map { String($0.pid) }
            return "\(comm.printable) (\(pids.count == 1 ? "pid" : "pids") \(pids.joined(separator: ", ")))"
        }.joined(separator: " and ")
        let goal = destinations.isEmpty ? "into a container" : destinations.joined(separator: " and ")
        var text = "port \(port) belongs to \(owners), which forwards it \(goal.printable). "
        if !candidates.isEmpty {
            text += "Profile the server behind it with --pid:" + Target.listing(candidates)
        } else if servers.isEmpty {
            text += "No known server was found behind it: find its pid on the host and give it with --pid."
        } else {
            text += "kiln can't find out which server is behind it. Choose with --pid:" + Target.listing(servers)
        }
        if !alsoListening.isEmpty {
            text += "\nThe same port elsewhere:" + Target.listing(alsoListening)
        }
        return text
    }
}
