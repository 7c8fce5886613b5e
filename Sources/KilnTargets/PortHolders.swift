// Finds the processes that listen on a port, in any network namespace.

/// The processes that hold the listening sockets of some ports.
struct PortHolders {
    /// By port: the processes that hold a socket listening on it, in ascending order.
    var processes: [UInt16: [Int32]] = [:]
    /// By port: listening sockets that no readable process holds.
    var orphans: [UInt16: [ListeningTCPSocket]] = [:]
    /// By network namespace: all its listening sockets. Listing them takes the kernel some milliseconds, because it walks the hash table of
    /// all connections, so each namespace is listed once.
    var listening: [UInt64: [ListeningTCPSocket]] = [:]
    /// The number of processes whose network namespace could not be read.
    var unread = 0

    /// Reads each network namespace once, then the descriptors of the processes.
    ///
    /// A socket's inode is unique over all namespaces. So a holder is found even if it has changed its namespace since it opened the
    /// socket, or got the socket from another process.
    init(of ports: Set<UInt16>, in procfs: ProcFS, pids: [Int32]) {
        var sockets: [UInt64: ListeningTCPSocket] = [:]
        for pid in pids {
            // Skips a process that has ended since the list was read.
            guard let process = try? procfs.process(pid) else { continue }
            do {
                let namespace = try process.namespace(.network)
                if listening[namespace] != nil { continue }
                // If this process ends during the read, the next one of its namespace is used.
                listening[namespace] = try process.listeningTCPSockets()
            } catch .permissionDenied {
                unread += 1
            } catch {
                continue
            }
        }
        // kiln's own namespace is always readable.
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
