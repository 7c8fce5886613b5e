import CLibbpf
import Glibc

/// The kernel's run-time statistics of BPF programs, on while it lives. System-wide; costs time itself.
public struct RunStatistics: ~Copyable {
    private let fd: Int32

    public init() throws(KernelError) {
        fd = bpf_enable_stats(BPF_STATS_RUN_TIME)
        guard fd >= 0 else { throw KernelError("switch on BPF run-time statistics", code: errno) }
    }

    deinit { close(fd) }
}
