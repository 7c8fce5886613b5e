import Testing

@testable import KilnTargets

@Suite struct DiscoveryTests {
    let proc: FixtureProc
    init() throws { proc = try FixtureProc() }

    // MARK: What a process has started

    @Test func descendantsAreFoundThroughAllGenerations() throws {
        try proc.add(100, "postgres")
        try proc.add(110, "postgres", parent: 100)
        try proc.add(90, "postgres", parent: 110)
        try proc.add(120, "postgres", parent: 100, state: "Z (zombie)")
        try proc.add(130, "sh", parent: 99)
        #expect(proc.procfs.descendants(of: 100) == [90, 110])
        #expect(proc.procfs.descendants(of: 90) == [])
        // As numbers that were given again while others were read may make it look.
        try proc.add(200, "sh", parent: 210)
        try proc.add(210, "sh", parent: 200)
        #expect(proc.procfs.descendants(of: 200) == [210])
    }

    // MARK: The one server

    @Test func theOneRunningServerIsFoundWithItsPortsAndSockets() throws {
        try proc.listenUnix("/run/redis.sock", inode: 12)
        try proc.listen(22, inode: 5)
        try proc.add(50, "sshd", exe: "/usr/sbin/sshd", sockets: [5])
        try proc.addRedis(4711, ports: [(6379, 10), (16379, 11)])
        let found = try proc.discovery.targets(pids: [], ports: [])
        #expect(found.map(\.pid) == [4711])
        #expect(found.first?.comm == "redis-server" && found.first?.server == .redis)
        #expect(found.first?.exe == "/usr/bin/redis-check-rdb")
        #expect(found.first?.ports == [6379, 16379])
        #expect(found.first?.unixSockets == [])
        #expect(found.first?.startTime == 5000 && found.first?.uid == 999)
        #expect(found.first?.container == nil && found.first?.hasOtherNetwork == false)
    }

