// The listening sockets of a network namespace, from /proc/PID/net/{tcp,tcp6,unix}, and its local addresses, from fib_trie and if_inet6.

/// An IPv4 or IPv6 address: 4 or 16 bytes in network order.
public struct IPAddress: Hashable, Sendable, CustomStringConvertible {
    public let bytes: [UInt8]

    /// Nil unless 4 or 16 bytes.
    public init?(bytes: [UInt8]) {
        guard bytes.count == 4 || bytes.count == 16 else { return nil }
        self.bytes = bytes
    }

    /// "172.17.0.2", "::1", "fd00::2"; nil for anything else.
    public init?(_ text: String) {
        if text.contains(":") {
            let halves = text.split(separator: "::", maxSplits: 1, omittingEmptySubsequences: false)
            let parts = halves.map { half in
                half.isEmpty
                    ? []
                    : half.split(separator: ":", omittingEmptySubsequences: false)
                        .map { Bytes($0.utf8).number(radix: 16, as: UInt16.self) }
            }
            let groups = parts.flatMap { $0 }.compactMap { $0 }
            guard groups.count == parts.map(\.count).reduce(0, +), groups.count <= 8, parts.count == 2 || groups.count == 8,
                let head = parts.first?.count
            else { return nil }
            let filled = groups[..<head] + Array(repeating: 0, count: 8 - groups.count) + groups[head...]
            self.bytes = filled.flatMap { [UInt8($0 >> 8), UInt8($0 & 0xff)] }
        } else {
            let parts = text.split(separator: ".", omittingEmptySubsequences: false).map { Bytes($0.utf8).number(as: UInt8.self) }
            let numbers = parts.compactMap { $0 }
            guard numbers.count == 4, parts.count == 4 else { return nil }
            self.bytes = numbers
        }
    }

    /// IPv6 in the short form of RFC 5952: lower case, the longest run of two or more zero groups as "::".
    public var description: String {
        if bytes.count == 4 { return bytes.map { String($0) }.joined(separator: ".") }
        let groups = stride(from: 0, to: 16, by: 2).map { UInt16(bytes[$0]) << 8 | UInt16(bytes[$0 + 1]) }
        var longest = 0..<0
        var start = 0
        while start < 8 {
            let end = groups[start...].firstIndex { $0 != 0 } ?? 8
            if end - start > max(1, longest.count) { longest = start..<end }
            start = end + 1
        }
        let texts = groups.map { String($0, radix: 16) }
        if longest.isEmpty { return texts.joined(separator: ":") }
        return texts[..<longest.lowerBound].joined(separator: ":") + "::" + texts[longest.upperBound...].joined(separator: ":")
    }
}

/// A TCP socket in state LISTEN.
public struct ListeningTCPSocket: Hashable, Sendable {
    public var address: IPAddress
    public var port: UInt16
    /// The inode number of the socket in sockfs, as in `socket:[INODE]` of /proc/PID/fd; unique over all namespaces.
    public var inode: UInt64
}

/// A listening unix socket.
public struct ListeningUnixSocket: Hashable, Sendable {
    /// The path as it was bound: may be relative to the process's directory; "@name" in the abstract namespace.
    public var path: String
    public var inode: UInt64
}

/// The kind of a line in /proc/net/tcp or tcp6.
enum TCPTableLine: Equatable {
    case listening(ListeningTCPSocket)
    /// A connection. The kernel prints all listeners before the first connection (tcp_get_idx in net/ipv4/tcp_ipv4.c).
    case connection
    /// The header, a socket between two states, or an unknown line.
    case other

