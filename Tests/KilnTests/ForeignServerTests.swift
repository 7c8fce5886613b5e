import Foundation
import Glibc
import Testing

extension KernelTests {
    /// A server of our own inside this process, which receives in ways that redis-server does not.
    @Suite struct ForeignServerTests {
        enum Way: String, CaseIterable { case recv, peekThenRecv, readv, recvmsg, recvmsgInTwoParts }

        @Test(arguments: Capability.hooks, Way.allCases)
        func requestsCountOnceHoweverTheyAreReceived(hook: String, way: Way) throws {
            let listener = try Listener()
            let session = try Session.recording(pid: getpid(), ["--hook", hook, "-F", "0", "--no-syscalls"], status: way == .recvmsgInTwoParts ? 1 : 0) {
                let client = try Connection(port: listener.port)
                let server = listener.accept()
                defer { close(server) }
                for _ in 0..<7 {
                    try client.send(request("GET", "somekey"))
                    guard Self.receive(server, way) > 0 else { throw TestFailure("nothing received") }
                    _ = Glibc.send(server, "+OK\r\n", 5, 0)
                    try client.receive(until: "+OK\r\n")
                }
            }
            if way == .recvmsgInTwoParts {
                // Bytes beyond the first part can't be followed: said so, and nothing is guessed.
                #expect(session.counts.isEmpty)
                #expect(session.record.lost == ["split_receives": 7])
            } else {
                #expect(session.counts == ["GET": 7])
                #expect(session.record.lost.isEmpty)
            }
        }

        private static func receive(_ fd: Int32, _ way: Way) -> Int {
            var buffer = [UInt8](repeating: 0, count: 4096)
            return buffer.withUnsafeMutableBytes { bytes in
                switch way {
                case .recv: return recv(fd, bytes.baseAddress, bytes.count, 0)
                case .peekThenRecv:
                    _ = recv(fd, bytes.baseAddress, bytes.count, Int32(MSG_PEEK))
                    return recv(fd, bytes.baseAddress, bytes.count, 0)
                case .readv:
                    var part = iovec(iov_base: bytes.baseAddress, iov_len: bytes.count)
                    return Glibc.readv(fd, &part, 1)
                case .recvmsg, .recvmsgInTwoParts:
                    let first = way == .recvmsg ? bytes.count : 10
                    var parts = [
                        iovec(iov_base: bytes.baseAddress, iov_len: first),
                        iovec(iov_base: bytes.baseAddress.map { $0 + first }, iov_len: bytes.count - first),
                    ]
                    return parts.withUnsafeMutableBufferPointer { parts in
                        var message = msghdr()
                        message.msg_iov = parts.baseAddress
                        message.msg_iovlen = way == .recvmsg ? 1 : 2
                        return Glibc.recvmsg(fd, &message, 0)
                    }
                }
            }
        }

        private final class Listener {
            let fd = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
            let port: UInt16

            init() throws {
                port = try freePort()
                var address = loopback(port: port)
                let listening = withUnsafeMutablePointer(to: &address) {
                    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                        bind(fd, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
                    }
                } && listen(fd, 5) == 0
                guard listening else { throw TestFailure("cannot listen") }
            }

            deinit { close(fd) }

            func accept() -> Int32 { Glibc.accept(fd, nil, nil) }
        }
    }
}
