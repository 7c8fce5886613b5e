import Glibc
import KilnKernel
import KilnModel
import KilnTargets
import RESP
import SystemPackage

/// A client of the target's own, to ask it for its statistics.
final class ServerConnection {
    private var descriptor: Int32 = -1
    private let target: Target
    /// Of the last request.
    private(set) var requestBytes: UInt64 = 0
    /// What it is asked for, in messages.
    private let purpose: String

    /// Connects by TCP in the target's network namespace, or by its unix socket, authenticates if there is a password, and makes sure
    /// that the target is who answers.
    init(_ target: Target, user: String?, password: String?, for purpose: String = "--audit") throws {
        self.target = target
        self.purpose = purpose
        try open()
        if let password {
            let reply = try ask(["AUTH"] + (user.map { [$0] } ?? []) + [password])
            guard reply == .simpleString(RESPString("OK".utf8)) else { throw refusal(reply, of: "AUTH") }
        }
        // Once: a connection stays with who accepted it.
        guard try statistics("server").processID == target.pidInNamespace ?? target.pid else {
            throw Failure("pid \(target.pid) can't be asked for \(purpose): another process answers on its port.")
        }
    }

    /// Connect where a PING is answered, whatever the answer is. A port that takes TLS alone is passed over.
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
                // The connection is closed behind these two.
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
            throw Failure("cannot connect to pid \(target.pid) (\(target.comm)) for \(purpose): \(errorText(failed)). It needs a TCP port or a unix socket on which the server listens.")
        }
        throw Failure("pid \(target.pid) (\(target.comm)) takes encrypted connections alone, and \(purpose) makes plain ones. Give the server a plain port (`port`) or a unix socket (`unixsocket`), or leave \(purpose) out.")
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// `section`: of INFO. One name, because servers before Redis 7 take no more.
    func statistics(_ section: String) throws -> ServerStatistics {
        let reply = try ask(["INFO", section])
        guard case .bulkString(let text) = reply else { throw refusal(reply, of: "INFO") }
        return ServerStatistics(parsing: String(decoding: text.bytes, as: UTF8.self))
    }

    /// Asks for nothing, and waits for the answer.
    func ping() throws {
        let reply = try ask(["PING"])
        guard reply == .simpleString(RESPString("PONG".utf8)) else { throw refusal(reply, of: "PING") }
    }

    /// Why a command was not answered as it should have been, and what to do. Of the server's words only the first is printed: those
    /// behind it may quote the request, and the password with it.
    private func refusal(_ reply: RESPValue, of command: String) -> Failure {
        guard case .error = reply else {
            return Failure("pid \(target.pid) (\(target.comm)) answers \(command) for \(purpose) with something else than was asked for. Give a Redis server's --pid or --port.")
        }
        let text = Self.text(reply)
        let word = String(text.prefix { !$0.isWhitespace }.prefix(32)), rest = text.dropFirst(word.count)
        let credentials = "REDISCLI_AUTH or --audit-password-file"
        let because = switch word {
        case "NOAUTH": "it wants a password. Give it in \(credentials)."
        case "NOPERM": "the user may not run \(command). Allow it (`ACL SETUSER name +info`), or give another one in --audit-user, with the password in \(credentials)."
        case "WRONGPASS": "it refuses the password. Give another in \(credentials), and the user in --audit-user if it is not `default`."
        case "DENIED": "it is in protected mode, and answers only connections from a loopback address. Let it listen on one (`bind 127.0.0.1`) or on a unix socket (`unixsocket`)."
        case "LOADING": "it is still loading its data. Try again when it has (`loading:0` in INFO)."
        case "BUSY": "it is busy with a script or a function. Try again when that has ended, or end it (`SCRIPT KILL`, `FUNCTION KILL`)."
        case "ERR" where rest.hasPrefix(" max number of clients"):
            "it has as many clients as it takes (`maxclients`). Close some, or raise the limit (`CONFIG SET maxclients`)."
        case "ERR" where rest.hasPrefix(" unknown command"):
            "it knows no command of this name. It may have been renamed (`rename-command` in the server's configuration): leave \(purpose) out."
        case "ERR" where command == "AUTH": "it refuses to authenticate; it may have no password. Take the one in \(credentials) away."
        default: "its answer begins with \(printableText(word.utf8)). Look what the server's log says, or leave \(purpose) out."
        }
        return Failure("pid \(target.pid) (\(target.comm)) doesn't answer \(command) for \(purpose): \(because)")
    }

    /// An error's text.
    private static func text(_ reply: RESPValue) -> String {
        guard case .error(let text) = reply else { return "" }
        return String(decoding: text.bytes, as: UTF8.self)
    }

    /// What ended a connection: an errno.
    private struct Lost: Error {
        var code: Int32

        var isClosed: Bool { code == ECONNRESET || code == EPIPE }
    }

    private func failure(_ lost: Lost) -> Failure {
        let who = "pid \(target.pid) (\(target.comm))"
        return lost.code == EAGAIN || lost.code == ETIMEDOUT
            ? Failure("\(who) has not answered \(purpose) for \(Int(Self.patience.seconds)) s. It may be stopped or busy with one command: try again.")
            : Failure("the connection to \(who) for \(purpose) was lost: \(errorText(lost.code)). The server may have ended, or closed it: look what its log says.")
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
            // A server that refuses a connection says why, and closes it without reading.
            guard result > 0 else { break }
            sent += result
        }
        var reply: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        let deadline = MonotonicClock.now() + Self.patience
        while true {
            // A reply that doesn't end, or a server that sends a byte now and then.
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

    /// Whether bytes begin as an alert or a handshake of TLS.
    private static func isTLS(_ bytes: [UInt8]) -> Bool { bytes.count >= 2 && (bytes[0] == 0x15 || bytes[0] == 0x16) && bytes[1] == 3 }

    /// Whether a server answers the beginning of a handshake there.
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

    /// What a server may take for one answer.
    private static let patience = Nanoseconds(5_000_000_000)
    /// What is taken for one: an INFO has some kilobytes.
    private static let longest = RESPLimits(announced: 1 << 24)

    /// Where a client can reach the target.
    private enum Place {
        case tcp(ListeningTCPSocket)
        case unix(String)
    }

    /// Only those on which the target itself listens.
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