    init(parsing line: Bytes) {
        var rest = line
        // sl  local_address rem_address st tx:rx tr:when retransmits uid timeout inode ...
        guard let slot = rest.takeField(), slot.last == UInt8(ascii: ":"), let local = rest.takeField(), rest.takeField() != nil,
            let state = rest.takeField()?.number(radix: 16, as: UInt8.self)
        else { self = .other; return }
        let listen = 0x0a, close = 0x07  // include/net/tcp_states.h
        guard state == listen else { self = state == close ? .other : .connection; return }
        for _ in 0..<5 where rest.takeField() == nil { self = .other; return }
        guard let inode = rest.takeField()?.number(as: UInt64.self),
            let colon = local.firstIndex(of: UInt8(ascii: ":")),
            let port = local[(colon + 1)...].number(radix: 16, as: UInt16.self),
            let address = Self.address(local[..<colon])
        else { self = .other; return }
        self = .listening(ListeningTCPSocket(address: address, port: port, inode: inode))
    }

    /// One or four words of 32 bits, each printed as a number in the machine's byte order.
    private static func address(_ digits: Bytes) -> IPAddress? {
        guard digits.count == 8 || digits.count == 32 else { return nil }
        var bytes: [UInt8] = []
        for start in stride(from: digits.startIndex, to: digits.endIndex, by: 8) {
            guard let word = digits[start..<(start + 8)].number(radix: 16, as: UInt32.self) else { return nil }
            withUnsafeBytes(of: word) { bytes.append(contentsOf: $0) }
        }
        return IPAddress(bytes: bytes)
    }
}

/// The listening sockets in the text of /proc/PID/net/tcp or tcp6.
public func listeningTCPSockets(parsing bytes: [UInt8]) -> [ListeningTCPSocket] {
    bytes[...].lines.compactMap { line in
        if case .listening(let socket) = TCPTableLine(parsing: line) { socket } else { nil }
    }
}

/// The listening sockets that have a name in the text of /proc/PID/net/unix.
public func listeningUnixSockets(parsing bytes: [UInt8]) -> [ListeningUnixSocket] {
    bytes[...].lines.compactMap { line in
        var rest = line
        // Num RefCount Protocol Flags Type St Inode Path
        guard rest.takeField()?.last == UInt8(ascii: ":"), rest.takeField() != nil, rest.takeField() != nil,
            let flags = rest.takeField()?.number(radix: 16, as: UInt32.self),
            flags & 0x1_0000 != 0,  // __SO_ACCEPTCON of include/linux/net.h: listen() was called
            rest.takeField() != nil, rest.takeField() != nil,
            let inode = rest.takeField()?.number(as: UInt64.self)
        else { return nil }
        // The path follows one blank, and may contain blanks.
        let path = rest.dropFirst()
        return path.isEmpty ? nil : ListeningUnixSocket(path: path.text, inode: inode)
    }
}

/// The namespace's own IPv4 addresses, from the text of /proc/PID/net/fib_trie.
///
/// A leaf is printed as `|-- 172.17.0.2`, followed by one line for each of its prefixes. `/32 host LOCAL` marks an address of an interface.
public func localIPv4Addresses(parsingFIBTrie bytes: [UInt8]) -> Set<IPAddress> {
    var result: Set<IPAddress> = []
    var leaf: IPAddress?
    for line in bytes[...].lines {
        let fields = line.fields
        if fields.count >= 2, fields[0].elementsEqual("|--".utf8) {
            leaf = IPAddress(fields[1].text)
        } else if let address = leaf, fields.count == 3,
            fields[0].elementsEqual("/32".utf8), fields[2].elementsEqual("LOCAL".utf8)
        {
            result.insert(address)
        }
    }
    return result
}

/// The IPv6 addresses of the namespace's interfaces, from the text of /proc/PID/net/if_inet6.
public func localIPv6Addresses(parsingInterfaces bytes: [UInt8]) -> Set<IPAddress> {
    var result: Set<IPAddress> = []
    for line in bytes[...].lines {
        guard let digits = line.fields.first, digits.count == 32 else { continue }
        let octets = stride(from: digits.startIndex, to: digits.endIndex, by: 2)
            .compactMap { digits[$0..<($0 + 2)].number(radix: 16, as: UInt8.self) }
        if let address = IPAddress(bytes: octets) { result.insert(address) }
    }
    return result
}
