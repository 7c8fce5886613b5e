import Glibc
import KilnKernel
import PrintableText

/// The service manager that started kiln, told of its state by the protocol of sd_notify(3): a datagram of `NAME=VALUE` lines to the socket
/// that NOTIFY_SOCKET names. Without one nothing is told, and what can't be told never ends the service.
final class ServiceManager {
    private let descriptor: Int32
    private let address: [UInt8]
    /// Half of the time within which the manager expects a sign of life, in nanoseconds; nil if it expects none of this process.
    let watchdogInterval: UInt64?

    /// - Parameter environment: NOTIFY_SOCKET is a path, or an abstract name behind `@`; WATCHDOG_USEC holds for the process WATCHDOG_PID.
    init(environment: [String: String], pid: Int32 = getpid()) {
        address = Self.address(environment["NOTIFY_SOCKET"] ?? "")
        descriptor = address.isEmpty ? -1 : socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        // A manager that is busy loses nothing, and one that hangs doesn't hold up the service.
        var longest = timeval(tv_sec: 0, tv_usec: 200_000)
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &longest, socklen_t(MemoryLayout.size(ofValue: longest)))
        let isOurs = environment["WATCHDOG_PID"].map { Int32($0) == pid } ?? true
        watchdogInterval = environment["WATCHDOG_USEC"].flatMap(UInt64.init).flatMap { microseconds in
            let (nanoseconds, overflow) = microseconds.multipliedReportingOverflow(by: 1000)
            return isOurs && microseconds > 0 && !overflow ? nanoseconds / 2 : nil
        }
    }

    /// Takes the variables out of kiln's environment, so that no program that it starts speaks for it.
    convenience init() {
        var environment: [String: String] = [:]
        for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
            environment[name] = getenv(name).map { String(cString: $0) }
            unsetenv(name)
        }
        self.init(environment: environment)
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// The service answers.
    func ready(status: String) { send(["READY=1", Self.status(status)]) }

    /// The configuration is being read again; `ready()` ends that. `now`: of the monotonic clock, in nanoseconds.
    func reloading(now: UInt64 = MonotonicClock.now().count) { send(["RELOADING=1", "MONOTONIC_USEC=\(now / 1000)"]) }

    func stopping() { send(["STOPPING=1"]) }

    /// A line for `systemctl status`.
    func tell(status: String) { send([Self.status(status)]) }

    /// A sign of life, due each `watchdogInterval`.
    func sendSignOfLife() { if watchdogInterval != nil { send(["WATCHDOG=1"]) } }

    /// A line break would begin another field.
    private static func status(_ text: String) -> String { "STATUS=" + text.printable }

    /// A sockaddr_un; empty for what is no address.
    private static func address(_ name: String) -> [UInt8] {
        var path = Array(name.utf8), address = sockaddr_un()
        guard let first = path.first, first == UInt8(ascii: "/") || first == UInt8(ascii: "@"), path.count > 1 else { return [] }
        // An abstract name begins with a zero byte, and ends where the address does; a path ends with one.
        if first == UInt8(ascii: "@") { path[0] = 0 } else { path.append(0) }
        guard path.count <= MemoryLayout.size(ofValue: address.sun_path) else { return [] }
        address.sun_family = sa_family_t(AF_UNIX)
        let offset = MemoryLayout.offset(of: \sockaddr_un.sun_path) ?? 2
        return withUnsafeBytes(of: address) { Array($0.prefix(offset)) } + path
    }

    private func send(_ fields: [String]) {
        guard descriptor >= 0 else { return }
        let text = Array(fields.joined(separator: "\n").utf8)
        _ = address.withUnsafeBytes { address in
            address.withMemoryRebound(to: sockaddr.self) { address in
                sendto(descriptor, text, text.count, Int32(MSG_NOSIGNAL), address.baseAddress, socklen_t(self.address.count))
            }
        }
    }
}
