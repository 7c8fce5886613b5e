import Foundation
import Glibc
import TestSupport
import Testing

extension KernelTests {
    /// Many connections, and those that come and go.
    @Suite struct ConnectionTests {
        /// Of this process and what it starts, which the session's limits may not let grow.
        private static var openFiles: UInt64 {
            var limit = rlimit()
            return getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 ? UInt64(limit.rlim_max) : 0
        }

        /// 10,000 that stay, as far as open files go, and beside them one for each request.
        @Test(arguments: Capability.hooks)
        func manyConnectionsWithChurnAreCountedOnce(hook: String) throws {
            let connections = min(load(10_000), Self.openFiles - 1_000)
            let server = try RedisServer(["--maxclients", "\(connections + 500)"])
            let (kiln, counted, session) = try server.counts(hook: hook) {
                let staying = try Child(
                    "sh",
                    [
                        "-c", "ulimit -n $(ulimit -Hn); exec \"$@\"", "sh", "redis-benchmark", "-p", "\(server.port)", "-q",
                        "-t", "get", "-n", "\(load(100_003))", "-c", "\(connections)",
                    ])
                try server.benchmark(["-t", "set", "-n", "\(load(10_007))", "-c", "50", "-k", "0"])
                try #require(staying.wait() == 0)
            }
            #expect(kiln == counted)
            #expect(kiln["SET"] ?? 0 >= load(10_007) && kiln["GET"] ?? 0 >= load(100_003))
            // Who lay in the socket while thousands were served waited for more executions than are remembered.
            #expect(session.record.lost.keys.allSatisfy { $0 == "waits_without_name" }, "\(session.record.lost)")
            for name in ["GET", "SET"] { #expect(session.record.commands[name]?.phases["service"]?.count == kiln[name]) }
        }

        /// A request that is seen, and its reply that is not, would give each later reply to the command before.
        @Test(.enabled(if: PythonClient.isInstalled, "python3 is not installed"), arguments: Capability.hooks)
        func connectionsThatBeginWhileKilnAttachesArePaired(hook: String) throws {
            let server = try RedisServer()
            for _ in 0..<2 {
                let client = try PythonClient(
                    port: server.port,
                    """
                    clients = []
                    tell("ready")
                    while not os.path.exists(directory + "/go") and len(clients) < 900:
                        clients.append(connect())
                        clients[-1].sendall(request("INCR", "n"))
                        read_until(clients[-1], b"\\r\\n")
                    wait_for("go")
                    for client in clients * 2:
                        client.sendall(request("GET", "none"))
                        read_until(client, b"$-1\\r\\n")
                    tell("asked", 2 * len(clients))
                    """)
                _ = try client.told("ready")
                var asked: UInt64 = 0
                let session = try Session.recording(pid: server.pid, ["--hook", hook]) {
                    try client.allow("go")
                    asked = UInt64(try client.told("asked")) ?? 0
                    try client.finish()
                }
                // Of a connection that began before the first GET may be what proves a boundary.
                let gets = session.counts["GET"] ?? 0
                #expect((asked / 2...asked).contains(gets) && asked > 0)
                #expect(session.record.commands["GET"]?.phases["service"]?.count == gets)
                #expect(session.record.lost.keys.allSatisfy { $0 == "unsynchronised_bytes" }, "\(session.record.lost)")
            }
        }

        /// The next connection has the descriptor of one that was killed while it waited.
        @Test(.tags(.timing), arguments: Capability.hooks)
        func aBlockedClientThatIsKilledLeavesNoLatency(hook: String) throws {
            let server = try RedisServer()
            let session = try Session.recording(pid: server.pid, ["--hook", hook]) {
                let other = try Connection(port: server.port)
                for _ in 0..<11 {
                    let waiter = try Connection(port: server.port)
                    try waiter.send(request("BLPOP", "nothing", "0"))
                    usleep(20_000)
                    _ = try other.reply(to: "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                    let next = try Connection(port: server.port)
                    for _ in 0..<11 { _ = try next.reply(to: "GET", "x") }
                }
            }
            let blocked = try #require(session.record.commands["BLPOP"])
            #expect(blocked.count == 11 && blocked.phases["wait"] == nil && blocked.phases["service"] == nil)
            let get = try #require(session.record.commands["GET"]?.phases["service"])
            #expect(get.count == 121 && get.maxNs < 20_000_000)
            #expect(session.record.lost.isEmpty)
        }
    }
}
