import Foundation
import Glibc
import SystemPackage
import TestSupport
import Testing

@testable import KilnTargets

/// Against the kernel's own /proc and real servers.
@Suite struct LiveTests {
    static let namespaces = ["unshare", "--net", "--pid", "--mount-proc", "--fork", "--kill-child"]
    static let canUnshare = (try? Child(namespaces[0], namespaces.dropFirst() + ["true"]).wait()) == 0
    static let kernelThread: Int32? = {
        let process = try? ProcFS().process(2)
        guard let process else { return nil }
        return (try? process.comm()) == "kthreadd" ? 2 : nil
    }()

    static let hasIPv6 = ((try? ProcFS().selfProcess().localAddresses()) ?? []).contains { $0.description == "::1" }

    let discovery = TargetDiscovery()

    private func search(pids: [Int32] = [], ports: [UInt16] = []) -> String {
        message { () throws(DiscoveryError) in try discovery.targets(pids: pids, ports: ports) }
    }

    /// Until the condition holds, at most 5 s.
    private func wait(until condition: () -> Bool) { _ = eventually(within: 5, condition) }

    // MARK: Servers

    @Test(.enabled(if: RedisServer.isInstalled, "redis-server is not installed"))
    func aRunningServerIsFoundByPortAndByPid() throws {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("kiln \(UUID().uuidString).sock").path
        let server = try RedisServer(["--unixsocket", path], hidden: true)
        let pid = try server.waitUntilListening()
        #expect(pid == server.pid)
        let byPort = try discovery.targets(pids: [], ports: [server.port])
        #expect(byPort == (try discovery.targets(pids: [pid], ports: [])))
        #expect(byPort == (try discovery.targets(pids: [pid], ports: [server.port])))
        let target = try #require(byPort.first)
        #expect(target.server == .redis && target.comm == "redis-server")
        #expect(target.ports == [server.port])
        #expect(target.unixSockets == [path])
        #expect(target.uid == getuid() && !target.hasOtherNetwork && target.pidInNamespace == nil)
    }

    @Test(
        .enabled(if: RedisServer.isInstalled, "redis-server is not installed"),
        .enabled(if: hasIPv6, "this host has no IPv6 loopback address"))
    func aServerOnIPv6AloneIsFoundByPort() throws {
        let server = try RedisServer(bind: ["::1"], hidden: true)
        let pid = try server.waitUntilListening()
        #expect(search(ports: [server.port]) == "found \(pid)")
    }

    @Test(.enabled(if: RedisServer.isInstalled, "redis-server is not installed"))
    func twoServersAreListedForTheChoice() throws {
        let one = try RedisServer()
        let two = try RedisServer()
        let pids = try [one.waitUntilListening(), two.waitUntilListening()]
        let text = search()
        #expect(text.contains(" servers are running. Choose with --pid or --port:\n"))
        for (pid, server) in zip(pids, [one, two]) {
            let line = try #require(text.split(separator: "\n").first { $0.hasPrefix("  pid \(pid) ") })
            #expect(line.contains("port \(server.port)") && line.contains("redis-server"))
        }
        #expect(search(pids: [pids[1]], ports: [one.port, two.port]) == "found \(pids[1]),\(pids[0])")
    }

    @Test(.enabled(if: RedisServer.isInstalled, "redis-server is not installed"))
    func aSentinelIsNoServer() throws {
        let configuration = FileManager.default.temporaryDirectory.appendingPathComponent("kiln-\(UUID().uuidString).conf")
        try Data().write(to: configuration)
        defer { try? FileManager.default.removeItem(at: configuration) }
        let port = try freePort()
        let sentinel = try Child("redis-server", [configuration.path, "--sentinel", "--port", "\(port)", "--bind", "127.0.0.1"])
        wait { search(ports: [port]) == "found \(sentinel.pid)" }
        let target = try discovery.targets(pids: [], ports: [port]).first
        #expect(target?.role == .sentinel)
        #expect(!(try discovery.knownServers().contains { $0.pid == sentinel.pid }))
    }

