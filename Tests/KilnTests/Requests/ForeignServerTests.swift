import Foundation
import Glibc
import TestSupport
import Testing

extension KernelTests {
    /// A server of our own inside this process, which receives in ways that redis-server does not.
    @Suite struct ForeignServerTests {
        enum Way: String, CaseIterable { case recv, peekThenRecv, readv, recvmsg, recvmsgInTwoParts, recvmmsg }

        @Test(arguments: Capability.hooks, Way.allCases)
        func requestsCountOnceHoweverTheyAreReceived(hook: String, way: Way) throws {
            let listener = try Listener()
            // Bytes beyond the first part can't be followed, nor where recvmmsg has put them, but by their messages: said so, and
            // nothing is guessed.
            let loss = way == .recvmsgInTwoParts ? "split_receives" : way == .recvmmsg && hook != "fentry" ? "unsupported_receives" : nil
            let session = try Session.recording(pid: getpid(), ["--hook", hook, "-F", "0", "--no-syscalls"], status: loss == nil ? 0 : 1) {
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
            if let loss {
                #expect(session.counts.isEmpty)
                #expect(session.record.lost == [loss: 7])
            } else {
                #expect(session.counts == ["GET": 7])
                #expect(session.record.lost.isEmpty)
            }
        }

        /// Only hook fentry sees where sendmmsg's bytes lie.
        @Test(arguments: Capability.hooks)
        func repliesThatCantBeFollowedAreCounted(hook: String) throws {
            let listener = try Listener()
            let session = try Session.recording(pid: getpid(), ["--hook", hook, "-F", "0", "--no-syscalls"]) {
                let client = try Connection(port: listener.port)
                let server = listener.accept()
                defer { close(server) }
                for _ in 0..<3 {
                    try client.send(request("GET", "somekey"))
                    guard Self.receive(server, .recv) > 0, Self.sendmmsg(server, "+OK\r\n") == 5 else { throw TestFailure("nothing received or sent") }
                    try client.receive(until: "+OK\r\n")
                }
            }
            #expect(session.counts == ["GET": 3])
            #expect(session.record.commands["GET"]?.phases["service"]?.count == (hook == "fentry" ? 3 : nil))
            #expect(session.record.lost == (hook == "fentry" ? [:] : ["unsupported_sends": 1, "unpaired_connections": 1]))
        }

        /// As valkey 9.1 sends large values: each reply's header, value and end by themselves, many replies in one call.
        @Test(arguments: Capability.hooks)
        func repliesInAnyNumberOfPiecesArePairedAndTraced(hook: String) throws {
            let listener = try Listener()
            let rounds = 3, replies = 341  // 1,023 pieces: the kernel takes 1,024
            func load() throws {
                let client = try Connection(port: listener.port)
                let server = listener.accept()
                defer { close(server) }
                for _ in 0..<rounds {
                    let asked = Array(repeating: request("GET", "somekey"), count: replies - 1).flatMap { $0 } + request("GET", "last")
                    try client.send(asked)
                    var buffer = [UInt8](repeating: 0, count: asked.count)
                    guard recv(server, &buffer, buffer.count, Int32(MSG_WAITALL)) == buffer.count else { throw TestFailure("nothing received") }
                    let values = Array(repeating: "value", count: replies - 1) + ["end"]
                    let pieces = values.flatMap { ["$\($0.utf8.count)\r\n", $0, "\r\n"] }.map { Array($0.utf8) }
                    guard Self.writev(server, pieces) == pieces.joined().count else { throw TestFailure("not all sent") }
                    try client.receive(until: "end\r\n")
                }
            }
            let session = try Session.recording(pid: getpid(), ["--hook", hook, "-F", "0", "--no-syscalls"]) { try load() }
            let count = UInt64(rounds * replies)
            #expect(session.counts == ["GET": count])
            #expect(session.record.commands["GET"]?.phases["service"]?.count == count)
            #expect(session.record.commands["GET"]?.replyBytesMax == UInt64("$5\r\nvalue\r\n".utf8.count))
            #expect(session.record.lost.isEmpty)
            let rows = try TraceRun.recording(pid: getpid(), hook: hook) { _ in try load() }.rows()
            #expect(rows.count == rounds * replies && rows.allSatisfy(\.complete))
            #expect(rows.map(\.reply) == (1...rounds * replies).map { $0 % replies == 0 ? "end" : "value" })
        }

        /// writev(2) of these pieces.
        private static func writev(_ fd: Int32, _ pieces: [[UInt8]]) -> Int {
            var parts: [iovec] = []
            for piece in pieces {
                let copy = UnsafeMutableRawPointer.allocate(byteCount: piece.count, alignment: 1)
                copy.copyMemory(from: piece, byteCount: piece.count)
                parts.append(iovec(iov_base: copy, iov_len: piece.count))
            }
            defer { for part in parts { part.iov_base?.deallocate() } }
            return Glibc.writev(fd, parts, Int32(parts.count))
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
                case .recvmsg, .recvmsgInTwoParts, .recvmmsg:
                    let first = way == .recvmsgInTwoParts ? 10 : bytes.count
                    var parts = [
                        iovec(iov_base: bytes.baseAddress, iov_len: first),
                        iovec(iov_base: bytes.baseAddress.map { $0 + first }, iov_len: bytes.count - first),
                    ]
                    return parts.withUnsafeMutableBufferPointer { parts in
                        var message = msghdr()
                        message.msg_iov = parts.baseAddress
                        message.msg_iovlen = way == .recvmsgInTwoParts ? 2 : 1
                        return way == .recvmmsg ? recvmmsg(fd, message) : Glibc.recvmsg(fd, &message, 0)
                    }
                }
            }
        }

        /// struct mmsghdr, which Swift's Glibc doesn't have, nor the calls that take it.
        private struct Message {
            var header: msghdr
            var length: UInt32 = 0
        }

        /// sendmmsg(2) of one message: the bytes it sent.
        private static func sendmmsg(_ fd: Int32, _ text: String) -> Int {
            typealias Function = @convention(c) (Int32, UnsafeMutableRawPointer, UInt32, Int32) -> Int32
            guard let function = dlsym(nil, "sendmmsg") else { return -1 }
            var bytes = Array(text.utf8)
            return bytes.withUnsafeMutableBytes { bytes in
                var part = iovec(iov_base: bytes.baseAddress, iov_len: bytes.count)
                return withUnsafeMutablePointer(to: &part) { part in
                    var messages = Message(header: msghdr())
                    messages.header.msg_iov = part
                    messages.header.msg_iovlen = 1
                    return unsafeBitCast(function, to: Function.self)(fd, &messages, 1, 0) == 1 ? Int(messages.length) : -1
                }
            }
        }

        /// recvmmsg(2) of one message.
        private static func recvmmsg(_ fd: Int32, _ message: msghdr) -> Int {
            typealias Function = @convention(c) (Int32, UnsafeMutableRawPointer, UInt32, Int32, UnsafeMutableRawPointer?) -> Int32
            guard let function = dlsym(nil, "recvmmsg") else { return -1 }
            var messages = Message(header: message)
            return unsafeBitCast(function, to: Function.self)(fd, &messages, 1, 0, nil) == 1 ? Int(messages.length) : -1
        }

        private final class Listener {
            let fd = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
            let port: UInt16

            init() throws {
                port = try freePort()
                var address = loopback(port: port)
                let listening =
                    withUnsafeMutablePointer(to: &address) {
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
