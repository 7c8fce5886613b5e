import CLibbpf
import Glibc
import SystemPackage

/// A command that a session starts. Its process waits before its first instruction until `start`.
public final class ChildCommand {
    public let pid: Int32
    private let startEnd: FileDescriptor
    private let failureEnd: FileDescriptor
    private var status: Int32?

    /// `arguments`: each ends with NUL. Looks the program up in PATH. The command's signals are as they were before kiln changed them. `errors`: the command's standard
    /// error; then its standard output is `output` or /dev/null, its standard input is /dev/null, and it ends with kiln. Nil: the command inherits all three.
    public init(_ arguments: [[CChar]], output: Int32? = nil, errors: Int32? = nil) throws(Errno) {
        var words: [UnsafeMutablePointer<CChar>?] = arguments.map { $0.withUnsafeBufferPointer { $0.baseAddress.flatMap { strdup($0) } } } + [nil]
        defer { for word in words { free(word) } }
        var start: Int32 = -1, failure: Int32 = -1
        let child = kiln_spawn_waiting(&words, output ?? -1, errors ?? -1, &start, &failure)
        guard child > 0 else { throw Errno(rawValue: -child) }
        pid = child
        startEnd = FileDescriptor(rawValue: start)
        failureEnd = FileDescriptor(rawValue: failure)
    }

    deinit {
        try? startEnd.close()
        try? failureEnd.close()
    }

    /// Starts the program, or throws the error of its execution.
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

    public var isRunning: Bool {
        if status == nil { status = waited(WNOHANG) }
        return status == nil
    }

    /// Sends each of these signals if the command has not ended, and waits `patience` seconds after each; then kills it. Returns its exit
    /// status, or 128 plus the number of the signal that ended it.
    @discardableResult
    public func end(_ signals: [Int32] = [SIGTERM], patience: Double = 1) -> Int32 {
        for signal in signals where isRunning {
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

    /// Nil if it has not ended.
    private func waited(_ options: Int32) -> Int32? {
        var status: Int32 = 0
        return waitpid(pid, &status, options) == pid ? status : nil
    }
}