    @Test(.enabled(if: RedisServer.isInstalled, "redis-server is not installed"))
    func aChildThatWritesASnapshotIsNoServer() throws {
        // A second a key keeps the child there for long enough to be looked at.
        let server = try RedisServer(["--rdb-key-save-delay", "1000000"])
        let pid = try server.waitUntilListening()
        let client = try Connection(port: server.port)
        _ = try client.reply(to: "MSET", "a", "1", "b", "2", "c", "3", "d", "4", "e", "5")
        _ = try client.reply(to: "BGSAVE")
        var child: Int32?
        wait {
            child = try? ProcFS().pids().first { candidate in
                guard let process = try? ProcFS().process(candidate), let stat = try? process.stat() else { return false }
                return stat.parent == pid && (try? process.arguments().first?.hasPrefix("redis-rdb-bgsave")) == true
            }
            return child != nil
        }
        let found = try #require(child, "no child of redis-server appeared")
        #expect(try discovery.targets(pids: [found], ports: []).map(\.role) == [.serverChild(title: "redis-rdb-bgsave")])
        #expect(search(ports: [server.port]) == "found \(pid)")
        #expect(!(try discovery.knownServers().contains { $0.pid == found }))
    }

    @Test(.enabled(if: RedisServer.isInstalled, "redis-server is not installed"))
    func anIdOfAServersThreadNamesTheServer() throws {
        let server = try RedisServer()
        let pid = try server.waitUntilListening()
        let threads = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/task").compactMap { Int32($0) }
        let thread = try #require(threads.first { $0 != pid })
        #expect(search(pids: [thread]).hasSuffix(" of process \(pid) (redis-server). Profile the process: --pid \(pid)"))
    }

    // MARK: Namespaces

    @Test(
        .enabled(if: RedisServer.isInstalled, "redis-server is not installed"),
        .enabled(if: canUnshare, "no new network and pid namespaces: needs unshare(1) and CAP_SYS_ADMIN"))
    func aServerInItsOwnNamespacesIsFoundByPortAndByPid() throws {
        let server = try RedisServer(command: Self.namespaces + ["redis-server"], bind: ["0.0.0.0"], hidden: true)
        let pid = try server.waitUntilListening(inOtherNetwork: true)
        #expect(pid != server.pid)
        let target = try #require(try discovery.targets(pids: [], ports: [server.port]).first)
        #expect(target.pid == pid && target.server == .redis && target.ports == [server.port])
        #expect(target.hasOtherNetwork && target.pidInNamespace == 1)
        #expect(try discovery.targets(pids: [pid], ports: []) == [target])
    }

    @Test(
        .enabled(if: RedisServer.isInstalled, "redis-server is not installed"),
        .enabled(if: canUnshare, "no new network and pid namespaces: needs unshare(1) and CAP_SYS_ADMIN"))
    func theSamePortInsideAndOutsideOfANamespaceIsAChoice() throws {
        let outside = try RedisServer()
        let inside = try RedisServer(command: Self.namespaces + ["redis-server"], port: outside.port, bind: ["0.0.0.0"], hidden: true)
        let pids = try [outside.waitUntilListening(), inside.waitUntilListening(inOtherNetwork: true)].sorted()
        let lines = search(ports: [outside.port]).split(separator: "\n")
        #expect(lines.count == 3)
        #expect(lines.first == "2 processes listen on port \(outside.port). Choose with --pid:")
        for (line, pid) in zip(lines.dropFirst(), pids) {
            #expect(line.hasPrefix("  pid \(pid) ") && line.contains("port \(outside.port)"))
        }
    }

    // MARK: Other processes

