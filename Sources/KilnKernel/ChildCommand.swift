import CLibbpf
import Glibc
import SystemPackage

/// A command started by a session: it waits before its first instruction until it is told to go on.
public final class ChildCommand {
    public let pid: Int32
    private let startEnd: FileDescriptor
    private let failureEnd: FileDescriptor
    private var status: Int32?

    /// Found by PATH. Signals are as they were before kiln blocked and ignored some. `errors`: its standard error, and then nothing
    /// is its input and output, and it doesn't outlive kiln; nil: kiln's own.
    public init(_ arguments: [String], errors: Int32? = nil) throws(Errno) {
        var words: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        defer { for word in words { free(word) } }
        var start: Int32 = -1, failure: Int32 = -1
        let child = kiln_spawn_waiting(&words, errors ?? -1, &start, &failure)
        guard child > 0 else { throw Errno(rawValue: -child) }
        pid = child
        startEnd = FileDescriptor(rawValue: start)
        failureEnd = FileDescriptor(rawValue: failure)
    }

    deinit {
        try? startEnd.close()
        try? failureEnd.close()
    }

    /// Let it begin; throws what kept it from being executed.
    public func start() throws(Errno) {
        var byte: UInt8 = 0
        write(startEnd.rawValue, &byte, 1)
        var code: Int32 = 0
        while true {
            let count = read(failureEnd.rawValue, &code, MemoryLayout<Int32>.size)
            if count < 0 && errno == EINTR { continue }
            guard count != MemoryLayout<Int32>.size else { throw Errno(rawValue: code) }
            return
        }
    }

    /// Ask it to end if it hasn't, by these signals, each of which has `patience` seconds; one that is still there is killed. Its exit
    /// status, or 128 and the number of the signal that ended it.
    @discardableResult
    public func end(_ signals: [Int32] = [SIGTERM], patience: Double = 1) -> Int32 {
        if status == nil { status = waited(WNOHANG) }
        for signal in signals where status == nil {
            kill(pid, signal)
            for _ in 0..<Int(patience * 100) where status == nil {
                usleep(10_000)
                status = waited(WNOHANG)
            }
        }
        if status == nil {
            kill(pid, SIGKILL)
            status = waited(0)
        }
        let status = status ?? 0
        return status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f)
    }

    /// nil: it has not ended.
    private func waited(_ options: Int32) -> Int32? {
        var status: Int32 = 0
        return waitpid(pid, &status, options) == pid ? status : nil
    }
}
