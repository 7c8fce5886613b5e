import Foundation
import Glibc
import TestSupport
import Testing

/// A server as audits meet it: a build and its threads.
struct AuditedServer: CustomTestStringConvertible, Sendable {
    var build: ServerBuild
    var arguments: [String] = []

    var testDescription: String { ([build.rawValue] + arguments).joined(separator: " ") }

    static let all: [AuditedServer] = ServerBuild.available().flatMap { build in
        let threads: [Int] =
            switch build {
            case .redis8: [1, 2, 4]
            case .valkey8, .valkey9: [1, 4]
            default: [1]
            }
        return threads.map { AuditedServer(build: build, arguments: $0 == 1 ? [] : ["--io-threads", "\($0)"]) }
    }
}

/// Clients that people have, and what they ask for.
enum AuditedClient: String, CaseIterable {
    case redisBenchmark7, redisBenchmark8, valkeyBenchmark, redisCli, redisCliPiped, redisCliInteractive, redisPy, redisPyRESP2, sockets, blocking

    func run(_ server: RedisServer, of build: ServerBuild) throws {
        let port = "\(server.port)"
        switch self {
        case .redisBenchmark7: try end("redis-benchmark", ["-p", port, "-q", "-n", "1009", "-t", "get,set,lpush,lrange_100,mset"])
        case .redisBenchmark8:
            guard let root = ServerBuild.redis8.root else { return }
            try end("chroot", [root, "/usr/bin/redis-benchmark", "-p", port, "-q", "-n", "2003", "-P", "16", "-t", "get,set,zadd"])
        case .valkeyBenchmark:
            guard let root = ServerBuild.valkey8.root else { return }
            try end("chroot", [root, "/usr/bin/valkey-benchmark", "-p", port, "-q", "-n", "1009", "-3", "--dbnum", "2", "-t", "get,set,incr"])
        case .redisCli:
            for words in [["SET", "a", "1"], ["GET", "a"], ["-3", "HGETALL", "h"], ["LPUSH", "a", "x"], ["--scan"]] {
                try end("redis-cli", ["-p", port] + words)
            }
        case .redisCliPiped: try shell("printf 'SET a 1\\nGET a\\nNOSUCH\\nCLIENT NOSUCH\\nGET\\n' | redis-cli -3 -p \(port)")
        case .redisCliInteractive:
            // What is typed before the prompt is there is thrown away.
            try PythonClient(
                port: server.port,
                """
                import fcntl, pty, struct, termios
                pid, terminal = pty.fork()
                if pid == 0:
                    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
                    os.execvp("redis-cli", ["redis-cli", "-p", str(port)])
                seen = b""
                def until(text):
                    global seen
                    while text not in seen: seen += os.read(terminal, 65536)
                    seen = seen[seen.index(text) + len(text):]
                until(b"> ")
                for line, reply in ((b"SET a 1", b"OK"), (b"GET a", b'"1"'), (b"CLIENT NOSUCH", b"(error)")):
                    os.write(terminal, line + b"\\r")
                    until(reply)
                    until(b"> ")
                os.write(terminal, b"QUIT\\r")
                os.waitpid(pid, 0)
                """
            ).finish()
        case .redisPy, .redisPyRESP2:
            guard let library = ServerBuild.redisPy else { return }
            let arguments = self == .redisPy ? "" : ", protocol=2"
            let python = try PythonClient(
                port: server.port, interpreter: "python3",
                """
                sys.path.insert(0, '\(library)')
                import redis
                client = redis.Redis(port=port\(arguments), client_name='audited', db=1)
                for number in range(31): client.set('k%d' % number, number); client.get('k%d' % number)
                pipeline = client.pipeline(transaction=True)
                for number in range(7): pipeline.incr('n')
                pipeline.execute()
                for ask in (lambda: client.lpush('k1', 'x'), lambda: client.execute_command('NOSUCH'), lambda: client.evalsha('0' * 40, 0)):
                    try: ask(); sys.exit('it was answered')
                    except redis.exceptions.ResponseError: pass
                client.register_script("return redis.call('GET', KEYS[1])")(keys=['k1'])
                listener = client.pubsub()
                listener.subscribe('c'); client.publish('c', 'm')
                for message in range(2): listener.get_message(timeout=5)
                listener.close()
                client.close()
                """)
            try python.finish()
        case .sockets: try sockets(server, of: build)
        case .blocking: try blocking(server)
        }
    }

