import Foundation
import Glibc
import Synchronization
import TestSupport
import Testing

@testable import KilnServer

/// Real connections on loopback.
struct HTTPServerTests {
    /// A server whose `/slow` is answered by the test.
    private final class Served: Sendable {
        let server: HTTPServer
        let slow: Slow

        final class Slow: Sendable {
            let exchanges = Mutex<[Exchange]>([])
            let gone = Atomic(0)
        }

        init(token: String? = nil, _ change: (inout ServerLimits) -> Void = { _ in }) throws {
            let slow = Slow()
            var limits = ServerLimits(), router = Router()
            (limits.requestTime, limits.idleTime) = (.seconds(30), .seconds(5))
            change(&limits)
            router.add("/metrics") { _, exchange in exchange.answer(.line("numbers")) }
            router.add("/echo/*") { request, exchange in
                exchange.answer(.line("\(request.path) \(request.query.map { "\($0.name)=\($0.value)" })"))
            }
            router.add("/big") { _, exchange in exchange.answer(ServerResponse(type: "application/octet-stream", body: [UInt8](repeating: 7, count: 8 << 20))) }
            router.add("/stream") { _, exchange in
                var response = ServerResponse(type: "application/octet-stream", body: [])
                response.hasUnknownLength = true
                exchange.answer(response)
            }
            router.add("/slow") { _, exchange in
                exchange.whenGone { slow.gone.add(1, ordering: .relaxed) }
                slow.exchanges.withLock { $0.append(exchange) }
            }
            self.slow = slow
            server = try HTTPServer(host: "127.0.0.1", port: 0, token: token.map { Array($0.utf8) }, limits: limits, router: router)
        }

        deinit { server.stop() }

        func waiting(_ count: Int) -> Bool { eventually { self.slow.exchanges.withLock { $0.count } == count } }
    }

    private func answer(_ served: Served, _ request: String) throws -> String {
        let client = try Client(served.server.port)
        client.send(request)
        return client.readToEnd()
    }

    private let end = " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"

    @Test func answersWithLengthAndType() throws {
        let served = try Served()
        let answer = try answer(served, "GET /metrics" + end)
        #expect(answer.hasPrefix("HTTP/1.1 200 OK\r\n") && answer.hasSuffix("\r\n\r\nnumbers\n"))
        #expect(answer.contains("Content-Length: 8\r\n") && answer.contains("Content-Type: text/plain; charset=utf-8\r\n"))
    }

    @Test func headHasNoBody() throws {
        let answer = try answer(try Served(), "HEAD /metrics" + end)
        #expect(answer.hasPrefix("HTTP/1.1 200 OK\r\n") && answer.contains("Content-Length: 8\r\n") && answer.hasSuffix("\r\n\r\n"))
    }

    /// Not even the end of a body in pieces.
    @Test func headWithoutALengthHasNoBody() throws {
        let answer = try answer(try Served(), "HEAD /stream HTTP/1.1\r\nHost: h\r\n\r\n")
        #expect(answer.contains(" 200 OK\r\n") && answer.contains("Connection: close\r\n") && answer.hasSuffix("\r\n\r\n") && !answer.contains("\r\n0\r\n"))
        #expect(!answer.lowercased().contains("transfer-encoding") && !answer.lowercased().contains("content-length"))
    }

