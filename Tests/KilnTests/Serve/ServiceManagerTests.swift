import Foundation
import Glibc
import KilnKernel
import TestSupport
import Testing

@testable import kiln

/// A socket as a service manager has it. `name`: a path, or an abstract name behind `@`.
private final class ManagerSocket {
    let descriptor: Int32

    init(_ name: String) throws {
        descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = name.hasPrefix("@") ? [0] + Array(name.utf8.dropFirst()) : Array(name.utf8)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        let length = socklen_t(2 + bytes.count + (name.hasPrefix("@") ? 0 : 1))
        let bound = withUnsafeBytes(of: address) { $0.withMemoryRebound(to: sockaddr.self) { bind(descriptor, $0.baseAddress, length) } }
        guard bound == 0 else { throw TestFailure("bind: \(errorText(errno))") }
    }

    deinit { close(descriptor) }

    /// The datagrams that have arrived.
    func received() -> [String] {
        var texts: [String] = [], room = [UInt8](repeating: 0, count: 4096)
        while true {
            let length = recv(descriptor, &room, room.count, Int32(MSG_DONTWAIT))
            guard length >= 0 else { return texts }
            texts.append(String(decoding: room[..<length], as: UTF8.self))
        }
    }
}

/// What kiln tells systemd, read from a real socket.
struct ServiceManagerTests {
    @Test(arguments: [false, true]) func eachStateIsADatagram(isAbstract: Bool) throws {
        let directory = try TemporaryDirectory(), name = isAbstract ? "@kiln-test-\(getpid())" : directory.url.path + "/notify"
        let socket = try ManagerSocket(name)
        let manager = ServiceManager(environment: ["NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "\(getpid())"])
        manager.ready(status: "watching 2 servers\nWATCHDOG=trigger")
        manager.reloading(now: 1_234_567_890)
        manager.tell(status: "é")
        manager.sendSignOfLife()
        manager.stopping()
        #expect(
            socket.received() == [
                "READY=1\nSTATUS=watching 2 servers\\nWATCHDOG=trigger", "RELOADING=1\nMONOTONIC_USEC=1234567", "STATUS=é", "WATCHDOG=1", "STOPPING=1",
            ])
        #expect(manager.watchdogInterval == 15_000_000_000)
    }

    @Test func theClockIsTheManagers() throws {
        let before = MonotonicClock.now().count
        var now = timespec()
        clock_gettime(CLOCK_MONOTONIC, &now)
        #expect(before <= UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec) && before > 0)
    }

    private static let watchdogs: [(environment: [String: String], interval: UInt64?)] = [
        (["WATCHDOG_USEC": "4000000"], 2_000_000_000), (["WATCHDOG_USEC": "4000000", "WATCHDOG_PID": "1"], nil), (["WATCHDOG_USEC": "0"], nil),
        (["WATCHDOG_USEC": "1"], 500), (["WATCHDOG_USEC": "x"], nil), (["WATCHDOG_USEC": "18446744073709551615"], nil),
        (["WATCHDOG_USEC": "4000000", "WATCHDOG_PID": ""], nil), ([:], nil),
    ]

    @Test(arguments: watchdogs) func theWatchdogIsOfThisProcess(environment: [String: String], interval: UInt64?) {
        #expect(ServiceManager(environment: environment).watchdogInterval == interval)
    }

    /// Nobody listens, the name is none, or there is no manager: nothing happens.
    @Test(arguments: ["", "@", "/", "relative", "/nonexistent/notify", "/" + String(repeating: "x", count: 107), "@" + String(repeating: "x", count: 108)])
    func whatCannotBeToldIsLeft(name: String) {
        let manager = ServiceManager(environment: ["NOTIFY_SOCKET": name, "WATCHDOG_USEC": "2"])
        manager.ready(status: "")
        manager.sendSignOfLife()
        manager.stopping()
    }

    @Test func theLongestNameIsTaken() throws {
        let name = "@" + String((String(repeating: "k", count: 107) + "\(getpid())").suffix(107)), socket = try ManagerSocket(name)
        ServiceManager(environment: ["NOTIFY_SOCKET": name]).stopping()
        #expect(socket.received() == ["STOPPING=1"])
    }

    /// A manager that reads nothing holds up nobody.
    @Test func aFullQueueIsNoTrap() throws {
        let name = "@kiln-full-\(getpid())", socket = try ManagerSocket(name), manager = ServiceManager(environment: ["NOTIFY_SOCKET": name])
        let limit = try String(contentsOfFile: "/proc/sys/net/unix/max_dgram_qlen", encoding: .utf8)
        let most = try #require(Int(limit.split(separator: "\n")[0]))
        for number in 0..<most + 3 { manager.tell(status: "\(number)") }
        #expect(!socket.received().isEmpty)
    }
}
