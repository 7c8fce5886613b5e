import CLibbpf
import FoundationEssentials
import Glibc
import KilnHosts
import KilnKernel
import Synchronization
import SystemPackage

/// The connection of `RemoteSession` to kiln on the other host: standard input and output.
final class HostLine: @unchecked Sendable {
    /// Without a sign of life for so long, in milliseconds, the connection counts as lost.
    private static let patience: Int32 = 3500

    private let mark: String
    private let input: HostInput
    private let isLost = Atomic(false)
    /// The subcommand, which gets signals, and ends if the connection is lost. Nil: it has ended.
    private let child = Mutex<pid_t?>(nil)

    /// Begins with the other side. What comes before, such as the password that sudo didn't need, is skipped.
    init(mark: String) throws {
        self.mark = mark
        signal(SIGPIPE, SIG_IGN)
        // Whoever ends this process ends the connection.
        var signals = sigset_t()
        sigemptyset(&signals)
        for signal in [SIGINT, SIGTERM, SIGHUP] { sigaddset(&signals, signal) }
        sigprocmask(SIG_BLOCK, &signals, nil)
        input = HostInput(.standardInput, endedBy: kiln_signal_descriptor(&signals))
        while let line = try input.line(within: 60_000), line != RemoteSession.beginning(mark) {}
        // What can't be written at once must not keep the loss of the connection from being seen.
        _ = fcntl(STDOUT_FILENO, F_SETFL, fcntl(STDOUT_FILENO, F_GETFL) | O_NONBLOCK)
        try write(Array("\n\(RemoteSession.beginning(mark))\n".utf8))
    }

    func order() throws -> HostOrder {
        guard case .order(let json)? = try input.frame(within: Self.patience) else { throw Failure("no order came") }
        return try JSONDecoder().decode(HostOrder.self, from: Data(json))
    }

    /// Passes signals on from now on.
    ///
    /// - Parameters:
    ///   - pid: The subcommand, which nobody but `isRunning` waits for. It leads a process group.
    ///   - patience: So many seconds remain for its end in order when the connection is lost.
    func follow(_ pid: pid_t, patience: Double) {
        child.withLock { $0 = pid }
        _ = BackgroundThread.started { [self] in
            listen()
            isLost.store(true, ordering: .relaxed)
            send(signal: SIGTERM)
            usleep(UInt32(patience * 1e6))
            send(signal: SIGKILL, toGroup: true)
        }
    }

    /// Whether the subcommand is running. Its number gets no signals once it is another's.
    func isRunning(_ command: ChildCommand) -> Bool {
        child.withLock { pid in
            if pid != nil, !command.isRunning { pid = nil }
            return pid != nil
        }
    }

    /// Until the connection is lost.
    private func listen() {
        while let frame = try? input.frame(within: Self.patience) {
            if case .signal(let number) = frame { send(signal: number) }
        }
    }

    /// - Parameter toGroup: And to the command that it has started.
    private func send(signal: Int32, toGroup: Bool = false) {
        child.withLock { pid in
            if let pid { kill(toGroup ? -pid : pid, signal) }
        }
    }

    /// Throws `Errno` if the connection is lost.
    func send(_ frame: Frame) throws { try write(frame.bytes) }

    /// Sends, or drops what nobody gets any more.
    func pass(_ frame: Frame) {
        do { try send(frame) } catch { isLost.store(true, ordering: .relaxed) }
    }

    private func write(_ bytes: [UInt8]) throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            guard !isLost.load(ordering: .relaxed) else { throw Errno.brokenPipe }
            var waiting = pollfd(fd: STDOUT_FILENO, events: Int16(POLLOUT), revents: 0)
            guard poll(&waiting, 1, 100) > 0 else { continue }
            do {
                rest = rest.dropFirst(try rest.withUnsafeBytes { try FileDescriptor.standardOutput.write($0) })
            } catch Errno.resourceTemporarilyUnavailable {}
        }
    }
}
