import Testing

@testable import KilnTargets

@Suite struct ProcessRoleTests {
    private func role(_ comm: String, _ exe: String?, _ arguments: String...) -> ProcessRole {
        ProcessRole(comm: comm, exe: exe, arguments: arguments)
    }

    @Test func aServerIsKnownByAnyOfItsNames() {
        #expect(role("redis-server", nil) == .server(.redis))
        #expect(role("valkey-server", "/usr/local/bin/valkey-server", "valkey-server *:6379") == .server(.valkey))
        #expect(role("main", "/opt/keydb-server", "keydb") == .server(.keydb))
        #expect(role("x86-64-emulator", "/usr/bin/emulator", "/usr/bin/redis-server", "--port", "1") == .server(.redis))
    }

    @Test func redictIsKnownAsItsRelativesAre() {
        #expect(role("redict-server", "/usr/bin/redict-check-rdb", "/usr/bin/redict-server 127.0.0.1:6379 [cluster]") == .server(.redict))
        #expect(role("redict-server", "/usr/bin/redict-check-rdb", "/usr/bin/redict-server *:26379 [sentinel]") == .sentinel)
        #expect(role("redict-server", nil, "redict-rdb-bgsave *:6379") == .serverChild(title: "redict-rdb-bgsave"))
        #expect(role("redict-cli", "/usr/bin/redict-cli", "redict-cli") == .other)
    }

    @Test func aServerThatTheLoaderRunsIsKnownByItsArgument() {
        let loader = "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
        #expect(role("ld-linux-x86-64", loader, "/lib64/ld-linux-x86-64.so.2", "/usr/bin/redis-server 127.0.0.1:6379") == .server(.redis))
        #expect(role("ld-linux-x86-64", loader, "ld.so", "--inhibit-cache", "--library-path", "/opt/lib", "valkey-server", "--sentinel") == .sentinel)
        #expect(role("ld-linux-x86-64", loader, "/lib64/ld-linux-x86-64.so.2", "/usr/bin/true") == .other)
        #expect(role("ld-linux-x86-64", loader) == .other)
    }

    @Test func aServerThatNoNameTellsIsKnownByItsProgram() {
        func role(_ comm: String, _ arguments: String..., program: KnownServer?) -> ProcessRole {
            ProcessRole(comm: comm, exe: "/opt/" + comm, arguments: arguments) { program }
        }
        #expect(role("cache7", "cache7 *:6379", program: .valkey) == .server(.valkey))
        #expect(role("cache7", "/opt/cache7", "x.conf", "--sentinel", program: .redis) == .sentinel)
        #expect(role("cache7", "cache7", program: nil) == .other)
        // A tool may be the server's program under another name, which decides.
        #expect(role("redis-check-rdb", "redis-check-rdb", "dump.rdb", program: .redis) == .other)
        #expect(role("redis-server", "redis-rdb-bgsave *:6379", program: .redis) == .serverChild(title: "redis-rdb-bgsave"))
    }

    @Test func debiansServerIsALinkToRedisCheckRdb() {
        #expect(role("redis-server", "/usr/bin/redis-check-rdb", "/usr/bin/redis-server 127.0.0.1:6379") == .server(.redis))
        #expect(role("redis-check-rdb", "/usr/bin/redis-check-rdb", "redis-check-rdb", "dump.rdb") == .other)
    }

    @Test func aToolThatIsALinkToTheServerIsNone() {
        #expect(role("redis-check-rdb", "/usr/local/bin/redis-server", "redis-check-rdb", "dump.rdb") == .other)
        #expect(role("redis-benchmark", "/usr/bin/redis-benchmark", "redis-benchmark") == .other)
        #expect(role("redis-cli", "/usr/bin/redis-cli", "redis-cli") == .other)
    }

    @Test func aReplacedProgramFileIsStillTheServer() {
        #expect(role("main", "/usr/bin/redis-server (deleted)", "x") == .server(.redis))
    }

    @Test func aTitleWithAUnixSocketIsNotTakenForAPath() {
        #expect(role("x", nil, "redis-server unixsocket:/run/valkey-server") == .server(.redis))
    }

    @Test func sentinelIsNoServerHoweverItWasStarted() {
        #expect(role("redis-sentinel", "/usr/bin/redis-server", "/usr/bin/redis-sentinel *:26379 [sentinel]") == .sentinel)
        #expect(role("redis-server", "/usr/bin/redis-server", "/usr/bin/redis-server *:26379 [sentinel]") == .sentinel)
        #expect(role("redis-server", "/usr/bin/redis-server", "redis-server", "/etc/s.conf", "--sentinel") == .sentinel)
        #expect(role("valkey-sentinel", nil) == .sentinel)
        #expect(role("redis-server", "/usr/bin/redis-server", "redis-server *:6379 [cluster]") == .server(.redis))
    }

    @Test(arguments: ["redis-rdb-bgsave", "redis-aof-rewrite", "redis-rdb-to-slaves", "redis-module-fork", "keydb-aof-rewrite", "valkey-rdb-to-replicas"])
    func aForkedChildIsKnownByItsTitle(_ title: String) {
        #expect(role("redis-server", "/usr/bin/redis-server", title + " *:6379") == .serverChild(title: title))
    }

    @Test func aScriptNamedLikeTheServerIsAShell() {
        #expect(role("redis-server", "/usr/bin/dash", "/bin/sh", "/usr/local/bin/redis-server") == .other)
        #expect(role("redis-server", "/bin/busybox", "sh", "redis-server") == .other)
    }

    @Test func otherProcessesAreNoServers() {
        #expect(role("nginx", "/usr/sbin/nginx", "nginx: master process") == .other)
        #expect(role("kthreadd", nil) == .other)
        #expect(role("", nil, "") == .other)
    }

    @Test func aDockerProxyTellsWhereItsBytesGo() throws {
        let arguments = [
            "/usr/bin/docker-proxy", "-proto", "tcp", "-host-ip", "0.0.0.0", "-host-port", "16379", "-container-ip", "172.17.0.2", "-container-port", "6379",
            "-use-listen-fd",
        ]
        let proxy = try #require(ContainerProxy(comm: "docker-proxy", exe: "/usr/bin/docker-proxy", arguments: arguments))
        #expect(proxy.destination == .address(try #require(IPAddress("172.17.0.2")), port: 6379))
        #expect(ContainerProxy(comm: "docker-proxy", exe: nil, arguments: ["docker-proxy", "-container-ip"])?.destination == .unknown)
        #expect(
            ContainerProxy(comm: "docker-proxy", exe: nil, arguments: ["docker-proxy", "-container-ip", "1", "-container-port", "99999"])?.destination
                == .unknown)
    }

    @Test func otherProxiesAreKnownByName() {
        #expect(
            ContainerProxy(comm: "conmon", exe: "/usr/bin/conmon", arguments: ["/usr/bin/conmon", "--api-version", "1", "-c", "abc"])?.destination
                == .container(id: "abc"))
        #expect(ContainerProxy(comm: "pasta.avx2", exe: "/usr/bin/pasta.avx2", arguments: [])?.name == "pasta")
        #expect(ContainerProxy(comm: "lxd", exe: "/snap/lxd/bin/lxd", arguments: ["lxd", "forkproxy", "--", "1", "3"])?.name == "lxd forkproxy")
        #expect(ContainerProxy(comm: "lxd", exe: "/snap/lxd/bin/lxd", arguments: ["lxd", "--logfile"]) == nil)
        #expect(ContainerProxy(comm: "redis-server", exe: nil, arguments: []) == nil)
    }
}