    @Test func aListenerThatIsNoKnownServerIsATargetToo() throws {
        let socket = try ListeningSocket()
        let target = try #require(try discovery.targets(pids: [], ports: [socket.port]).first)
        #expect(target.pid == getpid() && target.server == nil && target.ports.contains(socket.port))
    }

    @Test func aPortNobodyListensOnIsSaidSo() throws {
        #expect(search(ports: [try freePort()]).hasPrefix("no process listens on TCP port "))
    }

    @Test func aProcessThatHasEndedIsAZombieUntilItIsWaitedForAndThenGone() throws {
        let child = try Child("true", [])
        let pid = child.pid
        var text = ""
        wait {
            text = search(pids: [pid])
            return text.contains("has ended and is only waiting")
        }
        #expect(text.hasPrefix("pid \(pid) (true) has ended and is only waiting for its parent, pid \(getpid()) ("))
        let directory = try ProcFS().process(pid)
        let clock = try ProcessCPUClock(pid: pid)
        child.wait()
        #expect(search(pids: [pid]).hasPrefix("no process has pid \(pid)"))
        // Reads through a directory that was opened before fail; they never show another process.
        #expect(throws: Errno.self) { try directory.comm() }
        #expect(throws: Errno.noSuchProcess) { try clock.nanoseconds() }
        #expect(throws: Errno.noSuchProcess) { try ProcessCPUClock(pid: pid) }
    }

    @Test(.enabled(if: kernelThread != nil, "kernel threads are not visible from this pid namespace"))
    func aKernelThreadOfThisHostIsRefused() throws {
        #expect(search(pids: [2]).hasPrefix("pid 2 (kthreadd) is a kernel thread"))
    }

    @Test func theCPUClockCountsAllThreadsToTheNanosecond() throws {
        let clock = try ProcessCPUClock(pid: getpid())
        let before = try clock.nanoseconds()
        var own = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own)
        let after = try clock.nanoseconds()
        let ownNanoseconds = UInt64(own.tv_sec) * 1_000_000_000 + UInt64(own.tv_nsec)
        #expect(before <= ownNanoseconds && ownNanoseconds <= after)
    }

    @Test func callsOfReadAndWriteAreCounted() throws {
        let process = try ProcFS().selfProcess()
        let before = try process.ioCalls()
        var byte: UInt8 = 0
        let zero = open("/dev/zero", O_RDONLY | O_CLOEXEC)
        defer { close(zero) }
        for _ in 0..<1009 { _ = read(zero, &byte, 1) }
        // Other threads may read too, and this looks into files itself.
        let made = try process.ioCalls() - before
        #expect(made >= 1009 && made < 100_000)
    }

    @Test func thisProcessReadsAsItself() throws {
        let process = try ProcFS().selfProcess()
        #expect(process.pid == getpid())
        #expect(try ProcFS().pids().contains(getpid()))
        #expect(try process.exe().hasPrefix("/"))
        #expect(try process.arguments().first == CommandLine.arguments.first)
        let socket = try ListeningSocket()
        let inodes = try process.socketInodes()
        let own = try process.listeningTCPSockets().filter { $0.port == socket.port }
        #expect(own.count == 1 && own.allSatisfy { inodes.contains($0.inode) && $0.address.description == "127.0.0.1" })
        #expect(try process.localAddresses().contains(try #require(IPAddress("127.0.0.1"))))
    }
}

extension RedisServer {
    /// Waits until the server listens, in whatever network namespace, and gives its pid on the host.
    fileprivate func waitUntilListening(inOtherNetwork: Bool = false) throws -> Int32 {
        var found: Int32?
        let port = port
        _ = eventually(within: 5) {
            found = try? TargetDiscovery().knownServers().first { $0.ports.contains(port) && $0.hasOtherNetwork == inOtherNetwork }?.pid
            return found != nil
        }
        guard let found else { throw TestFailure("redis-server doesn't listen on port \(port) after 5 s") }
        return found
    }
}
