import CLibbpf
import Glibc
import KilnModel

/// The events that a session waits for: the clock, a signal, and the end of a process.
public final class SessionEvents {
    public enum Event: Equatable {
        /// The deadline passed.
        case deadline
        /// SIGINT, SIGTERM, SIGHUP, or SIGXCPU at the limit of CPU time (ulimit -t).
        case signal(Int32)
        /// A watched process ended.
        case ended(Int32)
        /// The watched descriptor is readable.
        case attention
    }

    private static let endSignals = [SIGINT, SIGTERM, SIGHUP, SIGXCPU]
    private var signals: Int32 = -1
    /// Descriptors of processes that have not ended.
    private var processes: [(pid: Int32, fd: Int32)] = []
    /// Negative means none; poll(2) ignores it.
    private var attention: Int32 = -1

    /// Blocks signals from here on; `next` reads them, so that no step is interrupted.
    public init() throws(KernelError) {
        var set = sigset_t()
        sigemptyset(&set)
        // A hangup that was ignored before kiln began (nohup) stays ignored; if it were blocked, it would still be delivered. The other
        // signals are always read: shells ignore SIGINT for background jobs, but `kill -INT` must work.
        var former = sigaction()
        sigaction(SIGHUP, nil, &former)
        let ignoresHangup = unsafeBitCast(former.__sigaction_handler.sa_handler, to: Int.self) == 1
        for signal in Self.endSignals where signal != SIGHUP || !ignoresHangup { sigaddset(&set, signal) }
        sigprocmask(SIG_BLOCK, &set, nil)
        signal(SIGPIPE, SIG_IGN)
        signals = kiln_signal_descriptor(&set)
        guard signals >= 0 else { throw KernelError("receive signals", code: -signals) }
    }

    deinit {
        close(signals)
        for process in processes { close(process.fd) }
    }

    /// Reports when the process ends.
    public func watch(pid: Int32) throws(KernelError) {
        let fd = kiln_pidfd_open(pid)
        guard fd >= 0 else { throw KernelError("watch process \(pid)", code: -fd, remedy: fd == -ESRCH ? "It has just exited." : nil) }
        processes.append((pid, fd))
    }

    /// Reports when a descriptor is readable. One at a time; nil: none. The caller keeps the descriptor.
    public func watch(attention descriptor: Int32?) { attention = descriptor ?? -1 }

    /// Tells whether a signal has come since this was called. For work after a session; ends of processes are dropped.
    public func interruption() -> () -> Bool {
        var isInterrupted = false
        return { [self] in
            while !isInterrupted {
                switch next(until: .zero) {
                case .signal: isInterrupted = true
                case .ended: continue
                case .deadline, .attention: return false
                }
            }
            return true
        }
    }

    /// Waits for the first event. An event that is already there comes before a deadline that has passed.
    public func next(until deadline: Nanoseconds) -> Event {
        while true {
            var waiting = [signals, attention].map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
            waiting += processes.map { pollfd(fd: $0.fd, events: Int16(POLLIN), revents: 0) }
            let now = MonotonicClock.now()
            let left = deadline > now ? (deadline - now).count : 0
            // Rounded up, so that it doesn't wake before the deadline.
            let ready = poll(&waiting, nfds_t(waiting.count), Int32((left + 999_999) / 1_000_000))
            if ready == 0 { return .deadline }
            if ready < 0 { continue }  // interrupted
            if waiting[0].revents != 0 {
                let signal = kiln_take_signal(signals)
                if signal > 0 { return .signal(signal) }
            }
            for (index, entry) in waiting.dropFirst(2).enumerated() where entry.revents != 0 {
                let process = processes.remove(at: index)
                close(process.fd)
                return .ended(process.pid)
            }
            if waiting[1].revents != 0 { return .attention }
        }
    }
}
