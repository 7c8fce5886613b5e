import Glibc
import KilnKernel
import KilnModel
import KilnTargets
import RESP
import SystemPackage

/// A connection to the target, to ask it for its statistics.
final class ServerConnection {
    private var descriptor: Int32 = -1
    private let target: Target
    /// Bytes of the last request.
    private(set) var requestBytes: UInt64 = 0
    /// The purpose of the connection, for messages.
    private let purpose: String

    /// Connects by TCP in the target's network namespace, or by its unix socket; authenticates if there is a password; and verifies that
    /// the target itself answers.
    init(_ target: Target, user: String?, password: String?, for purpose: String = "--audit") throws {
        self.target = target
        self.purpose = purpose
        try open()
        if let password {
            let reply = try ask(["AUTH"] + (user.map { [$0] } ?? []) + [password])
            guard reply == .simpleString(RESPString("OK".utf8)) else { throw refusal(reply, of: "AUTH") }
        }
        // Once is enough: a connection stays with the process that accepted it.
        guard try statistics("server").processID == target.pidInNamespace ?? target.pid else {
            throw Failure("pid \(target.pid) can't be asked for \(purpose): another process answers on its port.")
        }
    }

    /// Connects to the first place that answers PING in any way. A port that accepts only TLS is skipped.
    private func open() throws {
        var failed: Int32 = ENOENT, encrypted = false
        for place in Self.places(of: target) {
            let socket = Self.connect(to: place, of: target)
            guard socket >= 0 else {
                failed = -socket
                continue
            }
            descriptor = socket
            do {
                let reply = try exchange(["PING"])
                // The server closes the connection after these two errors.
                if ["DENIED", "ERR max"].contains(where: { Self.text(reply).hasPrefix($0) }) { throw refusal(reply, of: "PING") }
                return
            } catch let lost as Lost where lost.isClosed && Self.takesTLS(place, of: target) {
                encrypted = true
                close(descriptor)
                descriptor = -1
            } catch let lost as Lost {
                throw failure(lost)
            }
        }
        guard encrypted else {
            throw Failure(
                "cannot connect to pid \(target.pid) (\(target.comm)) for \(purpose): \(errorText(failed)). kiln needs a TCP port or a unix socket on which the server listens."
            )
        }
        throw Failure(
            "pid \(target.pid) (\(target.comm)) accepts only encrypted connections, and \(purpose) needs a plain one. Give the server a plain port (`port`) or a unix socket (`unixsocket`), or leave \(purpose) out."
        )
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// `section`: of INFO. Only one, because servers before Redis 7 accept no more.
    func statistics(_ section: String) throws -> ServerStatistics {
        let reply = try ask(["INFO", section])
        guard case .bulkString(let text) = reply else { throw refusal(reply, of: "INFO") }
        return ServerStatistics(parsing: String(decoding: text.bytes, as: UTF8.self))
    }

    /// Sends PING, and waits for the reply.
    func ping() throws {
        let reply = try ask(["PING"])
        guard reply == .simpleString(RESPString("PONG".utf8)) else { throw refusal(reply, of: "PING") }
    }

    /// The reason why a command failed, and what to do. Prints only the first word of the server's message, because the rest may quote the
    /// request with the password.
    private func refusal(_ reply: RESPValue, of command: String) -> Failure {
        guard case .error = reply else {
            return Failure(
                "pid \(target.pid) (\(target.comm)) sends a reply to \(command) for \(purpose) that no Redis server sends. Give a Redis server's --pid or --port."
            )
        }
        let text = Self.text(reply)
        let word = String(text.prefix { !$0.isWhitespace }.prefix(32)), rest = text.dropFirst(word.count)
        let credentials = "REDISCLI_AUTH or --audit-password-file"
        let because =
            switch word {
            case "NOAUTH": "it requires a password. Give it in \(credentials)."
            case "NOPERM":
                "the user may not run \(command). Allow it (`ACL SETUSER name +info`), or give another one in --audit-user, with the password in \(credentials)."
            case "WRONGPASS": "it refuses the password. Give another in \(credentials), and the user in --audit-user if it is not `default`."
            case "DENIED":
                "it is in protected mode, and answers only connections from a loopback address. Let it listen on one (`bind 127.0.0.1`) or on a unix socket (`unixsocket`)."
            case "LOADING": "it is still loading its data. Try again when it has (`loading:0` in INFO)."
            case "BUSY": "it is busy with a script or a function. Try again when that has ended, or end it (`SCRIPT KILL`, `FUNCTION KILL`)."
            case "ERR" where rest.hasPrefix(" max number of clients"):
                "it has reached its limit of clients (`maxclients`). Close some, or raise the limit (`CONFIG SET maxclients`)."
            case "ERR" where rest.hasPrefix(" unknown command"):
                "it has no command of this name. It may have been renamed (`rename-command` in the server's configuration): leave \(purpose) out."
            case "ERR" where command == "AUTH": "it refuses to authenticate; it may have no password. Remove the one in \(credentials)."
            default: "its answer begins with \(printableText(word.utf8)). Look at the server's log, or leave \(purpose) out."
            }
        return Failure("pid \(target.pid) (\(target.comm)) doesn't answer \(command) for \(purpose): \(because)")
    }

    /// An error's text.
    private static func text(_ reply: RESPValue) -> String {
        guard case .error(let text) = reply else { return "" }
        return String(decoding: text.bytes, as: UTF8.self)
    }

    /// The error that ended a connection: an errno.
    private struct Lost: Error {
        var code: Int32

        var isClosed: Bool { code == ECONNRESET || code == EPIPE }
    }

    private func failure(_ lost: Lost) -> Failure {
        let server = "pid \(target.pid) (\(target.comm))"
        return lost.code == EAGAIN || lost.code == ETIMEDOUT
            ? Failure("\(server) has not answered \(purpose) for \(Int(Self.patience.seconds)) s. It may be stopped or busy with one command: try again.")
            : Failure("the connection to \(server) for \(purpose) was lost: \(errorText(lost.code)). The server may have ended, or closed it: look at its log.")
    }

    /// The reply to one request.
    private func ask(_ words: [String]) throws -> RESPValue {
        do { return try exchange(words) } catch let lost as Lost { throw failure(lost) }
    }

    private func exchange(_ words: [String]) throws -> RESPValue {
        var request = Array("*\(words.count)\r\n".utf8)
        for word in words { request += Array("$\(word.utf8.count)\r\n\(word)\r\n".utf8) }
        requestBytes = UInt64(request.count)
        var sent = 0
        while sent < request.count {
            let result = request[sent...].withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            // A server that refuses a connection sends the reason, and closes it without reading.
            guard result > 0 else { break }
            sent += result
        }
        var reply: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        let deadline = MonotonicClock.now() + Self.patience
        while true {
            // Limits for a reply that never ends, or that arrives byte by byte.
            guard MonotonicClock.now() < deadline, reply.count < Self.longest.announced else { throw Lost(code: ETIMEDOUT) }
            let result = recv(descriptor, &buffer, buffer.count, 0)
            guard result > 0 else { throw Lost(code: result == 0 ? ECONNRESET : errno) }
            reply += buffer[..<result]
            if Self.isTLS(reply) { throw Lost(code: ECONNRESET) }
            do {
                let decoded = try decodeRESP(reply, limits: Self.longest)
                if decoded.isWhole { return decoded.value }
            } catch {
                throw Failure("pid \(target.pid) (\(target.comm)) doesn't answer in RESP, which \(purpose) needs. Give a Redis server's --pid or --port.")
            }
        }
    }

    /// Whether the bytes begin a TLS alert or handshake.
    private static func isTLS(_ bytes: [UInt8]) -> Bool { bytes.count >= 2 && (bytes[0] == 0x15 || bytes[0] == 0x16) && bytes[1] == 3 }

    /// Whether a server there answers the beginning of a TLS handshake.
    private static func takesTLS(_ place: Place, of target: Target) -> Bool {
        let socket = connect(to: place, of: target)
        guard socket >= 0 else { return false }
        defer { close(socket) }
        // A ClientHello of TLS 1.2: version, 32 random bytes, no session, one cipher suite, no compression.
        let hello: [UInt8] = [3, 3] + (0..<32).map { _ in .random(in: 0...255) } + [0, 0, 2, 0xc0, 0x2f, 1, 0]
        let message = [1, 0, 0, UInt8(hello.count)] + hello
        let record = [0x16, 3, 1, 0, UInt8(message.count)] + message
        _ = record.withUnsafeBytes { send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
        var answer = [UInt8](repeating: 0, count: 2)
        return recv(socket, &answer, answer.count, Int32(MSG_WAITALL)) == answer.count && isTLS(answer)
    }

    /// The time limit for one reply.
    private static let patience = Nanoseconds(5_000_000_000)
    /// The size limit for one reply; INFO has some kilobytes.
    private static let longest = RESPLimits(announced: 1 << 24)

    /// An address of the target.
    private enum Place {
        case tcp(ListeningTCPSocket)
        case unix(String)
    }

    /// Only addresses on which the target itself listens.
    private static func places(of target: Target) -> [Place] {
        listening(target).map { .tcp($0) } + target.unixSockets.filter { !$0.hasPrefix("@") }.map { .unix("/proc/\(target.pid)/root\($0)") }
    }

    /// A connected socket, or the negative errno.
    private static func connect(to place: Place, of target: Target) -> Int32 {
        switch place {
        case .tcp(let socket): target.hasOtherNetwork ? inNetworkNamespace(ofProcess: target.pid) { connectTCP(socket) } : connectTCP(socket)
        case .unix(let path): connectUnix(path)
        }
    }

    private static func listening(_ target: Target) -> [ListeningTCPSocket] {
        guard let process = try? ProcFS().process(target.pid), let sockets = try? process.listeningTCPSockets(),
            let own = try? process.socketInodes(among: Set(sockets.map(\.inode)))
        else { return [] }
        return sockets.filter { own.contains($0.inode) }.sorted { ($0.port, $0.address.bytes.count) < ($1.port, $1.address.bytes.count) }
    }

    /// Connects by loopback if the socket listens on all addresses.
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
        // The send timeout also limits connecting.
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
