import CLibbpf
import Glibc

/// Switches the kernel's BPF run-time statistics on for its lifetime. They are system-wide and add overhead themselves.
public struct RunStatistics: ~Copyable {
    private let fd: Int32

    public init() throws(KernelError) {
        fd = bpf_enable_stats(BPF_STATS_RUN_TIME)
        guard fd >= 0 else { throw KernelError("switch on BPF run-time statistics", code: errno) }
    }

    deinit { close(fd) }
}
