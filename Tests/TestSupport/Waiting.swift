import Foundation
import Glibc

public struct TestFailure: Error, CustomStringConvertible {
    public let description: String
    public init(_ description: String) { self.description = description }
}

/// A directory of our own, to be removed by who asked for it.
public func temporaryDirectory(in parent: String = "/tmp") -> String {
    var template = Array("\(parent)/kiln-test-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { fatalError("cannot make a directory in \(parent)") }
    return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

/// Wait until `condition` holds, looking every 10 ms; false after `seconds`.
public func eventually(within seconds: Double = 60, _ condition: () -> Bool) -> Bool {
    let end = Date().addingTimeInterval(seconds)
    while !condition() {
        if Date() > end { return false }
        usleep(10_000)
    }
    return true
}

/// A TCP socket of this process that listens on 127.0.0.1.
public final class ListeningSocket {
    public let descriptor: Int32
    public let port: UInt16

    public init() throws {
        // Not for the servers that other tests start meanwhile: they would inherit it, and listen with us.
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var address = loopback(port: 0)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let failed = withUnsafeMutablePointer(to: &address) { [descriptor] in
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length) != 0 || listen(descriptor, 1) != 0 || getsockname(descriptor, $0, &length) != 0
            }
        }
        port = UInt16(bigEndian: address.sin_port)
        if failed { throw TestFailure("cannot listen on the loopback address") }
    }

    deinit { close(descriptor) }
}

/// A port that was free a moment ago.
public func freePort() throws -> UInt16 { try ListeningSocket().port }

public func loopback(port: UInt16) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    return address
}
