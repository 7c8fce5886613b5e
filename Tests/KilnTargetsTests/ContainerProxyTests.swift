import Testing

@testable import KilnTargets

@Suite struct ContainerProxyTests {
    let proc: FixtureProc
    let other = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
    init() throws { proc = try FixtureProc() }

    private func search(_ port: UInt16) -> String {
        message { () throws(DiscoveryError) in try proc.discovery.targets(pids: [], ports: [port]) }
    }

    private func addDockerProxy(_ pid: Int32, port: UInt16, inode: UInt64, to address: String, _ inner: UInt16) throws {
        try proc.listen(port, inode: inode)
        try proc.add(
            pid, "docker-proxy", exe: "/usr/bin/docker-proxy",
            arguments: [
                "/usr/bin/docker-proxy", "-proto", "tcp", "-host-ip", "0.0.0.0", "-host-port", "\(port)", "-container-ip", address, "-container-port",
                "\(inner)",
            ],
            sockets: [inode])
    }

    private func addContainers() throws {
        try proc.address("172.17.0.2", network: 4_026_532_300)
        try proc.address("172.17.0.3", network: 4_026_532_301)
        try proc.addRedis(4711, ports: [(6379, 20)], network: 4_026_532_300, cgroup: "0::/docker/\(ContainerTests.id)\n")
        try proc.addRedis(4800, ports: [(6379, 30)], network: 4_026_532_301, cgroup: "0::/docker/\(other)\n")
    }

    @Test func aPortBehindDockerProxyNamesTheServerBehindIt() throws {
        try addContainers()
        try addDockerProxy(812, port: 16379, inode: 10, to: "172.17.0.3", 6379)
        #expect(
            search(16379) == """
                port 16379 belongs to docker-proxy (pid 812), which forwards it to 172.17.0.3:6379. Profile the server behind it with --pid:
                  pid 4800  port 6379  redis-server  docker fedcba987654
                """)
    }

    @Test func aPortPublishedUnderItsOwnNumberIsTheServers() throws {
        try proc.address("172.17.0.2", network: 4_026_532_300)
        try proc.addRedis(4711, ports: [(6379, 20)], network: 4_026_532_300, cgroup: "0::/docker/\(ContainerTests.id)\n")
        try addDockerProxy(812, port: 6379, inode: 10, to: "172.17.0.2", 6379)
        #expect(search(6379) == "found 4711")
    }

    @Test func theProxyDecidesAmongContainersThatListenOnTheSamePort() throws {
        try addContainers()
        try addDockerProxy(812, port: 6379, inode: 10, to: "172.17.0.3", 6379)
        #expect(
            search(6379) == """
                port 6379 belongs to docker-proxy (pid 812), which forwards it to 172.17.0.3:6379. Profile the server behind it with --pid:
                  pid 4800  port 6379  redis-server  docker fedcba987654
                The same port elsewhere:
                  pid 4711  port 6379  redis-server  docker 0123456789ab
                """)
    }

    /// The only server on that port number is not the one that the port leads to.
    @Test func aServerThatTheProxyDoesNotReachIsNotTakenForIt() throws {
        try proc.address("172.17.0.2", network: 4_026_532_300)
        try proc.address("172.17.0.3", network: 4_026_532_301)
        try proc.addRedis(4711, ports: [(6379, 20)], network: 4_026_532_300)
        try proc.addRedis(4800, ports: [(7000, 30)], network: 4_026_532_301)
        try addDockerProxy(812, port: 6379, inode: 10, to: "172.17.0.3", 7000)
        #expect(
            search(6379) == """
                port 6379 belongs to docker-proxy (pid 812), which forwards it to 172.17.0.3:7000. Profile the server behind it with --pid:
                  pid 4800  port 7000  redis-server  network namespace 4026532301
                The same port elsewhere:
                  pid 4711  port 6379  redis-server  network namespace 4026532300
                """)
    }

    @Test func oneProxyForEachAddressFamilyIsOneAnswer() throws {
        try addContainers()
        try addDockerProxy(812, port: 16379, inode: 10, to: "172.17.0.2", 6379)
        try addDockerProxy(818, port: 16379, inode: 11, to: "172.17.0.2", 6379)
        #expect(
            search(16379) == """
                port 16379 belongs to docker-proxy (pids 812, 818), which forwards it to 172.17.0.2:6379. Profile the server behind it with --pid:
                  pid 4711  port 6379  redis-server  docker 0123456789ab
                """)
    }

    @Test func aServerKilnDoesNotKnowIsStillNamedBehindTheProxy() throws {
        try proc.address("172.17.0.2", network: 4_026_532_300)
        try proc.listen(6379, inode: 20, network: 4_026_532_300)
        try proc.add(4711, "dragonfly", exe: "/usr/bin/dragonfly", network: 4_026_532_300, cgroup: "0::/docker/\(ContainerTests.id)\n", sockets: [20])
        try addDockerProxy(812, port: 16379, inode: 10, to: "172.17.0.2", 6379)
        #expect(search(16379).contains("pid 4711  port 6379  dragonfly  docker 0123456789ab"))
    }

    @Test func aProxyWithNothingBehindItSaysSo() throws {
        try addDockerProxy(812, port: 16379, inode: 10, to: "172.17.0.2", 6379)
        #expect(
            search(16379) == "port 16379 belongs to docker-proxy (pid 812), which forwards it to 172.17.0.2:6379. "
                + "No known server was found behind it: find its pid on the host and give it with --pid.")
    }

    @Test func aRootlessProxyOffersTheServersInOtherNamespaces() throws {
        try proc.addRedis(4711, ports: [(6379, 20)], network: 4_026_532_300, cgroup: "0::/machine.slice/libpod-\(ContainerTests.id).scope\n")
        try proc.addRedis(100, ports: [(7000, 30)])
        try proc.listen(16379, inode: 10)
        try proc.add(40, "rootlessport", exe: "/usr/libexec/podman/rootlessport", sockets: [10])
        #expect(
            search(16379) == """
                port 16379 belongs to rootlessport (pid 40), which forwards it into a container. Profile the server behind it with --pid:
                  pid 4711  port 6379  redis-server  podman 0123456789ab
                """)
    }

    @Test func conmonNamesItsContainer() throws {
        try proc.addRedis(4711, ports: [(6379, 20)], network: 4_026_532_300, cgroup: "0::/machine.slice/libpod-\(ContainerTests.id).scope\n")
        try proc.addRedis(4800, ports: [(6379, 30)], network: 4_026_532_301, cgroup: "0::/machine.slice/libpod-\(other).scope\n")
        try proc.listen(16379, inode: 10)
        try proc.add(40, "conmon", exe: "/usr/bin/conmon", arguments: ["/usr/bin/conmon", "-c", ContainerTests.id, "-u", ContainerTests.id], sockets: [10])
        #expect(
            search(16379) == """
                port 16379 belongs to conmon (pid 40), which forwards it into container 0123456789ab. Profile the server behind it with --pid:
                  pid 4711  port 6379  redis-server  podman 0123456789ab
                """)
    }

    @Test func aPortNobodyListensOnMentionsThePacketFilterWhenContainersRun() throws {
        try proc.addRedis(4711, ports: [(6379, 20)], network: 4_026_532_300, cgroup: "0::/docker/\(ContainerTests.id)\n")
        #expect(
            search(16379) == """
                no process listens on TCP port 16379. A published container port may be forwarded by the packet filter, which has no listening socket: use --pid. Running servers:
                  pid 4711  port 6379  redis-server  docker 0123456789ab
                """)
    }
}
