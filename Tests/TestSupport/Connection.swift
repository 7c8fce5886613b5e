import Foundation
import Glibc

/// A client's connection that sends exactly the bytes it is told, in exactly the pieces it is told.
public final class Connection {
    public let fd: Int32

    public init(port: UInt16) throws {
        fd = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var address = loopback(port: port)
        try connect(&address, MemoryLayout<sockaddr_in>.size)
        withoutDelay()
    }

    /// From an address of this machine, such as 127.0.0.2.
    public init(port: UInt16, from source: String) throws {
        fd = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var own = loopback(port: 0), address = loopback(port: port)
        own.sin_addr.s_addr = inet_addr(source)
        let result = withUnsafePointer(to: &own) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(fd, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
        guard result == 0 else {
            close(fd)
            throw TestFailure("cannot send from \(source): \(String(cString: strerror(errno)))")
        }
        try connect(&address, MemoryLayout<sockaddr_in>.size)
        withoutDelay()
    }

    /// Reads little at a time: the kernel holds at most so many bytes for it, and as many again.
    public init(port: UInt16, receiveBuffer: Int32) throws {
        fd = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var size = receiveBuffer, address = loopback(port: port)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout<Int32>.size))
        try connect(&address, MemoryLayout<sockaddr_in>.size)
        withoutDelay()
    }

    public init(ipv6Port port: UInt16) throws {
        fd = socket(AF_INET6, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_in6()
        address.sin6_family = sa_family_t(AF_INET6)
        address.sin6_port = port.bigEndian
        address.sin6_addr = in6addr_loopback
        try connect(&address, MemoryLayout<sockaddr_in6>.size)
        withoutDelay()
    }

    public init(unixSocket path: String) throws {
        fd = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { room in room.copyBytes(from: path.utf8.prefix(room.count - 1)) }
        try connect(&address, MemoryLayout<sockaddr_un>.size)
    }

    deinit { close(fd) }

    private func connect<Address>(_ address: inout Address, _ size: Int) throws {
        let result = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { Glibc.connect(fd, $0, socklen_t(size)) }
        }
        guard result == 0 else {
            close(fd)
            throw TestFailure("cannot connect: \(String(cString: strerror(errno)))")
        }
        var limit = timeval(tv_sec: 20, tv_usec: 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    }

    private func withoutDelay() {
        var one: Int32 = 1
        setsockopt(fd, Int32(IPPROTO_TCP), TCP_NODELAY, &one, 4)
    }

    /// Break a TCP connection off: the server gets a RST and no FIN.
    public func reset() throws {
        var nothing = sockaddr()
        nothing.sa_family = sa_family_t(AF_UNSPEC)
        guard Glibc.connect(fd, &nothing, socklen_t(MemoryLayout<sockaddr>.size)) == 0
        else { throw TestFailure("cannot reset: \(String(cString: strerror(errno)))") }
    }

    public func send(_ bytes: some Collection<UInt8>) throws {
        let bytes = Array(bytes)
        var sent = 0
        while sent < bytes.count {
            let result = bytes[sent...].withUnsafeBytes { Glibc.send(fd, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            guard result > 0 else { throw TestFailure("cannot send: \(String(cString: strerror(errno)))") }
            sent += result
        }
    }

    /// Read until `text` has come; everything read.
    @discardableResult
    public func receive(until text: String) throws -> String {
        var received: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 1 << 16)
        let wanted = Array(text.utf8)
        while !contains(received, wanted) {
            let count = recv(fd, &piece, piece.count, 0)
            guard count > 0 else {
                throw TestFailure("the server closed the connection or was silent: \(String(decoding: received.suffix(200), as: UTF8.self))")
            }
            received += piece[..<count]
        }
        return String(decoding: received, as: UTF8.self)
    }

    /// Wait until the server has answered everything sent so far: an ECHO of a word of our own comes back.
    public func settle() throws {
        let word = "settled-\(UInt64.random(in: 0...UInt64.max))"
        try send(request("ECHO", word))
        try receive(until: "\(word)\r\n")
    }

    /// A bulk or simple reply to one request, as text.
    public func reply(to words: String...) throws -> String {
        try send(request(words))
        var text = try receive(until: "\r\n")
        if text.hasPrefix("$"), let length = Int(text.dropFirst().prefix { $0.isNumber }) {
            while text.utf8.count < length + String(length).utf8.count + 5 { text += try receive(until: "\r\n") }
        }
        return text
    }

    private func contains(_ bytes: [UInt8], _ wanted: [UInt8]) -> Bool {
        Data(bytes).range(of: Data(wanted)) != nil
    }
}

/// A request as an array of bulk strings.
public func request(_ words: String...) -> [UInt8] { request(words) }

public func request(_ words: [String]) -> [UInt8] { request(words.map { Array($0.utf8) }) }

public func request(_ words: [[UInt8]]) -> [UInt8] {
    Array("*\(words.count)\r\n".utf8) + words.flatMap { Array("$\($0.count)\r\n".utf8) + $0 + [13, 10] }
}
