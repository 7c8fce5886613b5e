// Which process listens on a port, in whatever network namespace.

/// Who holds the listening sockets of some ports.
struct PortHolders {
    /// By port: the processes that hold a socket listening on it, ascending.
    var processes: [UInt16: [Int32]] = [:]
    /// By port: listening sockets that no readable process holds.
    var orphans: [UInt16: [ListeningTCPSocket]] = [:]
    /// Processes whose network namespace could not be looked up.
    var unread = 0

    /// Reads each network namespace once, then goes through the descriptors of the processes.
    ///
    /// A socket inode is unique over all namespaces, so a holder is found even if it has moved to another namespace
    /// since it opened the socket, or was given the socket by someone else.
    init(of ports: Set<UInt16>, in procfs: ProcFS, pids: [Int32]) {
        var namespaces: Set<UInt64> = []
        var sockets: [UInt64: ListeningTCPSocket] = [:]
        for pid in pids {
            // A process that has ended since the list was made is no loss.
            guard let process = try? procfs.process(pid) else { continue }
            do {
                let namespace = try process.namespace(.network)
                if namespaces.contains(namespace) { continue }
                for socket in try process.listeningTCPSockets() where ports.contains(socket.port) {
                    sockets[socket.inode] = socket
                }
                // Only now: if this process went away while being read, the next one of its namespace serves.
                namespaces.insert(namespace)
            } catch .permissionDenied {
                unread += 1
            } catch {
                continue
            }
        }
        // Kiln's own namespace can be read by anyone, its link always.
        if unread > 0, let process = try? procfs.selfProcess(), let own = try? process.listeningTCPSockets() {
            for socket in own where ports.contains(socket.port) { sockets[socket.inode] = socket }
        }
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
