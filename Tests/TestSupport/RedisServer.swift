import Foundation
import Glibc

/// A redis-server, or one of its kin, on a free port, without configuration file or data; ended with the value.
public final class RedisServer: @unchecked Sendable {
    private let child: Child
    public let port: UInt16
    public let directory: String

    /// Of the process that was started: the server's, unless something wraps it.
    public var pid: Int32 { child.pid }
    public var unixSocket: String { directory + "/redis.sock" }

    public static let isInstalled = program("redis-server") != nil

    /// It takes connections when this returns, unless it is `hidden`: in another network namespace, or on other addresses than 127.0.0.1.
    ///
    /// - Parameters:
    ///   - command: what starts it, such as `unshare --net redis-server`.
    ///   - root: the tree that it runs in (chroot).
    ///   - preload: a library that is loaded into it before its own.
    public init(
        _ arguments: [String] = [], command: [String] = ["redis-server"], root: String = "", preload: String? = nil,
        port: UInt16? = nil, bind: [String] = ["127.0.0.1", "-::1"], hidden: Bool = false
    ) throws {
        self.port = try port ?? freePort()
        directory = temporaryDirectory(in: root + "/tmp")
        let inside = String(directory.dropFirst(root.count))
        if let preload { try FileManager.default.copyItem(atPath: preload, toPath: directory + "/preload.so") }
        let words =
            (preload == nil ? [] : ["env", "LD_PRELOAD=\(inside)/preload.so"]) + command + [
                "--port", "\(self.port)", "--bind",
            ] + bind + [
                "--unixsocket", inside + "/redis.sock", "--dir", inside, "--save", "", "--appendonly", "no", "--enable-debug-command", "yes",
            ] + arguments
        child = try Child(words[0], Array(words.dropFirst()))
        guard !hidden else { return }
        // Its socket in a directory of its own: another server may have taken the port meanwhile.
        guard eventually({ !child.isRunning || isReachable }), child.isRunning else {
            throw TestFailure("\(command.joined(separator: " ")) did not start on port \(self.port)")
        }
    }

    private var isReachable: Bool { (try? Connection(unixSocket: unixSocket)) != nil && (try? Connection(port: port)) != nil }

    deinit {
        kill(pid, SIGKILL)
        child.wait()
        try? FileManager.default.removeItem(atPath: directory)
    }

    /// Run redis-benchmark against it to the end.
    public func benchmark(_ arguments: [String]) throws {
        let status = try Child("redis-benchmark", ["-p", "\(port)", "-q"] + arguments).wait()
        guard status == 0 else { throw TestFailure("redis-benchmark ended with \(status)") }
    }

    /// Calls and rejected calls by command, subcommands summed, as the server counts them; INFO itself left out.
    public func commandStatistics() throws -> [String: UInt64] {
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
}
