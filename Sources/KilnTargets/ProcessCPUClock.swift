#if canImport(Glibc)
import Glibc
#else
import Musl
#endif
import SystemPackage

/// The CPU time of a whole process, in nanoseconds: of its threads, those that ended included, in user and kernel mode.
///
/// The clock of clock_getcpuclockid(3), which reads what the scheduler has charged to the nanosecond; utime and stime of
/// /proc/PID/stat count in ticks of 10 ms. No capability is needed. The clock follows the pid, also to another process
/// that gets it later.
public struct ProcessCPUClock: Sendable {
    private let clock: clockid_t

    /// - Throws: ESRCH when there is no such process, or the id is that of a thread which leads no group.
    public init(pid: Int32) throws(Errno) {
        var clock: clockid_t = 0
        let error = clock_getcpuclockid(pid, &clock)
        guard error == 0 else { throw Errno(rawValue: error) }
        self.clock = clock
    }

    /// - Throws: ESRCH when the process has ended and was waited for.
    public func nanoseconds() throws(Errno) -> UInt64 {
        var time = timespec()
        guard clock_gettime(clock, &time) == 0 else {
            // The kernel says EINVAL for a CPU clock whose process is gone.
            throw errno == EINVAL ? .noSuchProcess : Errno(rawValue: errno)
        }
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}