    /// Errors, scripts, transactions, what a server doesn't know.
    private func sockets(_ server: RedisServer, of build: ServerBuild) throws {
        let client = try Connection(port: server.port)
        for words in [
            ["SET", "k", "1"], ["CLIENT", "SETINFO", "LIB-NAME", "x"], ["CLIENT", "MAINT_NOTIFICATIONS", "ON"], ["CONFIG", "NOSUCH"], ["NOSUCH"], ["GET"],
            ["LPUSH", "k", "x"], ["EVAL", "redis.call('GET', 'k') redis.pcall('LPUSH', 'k', 'x') redis.pcall('LPUSH') return 1", "0"],
            ["EVAL", "return redis.call('LPUSH', 'k', 'x')", "0"], ["EVAL", "local e = redis.pcall('LPUSH', 'k', 'x') return {e, e}", "0"],
            ["EVAL", "return {err='A:B#C d'}", "0"], ["EVAL", "return {err='NOBLANK'}", "0"],
            ["EVAL", "return {err='\(String(repeating: "X", count: 35)) d'}", "0"],
            ["MULTI"], ["SET", "a", "1"], ["GET", "a"], ["EXEC"], ["MULTI"], ["SET", "a"], ["GET", "a"], ["EXEC"], ["MULTI"], ["GET", "a"], ["DISCARD"],
            ["MULTI"], ["LPUSH", "a", "x"], ["INCR", "a"], ["EXEC"], ["WATCH", "a"], ["SET", "a", "2"], ["MULTI"], ["GET", "a"], ["EXEC"],
            ["ACL", "SETUSER", "u", "on", ">of a test", "+get", "~*"],
        ] { try client.send(request(words)) }
        try client.settle()
        let user = try Connection(port: server.port)
        for words in [["AUTH", "u", "wrong"], ["AUTH", "u", "of a test"], ["SET", "a", "b"], ["GET", "k"]] { try user.send(request(words)) }
        try user.receive(until: "$1\r\n1\r\n")
        let quiet = try Connection(port: server.port)
        try quiet.send(request("CLIENT", "REPLY", "OFF") + request("LPUSH", "k", "x") + request("NOSUCH") + request("CLIENT", "REPLY", "ON"))
        try quiet.receive(until: "+OK\r\n")
        let broken = try Connection(port: server.port)
        try broken.send(Array("*1\r\n$-1\r\n".utf8))
        try broken.receive(until: "-ERR Protocol error")
        let leaving = try Connection(port: server.port)
        try leaving.send(request("SET", "q", "1") + request("QUIT") + request("GET", "q") + request("HGET", "q", "x"))
        try leaving.receive(until: "+OK\r\n+OK\r\n")
        if build == .falkordb {
            for words in [
                ["GRAPH.QUERY", "g", "CREATE (:a {b: 1})"], ["GRAPH.RO_QUERY", "g", "MATCH (n) RETURN n"], ["GRAPH.QUERY", "g", "nonsense"], ["GRAPH.LIST"],
            ] {
                try client.send(request(words))
            }
            try client.settle()
        }
        // Valkey 9 reads its configuration anew.
        try client.send(request("DEBUG", "RELOAD") + request("SCRIPT", "FLUSH"))
        try client.settle()
    }