    @Test func aServerOnAUnixSocketAloneIsListedWithItsPath() throws {
        try proc.listenUnix("/run/redis.sock", inode: 12)
        try proc.add(70, "redis-server", exe: "/usr/bin/redis-server", sockets: [12])
        try proc.add(71, "valkey-server", exe: "/usr/bin/valkey-server")
        #expect(try proc.discovery.knownServers().map(\.unixSockets) == [["/run/redis.sock"], []])
        #expect(
            message { () throws(DiscoveryError) in try proc.discovery.targets(pids: [], ports: []) } == """
                2 servers are running. Choose with --pid or --port:
                  pid 70  unix /run/redis.sock  redis-server   no container
                  pid 71  no port               valkey-server  no container
                """)
    }

    @Test func severalServersAreListedWithPidPortAndContainer() throws {
        let container = "0::/system.slice/docker-\(ContainerTests.id).scope\n"
        try proc.addRedis(812, ports: [(6379, 10)])
        try proc.addRedis(4711, ports: [(6379, 20), (6380, 21)], network: 4_026_532_345, cgroup: container)
        try proc.addRedis(4800, ports: [(7000, 30)], network: 4_026_532_999)
        #expect(
            message { () throws(DiscoveryError) in try proc.discovery.targets(pids: [], ports: []) } == """
                3 servers are running. Choose with --pid or --port:
                  pid 812   port 6379        redis-server  no container
                  pid 4711  ports 6379,6380  redis-server  docker 0123456789ab
                  pid 4800  port 7000        redis-server  network namespace 4026532999
                """)
    }

    @Test func aServerWhoseDescriptorsAreHiddenHasAnUnknownPort() throws {
        try proc.addRedis(70, ports: [(6379, 10)])
        try proc.addRedis(71, ports: [(6380, 11)])
        try proc.remove("71/fd")
        #expect(
            message { () throws(DiscoveryError) in try proc.discovery.targets(pids: [], ports: []) } == """
                2 servers are running. Choose with --pid or --port:
                  pid 70  port 6379     redis-server  no container
                  pid 71  port unknown  redis-server  no container
                """)
    }

    @Test func noServerAtAllSaysHowToNameOne() {
        #expect(
            message { () throws(DiscoveryError) in try proc.discovery.targets(pids: [], ports: []) }
                == "no running redis-server, valkey-server, redict-server or keydb-server was found. Name the process with --pid or --port.")
    }

    @Test func sentinelsAndForkedChildrenAreNoServers() throws {
        try proc.addRedis(100, ports: [(6379, 10)])
        // Titled, and with a title that a template has emptied of its meaning.
        try proc.add(101, "redis-server", exe: "/usr/bin/redis-check-rdb", arguments: ["redis-rdb-bgsave *:6379"], parent: 100)
        try proc.add(102, "redis-server", exe: "/usr/bin/redis-check-rdb", arguments: ["cache"], parent: 100)
        try proc.add(103, "redis-sentinel", exe: "/usr/bin/redis-check-rdb", arguments: ["redis-sentinel *:26379 [sentinel]"])
        #expect(try proc.discovery.targets(pids: [], ports: []).map(\.pid) == [100])
        #expect(try proc.discovery.targets(pids: [102], ports: []).map(\.role) == [.serverChild(title: "fork of 100")])
        #expect(try proc.discovery.targets(pids: [101], ports: []).first?.server == nil)
    }

    @Test func aSentinelAloneIsShownAsWhatItIs() throws {
        try proc.add(103, "redis-server", exe: "/usr/bin/redis-check-rdb", arguments: ["redis-server *:26379 [sentinel]"])
        #expect(
            message { () throws(DiscoveryError) in try proc.discovery.targets(pids: [], ports: []) } == """
                no running redis-server, valkey-server, redict-server or keydb-server was found. Name the process with --pid or --port. These processes serve no data:
                  pid 103  no port  redis-server (sentinel)  no container
                """)
    }

    // MARK: By pid

    @Test func aPidIsFoundWhateverItRuns() throws {
        try proc.add(50, "nginx", exe: "/usr/sbin/nginx", start: 77)
        let found = try proc.discovery.targets(pids: [50], ports: [])
        #expect(found.map(\.comm) == ["nginx"] && found.first?.server == nil && found.first?.startTime == 77)
    }

    @Test func aPidThatDoesNotExistIsNamed() {
        #expect(
            message { () throws(DiscoveryError) in try proc.discovery.targets(pids: [4711], ports: []) }
                == "no process has pid 4711, or it has just ended. Look the pid up again, or name the server with --port.")
        #expect(
            message { () throws(DiscoveryError) in try proc.discovery.targets(pids: [-3], ports: []) }
                == "-3 is not a process id. Give a number that ps shows.")
    }

    @Test func aThreadIdNamesItsProcess() throws {
        try proc.addRedis(100, ports: [(6379, 10)])
        try proc.add(104, "bio_close_file", exe: "/usr/bin/redis-check-rdb", group: 100)
        #expect(
            message { () throws(DiscoveryError) in try proc.discovery.targets(pids: [104], ports: []) }
                == "104 is a thread (bio_close_file) of process 100 (redis-server). Profile the process: --pid 100")
    }

    @Test func aKernelThreadIsRefused() throws {
        try proc.add(2, "kthreadd", parent: 0, flags: 0x20_8040)
        #expect(
            message { () throws(DiscoveryError) in try proc.discovery.targets(pids: [2], ports: []) }
                == "pid 2 (kthreadd) is a kernel thread: it has no program and no clients. Give the pid of a process.")
    }

    @Test func aZombieIsRefusedAndIsNoServer() throws {
        try proc.add(30, "sh", exe: "/bin/dash")
        try proc.add(31, "redis-server", parent: 30, state: "Z (zombie)")
        #expect(
            message { () throws(DiscoveryError) in try proc.discovery.targets(pids: [31], ports: []) }
                == "pid 31 (redis-server) has ended and is only waiting for its parent, pid 30 (sh), to notice. There is nothing left to profile.")
        #expect(try proc.discovery.knownServers().isEmpty)
    }

    @Test func aRecordThatIsNotUnderstoodIsAnErrorAndNoCrash() throws {
        try proc.add(60, "x")
        try proc.write("60/stat", "60 (x")
        #expect(
            message { () throws(DiscoveryError) in try proc.discovery.targets(pids: [60], ports: []) }
                == "cannot read about process 60 (x) in /proc: its stat or status has an unknown format.")
    }

    @Test func aProcessInAnotherPidNamespaceKnowsItsPidThere() throws {
        try proc.add(4711, "redis-server", exe: "/usr/bin/redis-server", pidNamespace: 4_026_532_500, namespacePIDs: [4711, 1])
        #expect(try proc.discovery.targets(pids: [4711], ports: []).map(\.pidInNamespace) == [1])
    }

    // MARK: By port

    @Test func aPortIsFoundInWhateverNetworkNamespaceItIs() throws {
        try proc.addRedis(4711, ports: [(6390, 20)], network: 4_026_532_345)
        let found = try proc.discovery.targets(pids: [], ports: [6390])
        #expect(found.map(\.pid) == [4711] && found.first?.hasOtherNetwork == true)
    }

    @Test func pidsAndPortsThatMeanTheSameProcessGiveItOnce() throws {
        try proc.addRedis(100, ports: [(6379, 10), (6380, 11)])
        try proc.addRedis(200, ports: [(7000, 20)])
        #expect(try proc.discovery.targets(pids: [100, 100], ports: [7000, 6380, 6379, 7000]).map(\.pid) == [100, 200])
    }

    @Test func aPortNobodyListensOnListsWhatTheServersListenOn() throws {
        try proc.addRedis(100, ports: [(6379, 10)])
        #expect(
            message { () throws(DiscoveryError) in try proc.discovery.targets(pids: [], ports: [6380]) } == """
                no process listens on TCP port 6380. Running servers:
                  pid 100  port 6379  redis-server  no container
                """)
    }

    @Test func aPortNobodyListensOnWithoutAnyServerSaysSo() {
        #expect(
            message { () throws(DiscoveryError) in try proc.discovery.targets(pids: [], ports: [6380]) }
                == "no process listens on TCP port 6380, and no redis-server, valkey-server, redict-server or keydb-server is running. Check the port, or name the process with --pid."
        )
        #expect(
            message { () throws(DiscoveryError) in try proc.discovery.targets(pids: [], ports: [0]) }
                == "0 is not a port that a server can listen on. Give a port from 1 to 65535, or the process with --pid.")
    }

    @Test func theSamePortInTwoNamespacesIsAChoice() throws {
        try proc.addRedis(100, ports: [(6379, 10)])
        try proc.addRedis(4711, ports: [(6379, 20)], network: 4_026_532_345, cgroup: "0::/docker/\(ContainerTests.id)\n")
        #expect(
            message { () throws(DiscoveryError) in try proc.discovery.targets(pids: [], ports: [6379]) } == """
                2 processes listen on port 6379. Choose with --pid:
                  pid 100   port 6379  redis-server  no container
                  pid 4711  port 6379  redis-server  docker 0123456789ab
                """)
    }

    @Test func amongSeveralListenersTheOneKnownServerIsMeant() throws {
        try proc.addRedis(4711, ports: [(6379, 10)])
        // Holds the same socket, as systemd does for a service that it activates.
        try proc.add(1, "systemd", exe: "/lib/systemd/systemd", parent: 0, sockets: [10])
        #expect(try proc.discovery.targets(pids: [], ports: [6379]).map(\.pid) == [4711])
    }

    @Test func aSocketWhoseProcessCannotBeReadIsExplained() throws {
        try proc.listen(2049, inode: 99, address: "0100007F")
        try proc.add(50, "sshd", exe: "/usr/sbin/sshd")
        #expect(
            message { () throws(DiscoveryError) in try proc.discovery.targets(pids: [], ports: [2049]) }
                == "port 2049 is open (127.0.0.1:2049), but no process that kiln can read holds the socket. Reading it needs root or CAP_SYS_PTRACE; a socket of the kernel itself has no process to profile."
        )
    }

    // MARK: The host

    @Test func aMissingProcFileSystemIsNamed() {
        let discovery = TargetDiscovery(procfs: ProcFS(root: "/nonexistent/proc"))
        let expected =
            "cannot list processes in /nonexistent/proc: No such file or directory. kiln needs the proc file system: mount -t proc proc /nonexistent/proc"
        #expect(message { () throws(DiscoveryError) in try discovery.targets(pids: [], ports: []) } == expected)
        #expect(message { () throws(DiscoveryError) in try discovery.targets(pids: [1], ports: []) } == expected)
        #expect(message { () throws(DiscoveryError) in try discovery.targets(pids: [], ports: [1]) } == expected)
    }

    @Test func kilnInANestedPidNamespaceIsNoticed() throws {
        #expect(proc.procfs.pidNamespace == .initial)
        let nested = try FixtureProc()
        try nested.add(901, "kiln", pidNamespace: 4_026_532_777)
        try nested.remove("self")
        try nested.link("self", to: "901")
        #expect(nested.procfs.pidNamespace == .nested(inode: 4_026_532_777))
        #expect(throws: DiscoveryError.nestedPIDNamespace(inode: 4_026_532_777)) { try nested.discovery.requireInitialPIDNamespace() }
        #expect(
            DiscoveryError.nestedPIDNamespace(inode: 4_026_532_777).description
                == "kiln runs in its own pid namespace (pid:[4026532777]), but BPF programs see the host's pids. Run kiln on the host, or its container with --pid=host."
        )
    }
}