    @Test(arguments: ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"])
    func otherMethodsAreRefused(_ method: String) throws {
        let answer = try answer(try Served(), "\(method) /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody")
        if method == "BREW" { return #expect(answer.hasPrefix("HTTP/1.1 405") || answer.hasPrefix("HTTP/1.1 400")) }
        #expect(answer.hasPrefix("HTTP/1.1 405 ") && answer.contains("Allow: GET, HEAD\r\n"))
    }

    @Test(arguments: ["/", "/metrics/x", "/metricss", "//metrics", "/../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/echo/", "/debug/pprof/heap"])
    func otherPathsAreNotFound(_ path: String) throws { #expect(try answer(try Served(), "GET \(path)" + end).hasPrefix("HTTP/1.1 404 ")) }

    @Test(arguments: ["/%", "/%zz", "/%00", "/echo/%ff", "metrics"])
    func badlyEncodedPathsAreRefused(_ path: String) throws { #expect(try answer(try Served(), "GET \(path)" + end).hasPrefix("HTTP/1.1 400 ")) }

    @Test func decodesPathAndQuery() throws {
        let served = try Served()
        #expect(try answer(served, "GET /echo/a%2Fb?x=1&y=%26+z&x=2&n" + end).hasSuffix(#"["echo", "a/b"] ["x=1", "y=& z", "x=2", "n="]"# + "\n"))
        #expect(try answer(served, "GET http://other/echo/c?d=e" + end).hasSuffix(#"["echo", "c"] ["d=e"]"# + "\n"))
    }

    @Test(arguments: [
        "\u{16}\u{3}\u{1}\u{2}", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\r\n\r\nnonsense\r\n\r\n", "GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    ])
    func garbageIsRefusedAndClosed(_ garbage: String) throws {
        let served = try Served(), client = try Client(served.server.port)
        client.send(garbage + String(repeating: "A", count: 300) + "\r\n\r\n")
        let answer = client.readToEnd()
        #expect(client.isClosed)
        #expect(answer.isEmpty || answer.hasPrefix("HTTP/1.1 400 ") || answer.hasPrefix("HTTP/1.1 505 "), "\(answer)")
    }

    @Test func requestsInOnePacketAreAnsweredInOrder() throws {
        let served = try Served()
        let client = try Client(served.server.port)
        client.send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\nGET /echo/1 HTTP/1.1\r\nHost: h\r\n\r\nGET /echo/2" + end)
        #expect(served.waiting(1))
        usleep(100_000)
        served.slow.exchanges.withLock { $0 }[0].answer(.line("slow"))
        let answer = client.readToEnd()
        let bodies = answer.components(separatedBy: "\r\n\r\n").dropFirst().map { $0.split(separator: "\n").first.map(String.init) ?? "" }
        #expect(bodies == ["slow", #"["echo", "1"] []"#, #"["echo", "2"] []"#])
    }

    @Test func bodiesAreDroppedOrRefused() throws {
        let served = try Served()
        let client = try Client(served.server.port)
        client.send("GET /metrics HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n" + String(repeating: "x", count: 1_000) + "GET /echo/after" + end)
        #expect(client.readToEnd().hasSuffix(#"["echo", "after"] []"# + "\n"))
        #expect(try answer(served, "POST /metrics HTTP/1.1\r\nHost: h\r\nContent-Length: 999999999999\r\n\r\nx").hasPrefix("HTTP/1.1 413 "))
        let chunk = "8000\r\n" + String(repeating: "x", count: 0x8000) + "\r\n"
        #expect(try answer(served, "GET /metrics HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk + chunk + chunk).hasPrefix("HTTP/1.1 413 "))
    }

    @Test func longHeadersAreRefused() throws {
        let served = try Served()
        #expect(try answer(served, "GET /metrics HTTP/1.1\r\nA: " + String(repeating: "a", count: 20_000) + "\r\n\r\n").hasPrefix("HTTP/1.1 431 "))
        #expect(try answer(served, "GET /" + String(repeating: "a", count: 5_000) + end).hasPrefix("HTTP/1.1 414 "))
        // One without an end is cut off.
        let client = try Client(served.server.port)
        client.send("GET /metrics HTTP/1.1\r\nA: ")
        for _ in 0..<400 where !client.send(String(repeating: "a", count: 10_000)) { break }
        _ = client.readToEnd()
        #expect(try answer(served, "GET /metrics" + end).hasPrefix("HTTP/1.1 200 "))
    }

    @Test func slowClientsAreClosed() throws {
        let served = try Served { $0.requestTime = .seconds(1) }
        let halves = try ["", "GET /met", "GET /metrics HTTP/1.1\r\n", "GET /metrics HTTP/1.1\r\nContent-Length: 5\r\n\r\nab"].map { half in
            let client = try Client(served.server.port)
            client.send(half)
            return client
        }
        for client in halves { #expect(client.readToEnd() == "") }
        #expect(eventually { served.server.connectionCount == 0 })
    }

    @Test func whoGoesFreesItsPlace() throws {
        let served = try Served()
        var client: Client? = try Client(served.server.port)
        client?.send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
        #expect(served.waiting(1))
        client = nil
        #expect(eventually { served.slow.gone.load(ordering: .relaxed) == 1 && served.server.connectionCount == 0 })
        served.slow.exchanges.withLock { $0 }[0].answer(.line("nobody reads this"))
    }

    @Test func aThousandConnectionsKeepNobodyOut() throws {
        // Both ends of each connection are descriptors of this process.
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        limit.rlim_cur = min(max(limit.rlim_cur, 4096), limit.rlim_max)
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        let served = try Served { $0.connections = 32 }
        let busy = try Client(served.server.port)
        busy.send("GET /slow HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        #expect(served.waiting(1))
        var idle: [Client] = []
        for _ in 0..<1_000 { idle.append(try Client(served.server.port)) }
        #expect(try answer(served, "GET /metrics" + end).hasSuffix("numbers\n"))
        #expect(served.server.connectionCount <= 32 && served.server.refusedCount >= 900)
        // Whoever waits for an answer keeps its connection.
        served.slow.exchanges.withLock { $0 }[0].answer(.line("slow"))
        #expect(busy.readToEnd().hasSuffix("slow\n"))
    }

    @Test func responsesThatNobodyTakesAreBounded() throws {
        let served = try Served { ($0.pendingResponses, $0.responseTime) = (20 << 20, .seconds(5)) }
        let greedy = try (0..<4).map { _ in
            let client = try Client(served.server.port)
            client.send("GET /big HTTP/1.1\r\nHost: h\r\n\r\n")
            return client
        }
        #expect(eventually(within: 5) { (try? self.answer(served, "GET /big" + self.end))?.hasPrefix("HTTP/1.1 503 ") == true })
        #expect(try answer(served, "GET /metrics" + end).hasPrefix("HTTP/1.1 200 "))
        #expect(eventually { served.server.connectionCount == 0 })
        #expect(try answer(served, "GET /big" + end).utf8.count > 8 << 20)
        withExtendedLifetime(greedy) {}
    }

    @Test func onlyTheTokenOpens() throws {
        let served = try Served(token: "s3cret-token")
        for header in [
            "", "Authorization: Bearer wrong\r\n", "Authorization: Basic s3cret-token\r\n", "Authorization: Bearer s3cret-toke\r\n",
            "Authorization: Bearer s3cret-tokenx\r\n", "Authorization: Bearer s3cret-token\r\nAuthorization: Bearer x\r\n",
        ] {
            let answer = try answer(served, "GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\(header)\r\n")
            #expect(
                answer.hasPrefix("HTTP/1.1 401 ") && answer.contains("WWW-Authenticate: Bearer realm=\"kiln\"\r\n") && !answer.contains("numbers"), "\(header)")
        }
        for scheme in ["Bearer", "bearer"] {
            #expect(try answer(served, "GET /metrics HTTP/1.1\r\nConnection: close\r\nAuthorization: \(scheme) s3cret-token\r\n\r\n").hasSuffix("numbers\n"))
        }
    }

    @Test func anAddressThatIsTakenIsAnError() throws {
        let served = try Served()
        #expect(throws: (any Error).self) { _ = try HTTPServer(host: "127.0.0.1", port: served.server.port, router: Router()) }
    }
}

/// A connection; closed when nobody has it.
private final class Client {
    private let descriptor: Int32
    /// The other side has closed it.
    private(set) var isClosed = false

    init(_ port: Int) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let connected = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
        try #require(connected == 0)
        var timeout = timeval(tv_sec: 10, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
    }

    deinit { close(descriptor) }

    @discardableResult func send(_ text: String) -> Bool {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let sent = bytes.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            if sent <= 0 { return false }
            bytes = bytes.dropFirst(sent)
        }
        return true
    }

    /// Until the other side closes, or 10 s have passed without a byte.
    func readToEnd() -> String {
        var all: [UInt8] = [], piece = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = recv(descriptor, &piece, piece.count, 0)
            if count <= 0 {
                isClosed = count == 0 || errno == ECONNRESET
                return String(decoding: all, as: UTF8.self)
            }
            all += piece[..<count]
        }
    }
}