    /// Commands that wait, some of them for ever.
    private func blocking(_ server: RedisServer) throws {
        let client = try Connection(port: server.port)
        func id(_ connection: Connection) throws -> String { String(try connection.reply(to: "CLIENT", "ID").dropFirst().prefix { $0.isNumber }) }
        func blocked() -> Int? {
            (try? client.reply(to: "INFO", "clients"))?.split(separator: "\r\n").first { $0.hasPrefix("blocked_clients:") }.flatMap {
                Int($0.drop { $0 != ":" }.dropFirst())
            }
        }
        guard let earlier = blocked() else { throw TestFailure("no number of blocked clients") }
        func wait(for number: Int) throws {
            guard eventually({ blocked() == earlier + number }) else { throw TestFailure("\(number) clients are not blocked") }
        }
        let first = try Connection(port: server.port), second = try Connection(port: server.port)
        let firstID = try id(first)
        try first.send(request("BLPOP", "none", "0"))
        try wait(for: 1)
        _ = try client.reply(to: "CLIENT", "UNBLOCK", firstID, "ERROR")
        try first.receive(until: "-UNBLOCKED")
        try second.send(request("XADD", "s", "*", "a", "b") + request("XGROUP", "CREATE", "s", "g", "$"))
        try second.receive(until: "+OK\r\n")
        try second.send(request("XREADGROUP", "GROUP", "g", "c", "BLOCK", "0", "STREAMS", "s", ">"))
        try wait(for: 1)
        _ = try client.reply(to: "XGROUP", "DESTROY", "s", "g")
        try second.receive(until: "-NOGROUP")
        try second.send(request("BLPOP", "list", "0"))
        try wait(for: 1)
        _ = try client.reply(to: "RPUSH", "list", "1", "2")
        try second.receive(until: "list")
        do {
            let leaving = try Connection(port: server.port)
            try leaving.send(request("BLPOP", "none", "0"))
            try wait(for: 1)
        }
        try wait(for: 0)
        let killed = try Connection(port: server.port), killedID = try id(killed)
        try killed.send(request("BRPOP", "none", "0"))
        try wait(for: 1)
        _ = try client.reply(to: "CLIENT", "KILL", "ID", killedID)
        try client.send(request("MULTI") + request("BLPOP", "none", "0") + request("EXEC") + request("WAIT", "0", "10"))
        try client.settle()
    }

    private func end(_ program: String, _ arguments: [String]) throws {
        let status = try Child(program, arguments).wait()
        guard status == 0 else { throw TestFailure("\(program) ended with \(status)") }
    }

    private func shell(_ script: String) throws { try end("sh", ["-c", script]) }
}

extension KernelTests {
    /// Audits of every server with every client's traffic: each difference has its reason, and a request that kiln can't have seen has none.
    @Suite struct AuditMatrixTests {
        struct Pair: CustomTestStringConvertible, Sendable {
            var server: AuditedServer
            var client: AuditedClient
            var testDescription: String { "\(server.testDescription), \(client.rawValue)" }
        }

        /// Each server and each client at least once; KILN_AUDITS=all: all pairs.
        static let pairs: [Pair] = AuditedServer.all.enumerated().flatMap { row, server in
            AuditedClient.allCases.enumerated().compactMap { column, client in
                ProcessInfo.processInfo.environment["KILN_AUDITS"] == "all" || (row + 3 * column) % 7 == 0 ? Pair(server: server, client: client) : nil
            }
        }

        @Test(arguments: pairs)
        func nothingIsUnexplained(pair: Pair) throws {
            let server = try RedisServer(pair.server.arguments, build: pair.server.build)
            // Some that were there before, as in production.
            let earlier = try Connection(port: server.port), blocked = try Connection(port: server.port), queuing = try Connection(port: server.port)
            try earlier.settle()
            try blocked.send(request("BLPOP", "earlier", "0"))
            try queuing.send(request("MULTI") + request("GET", "a"))
            try queuing.receive(until: "+QUEUED\r\n")
            let session = try Session.recording(pid: server.pid, ["--audit", "-F", "0", "--no-syscalls"]) {
                try earlier.settle()
                try pair.client.run(server, of: pair.server.build)
                try queuing.send(request("GET", "b"))
                try queuing.receive(until: "+QUEUED\r\n")
                try queuing.send(request("EXEC"))
                try earlier.send(request("LPUSH", "earlier", "1"))
                try blocked.receive(until: "earlier")
                try earlier.settle()
            }
            let audit = try #require(session.record.audit)
            #expect(audit.differences.filter { $0.hasSuffix("unexplained") }.isEmpty)
            #expect(!session.output.contains("unexplained"))
            #expect(audit.requestBytes != nil)
        }

        /// Behind a word in what read() brings the server finds a request more, which was in no socket.
        private static let injection = """
            #define _GNU_SOURCE
            #include <dlfcn.h>
            #include <string.h>
            #include <unistd.h>
            ssize_t read(int fd, void *buffer, size_t size)
            {
                static const char word[] = "add-a-request\\r\\n", request[] = "*2\\r\\n$3\\r\\nGET\\r\\n$1\\r\\nx\\r\\n";
                static ssize_t (*own)(int, void *, size_t);
                ssize_t length;

                if (!own)
                    own = (ssize_t (*)(int, void *, size_t))dlsym(RTLD_NEXT, "read");
                length = own(fd, buffer, size);
                if (length < (ssize_t)sizeof word - 1 || size - length < sizeof request - 1 ||
                    memcmp((char *)buffer + length - (sizeof word - 1), word, sizeof word - 1))
                    return length;
                memcpy((char *)buffer + length, request, sizeof request - 1);
                return length + sizeof request - 1;
            }
            """

