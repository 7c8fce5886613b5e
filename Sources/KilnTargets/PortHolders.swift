// Which process listens on a port, in whatever network namespace.

/// Who holds the listening sockets of some ports.
struct PortHolders {
    /// By port: the processes that hold a socket listening on it, ascending.
    var processes: [UInt16: [Int32]] = [:]
    /// By port: listening sockets that no readable process holds.
    var orphans: [UInt16: [ListeningTCPSocket]] = [:]
    /// By network namespace: all sockets that listen in it. The kernel looks through the places of all its connections to list them,
    /// some milliseconds, so nobody asks twice.
    var listening: [UInt64: [ListeningTCPSocket]] = [:]
    /// Processes whose network namespace could not be looked up.
    var unread = 0

    /// Reads each network namespace once, then goes through the descriptors of the processes.
    ///
    /// A socket inode is unique over all namespaces, so a holder is found even if it has moved to another namespace
    /// since it opened the socket, or was given the socket by someone else.
    init(of ports: Set<UInt16>, in procfs: ProcFS, pids: [Int32]) {
        var sockets: [UInt64: ListeningTCPSocket] = [:]
        for pid in pids {
            // A process that has ended since the list was made is no loss.
            guard let process = try? procfs.process(pid) else { continue }
            do {
                let namespace = try process.namespace(.network)
                if listening[namespace] != nil { continue }
                // If this process goes away while being read, the next one of its namespace serves.
                listening[namespace] = try process.listeningTCPSockets()
            } catch .permissionDenied {
                unread += 1
            } catch {
                continue
            }
        }
        // Kiln's own namespace can be read by anyone, its link always.
        if unread > 0, let process = try? procfs.selfProcess(), let own = try? process.namespace(.network), listening[own] == nil {
            listening[own] = try? process.listeningTCPSockets()
        }
        for socket in listening.values.joined() where ports.contains(socket.port) { sockets[socket.inode] = socket }
        guard !sockets.isEmpty else { return }

        let wanted = Set(sockets.keys)
        var held: Set<UInt64> = []
        for pid in pids {
            guard let process = try? procfs.process(pid), let found = try? process.socketInodes(among: wanted) else { continue }
            held.formUnion(found)
            for port in Set(found.compactMap { sockets[$0]?.port }) { processes[port, default: []].append(pid) }
        }
        for (inode, socket) in sockets where !held.contains(inode) { orphans[socket.port, default: []].append(socket) }
    }
}
