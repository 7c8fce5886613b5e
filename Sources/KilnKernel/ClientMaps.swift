import Glibc
import KilnBPF
import KilnModel

/// The maps of clients: their addresses, and counts of their requests.
struct ClientMaps {
    let rows: BPFMap
    let stats: BPFMap

    /// Cumulative counts by address. `taken`: the number of rows that the kernel has assigned.
    func counts(taken: Int, processes: Int) throws(KernelError) -> [ClientKey: ClientCounts] {
        var byRow: [Int: ClientCounts] = [:]
        let used = min(Int(KILN_MAX_TARGETS) + taken, stats.capacity)
        try stats.forEachCopy(of: kiln_client_stats.self, entries: used) { row, copy in
            let counts = ClientCounts(
                commands: copy.pointee.commands, receivedBytes: copy.pointee.received_bytes, sentBytes: copy.pointee.sent_bytes
            )
            byRow[row, default: ClientCounts(commands: 0, receivedBytes: 0, sentBytes: 0)].add(counts)
        }
        var clients: [ClientKey: ClientCounts] = [:]
        func add(_ key: ClientKey, _ counts: ClientCounts) {
            guard counts.commands != 0 || counts.receivedBytes != 0 || counts.sentBytes != 0 else { return }
            clients[key, default: ClientCounts(commands: 0, receivedBytes: 0, sentBytes: 0)].add(counts)
        }
        for process in 0..<processes {
            if let counts = byRow[process] { add(ClientKey(process: process, address: "other"), counts) }
        }
        try rows.forEachEntry(key: kiln_client_key.self, value: UInt32.self) { key, row in
            guard let counts = byRow[Int(row.pointee)] else { return }
            add(ClientKey(process: Int(key.pointee.process), address: Self.address(key.pointee)), counts)
        }
        return clients
    }

    /// Addresses by row.
    func addresses() throws(KernelError) -> [Int: String] {
        var addresses: [Int: String] = [:]
        try rows.forEachEntry(key: kiln_client_key.self, value: UInt32.self) { addresses[Int($1.pointee)] = Self.address($0.pointee) }
        return addresses
    }

    static func address(_ key: kiln_client_key) -> String {
        let port = key.port == 0 ? "" : ":\(key.port)"
        return withUnsafeBytes(of: key.address) { bytes in
            switch kiln_address_family(rawValue: UInt32(key.family)) {
            case KILN_ADDRESS_IPV4: text(AF_INET, bytes) + port
            // An IPv4 client of an IPv6 listener (RFC 4291, 2.5.5.2) has its IPv4 address.
            case KILN_ADDRESS_IPV6 where bytes.prefix(12).elementsEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]):
                text(AF_INET, UnsafeRawBufferPointer(rebasing: bytes[12...])) + port
            case KILN_ADDRESS_IPV6: port.isEmpty ? text(AF_INET6, bytes) : "[\(text(AF_INET6, bytes))]\(port)"
            case KILN_ADDRESS_UNIX: "unix"
            default: "other"
            }
        }
    }

    private static func text(_ family: Int32, _ bytes: UnsafeRawBufferPointer) -> String {
        var buffer = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        guard inet_ntop(family, bytes.baseAddress, &buffer, socklen_t(buffer.count)) != nil else { return "other" }
        return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
