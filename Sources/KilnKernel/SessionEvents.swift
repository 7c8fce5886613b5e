import CLibbpf
import Glibc
import KilnModel

/// What a session waits for: the clock, a signal to end, the end of a target or of the command that bounds it.
public final class SessionEvents {
    public enum Event: Equatable {
        /// The deadline passed.
        case deadline
        /// SIGINT, SIGTERM, SIGHUP, or SIGXCPU: the limit of CPU time (ulimit -t) is reached.
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
    /// Negative: none; poll(2) passes it over.
    private var attention: Int32 = -1

    /// From here on signals wait until they are asked for, so that nothing is cut in the middle.
    public init() throws(KernelError) {
        var set = sigset_t()
        sigemptyset(&set)
        // A hangup that was ignored before kiln began (nohup) stays so; blocked, it would be delivered all the same. Not the
        // others: shells ignore SIGINT for what they start in the background, and `kill -INT` still means it.
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

    /// To be told when the process ends.
    public func watch(pid: Int32) throws(KernelError) {
        let fd = kiln_pidfd_open(pid)
        guard fd >= 0 else { throw KernelError("watch process \(pid)", code: -fd, remedy: fd == -ESRCH ? "It has exited meanwhile." : nil) }
        processes.append((pid, fd))
    }

    /// To be told when a descriptor, which stays the caller's, is readable. One at a time; nil: none.
    public func watch(attention descriptor: Int32?) { attention = descriptor ?? -1 }

    /// Wait for the first event; events that are there are told before a deadline that has passed.
    public func next(until deadline: Nanoseconds) -> Event {
        while true {
            var waiting = [signals, attention].map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
            waiting += processes.map { pollfd(fd: $0.fd, events: Int16(POLLIN), revents: 0) }
            let now = MonotonicClock.now()
            let left = deadline > now ? (deadline - now).count : 0
            // Rounded up: waking before the deadline would only mean to wait again.
            let ready = poll(&waiting, nfds_t(waiting.count), Int32((left + 999_999) / 1_000_000))
            if ready == 0 { return .deadline }
            if ready < 0 { continue }    // interrupted
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
