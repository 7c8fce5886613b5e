import Foundation
import Glibc

@testable import KilnTargets

/// A redis-server of our own on a free loopback port, without configuration file or data; ended with the last reference.
final class RedisServer {
    let port: UInt16
    private let process: ChildProcess
    private let directory: URL
    /// Of the process that was started: the server's, unless something wraps it.
    var pid: Int32 { process.pid }

    static let isInstalled = path("redis-server") != nil

    /// - Parameter wrapper: a command that starts the server, such as `unshare --net`.
    init(wrapper: [String] = [], port: UInt16? = nil, bind: [String] = ["127.0.0.1"], arguments: [String] = []) throws {
        guard let server = path("redis-server") else { throw Failure(text: "redis-server is not installed") }
        self.port = try port ?? freePort()
        directory = FileManager.default.temporaryDirectory.appendingPathComponent("kiln-redis-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        let command = wrapper + [server, "--port", "\(self.port)", "--save", "", "--dir", directory.path, "--bind"] + bind + arguments
        process = try ChildProcess(command, quietly: false, endsBySignal: wrapper.isEmpty ? SIGTERM : SIGKILL)
    }

    deinit {
        try? FileManager.default.removeItem(at: directory)
    }

    /// Waits until the server listens, in whatever network namespace, and gives its pid on the host.
    func waitUntilListening(inOtherNetwork: Bool = false) throws -> Int32 {
        for _ in 0..<500 {
            guard process.isRunning else { throw Failure(text: "redis-server on port \(port) ended at once") }
            let found = try TargetDiscovery().knownServers().first { $0.ports.contains(port) && $0.hasOtherNetwork == inOtherNetwork }
            if let found { return found.pid }
            usleep(10_000)
        }
        throw Failure(text: "redis-server doesn't listen on port \(port) after 5 s")
    }

    /// Sends inline commands and waits for the first bytes of an answer.
    func send(_ commands: String) throws {
        let socket = socket(AF_INET, streamSocket, 0)
        defer { close(socket) }
        var address = loopback(port)
        let connected = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
        guard connected == 0 else { throw Failure(text: "cannot connect to port \(port)") }
        _ = commands.withCString { write(socket, $0, strlen($0)) }
        var answer = [UInt8](repeating: 0, count: 256)
        _ = read(socket, &answer, answer.count)
    }
}

/// Not for the servers that tests beside this one start: they would inherit it, and listen with us.
private let streamSocket = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)

private func loopback(_ port: UInt16) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    return address
}

/// A TCP socket of this process on 127.0.0.1.
final class ListeningSocket {
    let descriptor: Int32
    let port: UInt16

    init() throws {
        descriptor = socket(AF_INET, streamSocket, 0)
        var address = loopback(0)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let failed = withUnsafeMutablePointer(to: &address) { [descriptor] in
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length) != 0 || listen(descriptor, 1) != 0 || getsockname(descriptor, $0, &length) != 0
            }
        }
        if failed { throw Failure(text: "cannot listen on the loopback address") }
        port = UInt16(bigEndian: address.sin_port)
    }

    deinit { close(descriptor) }
}

/// A port that was free a moment ago.
func freePort() throws -> UInt16 { try ListeningSocket().port }