        static let threaded = AuditedServer.all.filter { $0.arguments.isEmpty || $0.arguments == ["--io-threads", "4"] }

        @Test(arguments: threaded)
        func aRequestThatKilnCanNotHaveSeenIsUnexplained(audited: AuditedServer) throws {
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            try Self.injection.write(toFile: directory + "/injection.c", atomically: true, encoding: .utf8)
            guard try Child("cc", ["-O2", "-shared", "-fPIC", "-o", directory + "/injection.so", directory + "/injection.c", "-ldl"]).wait() == 0 else {
                throw TestFailure("cc failed")
            }
            let server = try RedisServer(audited.arguments, build: audited.build, preload: directory + "/injection.so")
            func audit(_ load: (Connection) throws -> Void) throws -> [String: String] {
                let session = try Session.recording(pid: server.pid, ["--audit", "-F", "0", "--no-syscalls"]) {
                    let client = try Connection(port: server.port)
                    for _ in 0..<7 { _ = try client.reply(to: "GET", "x") }
                    try load(client)
                    try client.settle()
                }
                let audit = try #require(session.record.audit)
                #expect(session.output.contains("unexplained: please report it"))
                return Dictionary(
                    uniqueKeysWithValues: audit.commands.compactMap { row in row.difference.map { (row.command, $0) } }
                        + [("request bytes", audit.requestBytes?.difference ?? "")])
            }
            func inject(_ client: Connection) throws {
                try client.send(request("ECHO", "add-a-request"))
                try client.receive(until: "$-1\r\n")
            }
            // Nothing but the request, then beside what may make calls unseen, and has made none.
            #expect(try audit(inject) == ["GET": "the server has 1 more: unexplained", "request bytes": "the server has 20 more: unexplained"])
            let withScript = try audit { client in
                try inject(client)
                _ = try client.reply(to: "EVAL", "return 1", "0")
                try client.send(request("CLIENT", "NOSUCH") + request("MULTI") + request("SET", "a", "1") + request("DISCARD"))
            }
            #expect(withScript["request bytes"] == "the server has 20 more: unexplained")
        }

        @Test func aMastersAndAReplicasLinkHasItsTerm() throws {
            let master = try RedisServer(["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"])
            let replica = try RedisServer(["--replicaof", "127.0.0.1", "\(master.port)"])
            let client = try Connection(port: master.port), asked = try Connection(port: replica.port)
            func linked() -> Bool { (try? asked.reply(to: "INFO", "replication"))?.contains("master_link_status:up") == true }
            guard eventually(linked) else { throw TestFailure("the replica did not come up") }
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(["-p", "\(master.pid)", "-p", "\(replica.pid)", "-o", directory + "/s", "--audit", "-F", "0", "--no-syscalls"])
            try #require(kiln.attached())
            for number in 0..<31 { _ = try client.reply(to: "SET", "k", "\(number)") }
            _ = try client.reply(to: "EVAL", "redis.call('SET', 'a', 1) redis.call('SET', 'b', 2) return 1", "0")
            // The master counts what the replica acknowledges each second, the replica what comes by its link.
            usleep(1_300_000)
            try asked.settle()
            #expect(kiln.stop() == 0)
            func differences(_ server: RedisServer) throws -> [String: String] {
                let audit = try #require(try Session(directory: directory + "/s/redis-server-\(server.pid)").record.audit)
                #expect(audit.differences.filter { $0.hasSuffix("unexplained") }.isEmpty)
                return Dictionary(uniqueKeysWithValues: audit.commands.compactMap { row in row.difference.map { (row.command, $0) } })
            }
            #expect(try #require(try differences(master)["SET"]).contains("calls made by scripts (1 ran)"))
            #expect(try #require(try differences(replica)["SET"]).contains("calls of the replication link"))
        }
    }
}
