import Glibc
import KilnKernel
import KilnModel
import KilnTargets
import RESP
import SystemPackage

/// A client of the target's own, to ask it for its statistics.
final class ServerConnection {
    private let descriptor: Int32
    private let target: Target
    /// What it is asked for, in messages.
    private let purpose: String

    /// Connects by TCP in the target's network namespace, or by its unix socket, authenticates if there is a password, and makes sure
    /// that the target is who answers.
    init(_ target: Target, user: String?, password: String?, for purpose: String = "--audit") throws {
        self.target = target
        self.purpose = purpose
        let opened = Self.connect(target)
        guard opened >= 0 else {
            throw Failure("cannot connect to pid \(target.pid) (\(target.comm)) for \(purpose): \(errorText(-opened)). It needs a TCP port or a unix socket on which the server listens.")
        }
        descriptor = opened
        if let password {
            let reply = try ask(["AUTH"] + (user.map { [$0] } ?? []) + [password])
            guard reply == .simpleString(RESPString("OK".utf8)) else {
                throw Failure("pid \(target.pid) refuses the password for \(purpose) (\(Self.word(reply))). Give another in REDISCLI_AUTH or --audit-password-file.")
            }
        }
        // Once: a connection stays with who accepted it.
        guard try statistics("server").processID == target.pidInNamespace ?? target.pid else {
            throw Failure("pid \(target.pid) can't be asked for \(purpose): another process answers on its port.")
        }
    }

    deinit { close(descriptor) }

    /// `section`: of INFO. One name, because servers before Redis 7 take no more.
    func statistics(_ section: String) throws -> ServerStatistics {
        let reply = try ask(["INFO", section])
        guard case .bulkString(let text) = reply else {
            throw Failure("pid \(target.pid) doesn't answer INFO for \(purpose) (\(Self.word(reply))). If it wants a password, give it in REDISCLI_AUTH or --audit-password-file.")
        }
        return ServerStatistics(parsing: String(decoding: text.bytes, as: UTF8.self))
    }

    /// Asks for nothing, and waits for the answer.
    func ping() throws {
        let reply = try ask(["PING"])
        guard reply == .simpleString(RESPString("PONG".utf8)) else { throw Failure("pid \(target.pid) doesn't answer PING (\(Self.word(reply))).") }
    }

    /// The first word of an error and no more: what follows may quote the request, and the password with it.
    private static func word(_ reply: RESPValue) -> String {
        guard case .error(let text) = reply else { return "no error, and not what was asked for" }
        return String(String(decoding: text.bytes, as: UTF8.self).prefix { !$0.isWhitespace }.prefix(32))
    }

    /// The reply to one request.
    private func ask(_ words: [String]) throws -> RESPValue {
        var request = Array("*\(words.count)\r\n".utf8)
        for word in words { request += Array("$\(word.utf8.count)\r\n\(word)\r\n".utf8) }
        var sent = 0
        while sent < request.count {
            let result = request[sent...].withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            guard result > 0 else { throw lost(errno) }
            sent += result
        }
        var reply: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        let deadline = Snapshot.now() + Self.patience
        while true {
            // A reply that doesn't end, or a server that sends a byte now and then.
            guard Snapshot.now() < deadline, reply.count < Self.longest.announced else { throw lost(ETIMEDOUT) }
            let result = recv(descriptor, &buffer, buffer.count, 0)
            guard result > 0 else { throw lost(result == 0 ? ECONNRESET : errno) }
            reply += buffer[..<result]
            do {
                let decoded = try decodeRESP(reply, limits: Self.longest)
                if decoded.isWhole { return decoded.value }
            } catch {
                throw Failure("pid \(target.pid) (\(target.comm)) doesn't answer in RESP, which \(purpose) needs. Give a Redis server's --pid or --port.")
            }
        }
    }

    private func lost(_ code: Int32) -> Failure {
        Failure("the connection to pid \(target.pid) for \(purpose) was lost: \(errorText(code)).")
    }

    /// What a server may take for one answer.
    private static let patience = Nanoseconds(5_000_000_000)
    /// What is taken for one: an INFO has some kilobytes.
    private static let longest = RESPLimits(announced: 1 << 24)

    /// A connected socket, or the negative errno. Only addresses on which the target itself listens are tried.
    private static func connect(_ target: Target) -> Int32 {
        var result: Int32 = -ENOENT
        for socket in listening(target) where result < 0 {
            result = target.hasOtherNetwork
                ? inNetworkNamespace(ofProcess: target.pid) { connectTCP(socket) } : connectTCP(socket)
        }
        for path in target.unixSockets where result < 0 && !path.hasPrefix("@") { result = connectUnix("/proc/\(target.pid)/root\(path)") }
        return result
    }

    private static func listening(_ target: Target) -> [ListeningTCPSocket] {
        guard let process = try? ProcFS().process(target.pid), let sockets = try? process.listeningTCPSockets(),
              let own = try? process.socketInodes(among: Set(sockets.map(\.inode)))
        else { return [] }
        return sockets.filter { own.contains($0.inode) }.sorted { ($0.port, $0.address.bytes.count) < ($1.port, $1.address.bytes.count) }
    }

    /// Where it listens on all addresses, by loopback.
    private static func connectTCP(_ socket: ListeningTCPSocket) -> Int32 {
        let bytes = socket.address.bytes, any = bytes.allSatisfy { $0 == 0 }
        if bytes.count == 4 {
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = socket.port.bigEndian
            address.sin_addr.s_addr = UInt32(INADDR_LOOPBACK).bigEndian
            if !any { withUnsafeMutableBytes(of: &address.sin_addr) { $0.copyBytes(from: bytes) } }
            return connected(AF_INET, &address)
        }
        var address = sockaddr_in6()
        address.sin6_family = sa_family_t(AF_INET6)
        address.sin6_port = socket.port.bigEndian
        address.sin6_addr = in6addr_loopback
        if !any { withUnsafeMutableBytes(of: &address.sin6_addr) { $0.copyBytes(from: bytes) } }
        return connected(AF_INET6, &address)
    }

    private static func connectUnix(_ path: String) -> Int32 {
        var address = sockaddr_un()
        guard path.utf8.count < MemoryLayout.size(ofValue: address.sun_path) else { return -ENAMETOOLONG }
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        return connected(AF_UNIX, &address)
    }

    private static func connected<Address>(_ family: Int32, _ address: inout Address) -> Int32 {
        let descriptor = socket(family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return -errno }
        // For connecting, too.
        var limit = timeval(tv_sec: 5, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        let result = withUnsafeBytes(of: &address) { bytes in
            Glibc.connect(descriptor, bytes.baseAddress?.assumingMemoryBound(to: sockaddr.self), socklen_t(bytes.count))
        }
        guard result != 0 else { return descriptor }
        let code = errno
        close(descriptor)
        return -code
    }
}
