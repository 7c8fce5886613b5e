import Foundation
import Glibc

/// A server of our own on a free loopback port, ended with the value: Debian 12's redis-server, unless another build is asked for.
final class RedisServer: @unchecked Sendable {
    private let child: Child
    let port: UInt16
    let directory: String
    let build: ServerBuild

    var pid: Int32 { child.pid }
    var unixSocket: String { directory + "/redis.sock" }

    /// `preload`: a library that is loaded into it before its own.
    init(_ arguments: [String] = [], build: ServerBuild = .redis7, preload: String? = nil) throws {
        self.build = build
        port = try freePort()
        directory = temporaryDirectory(in: (build.root ?? "") + "/tmp")
        let inside = String(directory.dropFirst(build.root?.count ?? 0))
        if let preload { try FileManager.default.copyItem(atPath: preload, toPath: directory + "/preload.so") }
        let command = try (preload == nil ? [] : ["env", "LD_PRELOAD=\(inside)/preload.so"]) + build.command + [
            "--port", "\(port)", "--bind", "127.0.0.1", "-::1", "--unixsocket", inside + "/redis.sock", "--dir", inside,
            "--save", "", "--appendonly", "no", "--enable-debug-command", "yes",
        ] + build.arguments + arguments
        child = try Child(command[0], Array(command.dropFirst()))
        let port = port, unixSocket = directory + "/redis.sock"
        guard eventually({ (try? Connection(port: port)) != nil && (try? Connection(unixSocket: unixSocket)) != nil }) else {
            throw TestFailure("redis-server did not start on port \(port)")
        }
    }

    deinit {
        kill(pid, SIGKILL)
        child.wait()
        try? FileManager.default.removeItem(atPath: directory)
    }

    /// Run redis-benchmark against it to the end.
    func benchmark(_ arguments: [String]) throws {
        let status = try Child("redis-benchmark", ["-p", "\(port)", "-q"] + arguments).wait()
        guard status == 0 else { throw TestFailure("redis-benchmark ended with \(status)") }
    }

    /// Calls and rejected calls by command, subcommands summed, as the server counts them; INFO itself left out.
    func commandStatistics() throws -> [String: UInt64] {
        var counts: [String: UInt64] = [:]
        for line in try Connection(port: port).reply(to: "INFO", "commandstats").split(separator: "\r\n") {
            guard line.hasPrefix("cmdstat_"), let colon = line.firstIndex(of: ":") else { continue }
            let name = line[..<colon].dropFirst("cmdstat_".count).split(separator: "|")[0].uppercased()
            guard name != "INFO" else { continue }
            for field in line[line.index(after: colon)...].split(separator: ",") {
                let parts = field.split(separator: "=")
                if parts.count == 2, parts[0] == "calls" || parts[0] == "rejected_calls" {
                    counts[name, default: 0] += UInt64(parts[1]) ?? 0
                }
            }
        }
        return counts
    }

    /// What a session of kiln counts while `load` runs, and what the server counts of the same.
    func counts(
        hook: String = Capability.hooks.first ?? "", during load: () throws -> Void
    ) throws -> (kiln: [String: UInt64], server: [String: UInt64], session: Session) {
        let before = try commandStatistics()
        let session = try Session.recording(pid: pid, ["--hook", hook], during: load)
        var server = try commandStatistics()
        for (name, count) in before { server[name, default: 0] -= count }
        return (session.counts.filter { $0.key != "INFO" }, server.filter { $0.value != 0 }, session)
    }
}

/// A port that was free a moment ago.
func freePort() throws -> UInt16 {
    let fd = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    defer { close(fd) }
    var address = loopback(port: 0)
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let bound = withUnsafeMutablePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(fd, $0, length) == 0 && getsockname(fd, $0, &length) == 0 }
    }
    guard bound else { throw TestFailure("no free port") }
    return UInt16(bigEndian: address.sin_port)
}

func loopback(port: UInt16) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    return address
}
