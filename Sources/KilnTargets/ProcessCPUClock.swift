#if canImport(Glibc)
import Glibc
#else
import Musl
#endif
import SystemPackage

/// The CPU time of a whole process in nanoseconds, in user and kernel mode, including threads that have ended.
///
/// The clock of clock_getcpuclockid(3), which has the scheduler's nanoseconds; utime and stime of /proc/PID/stat count ticks of 10 ms. It
/// needs no capability. It follows the pid, which may be reused after the process has ended.
public struct ProcessCPUClock: Sendable {
    private let clock: clockid_t

    /// - Throws: ESRCH if there is no such process, or if the id is that of a thread other than the group leader.
    public init(pid: Int32) throws(Errno) {
        var clock: clockid_t = 0
        let error = clock_getcpuclockid(pid, &clock)
        guard error == 0 else { throw Errno(rawValue: error) }
        self.clock = clock
    }

    /// - Throws: ESRCH if the process has ended and was waited for.
    public func nanoseconds() throws(Errno) -> UInt64 {
        var time = timespec()
        guard clock_gettime(clock, &time) == 0 else {
            // The kernel reports EINVAL for the CPU clock of a process that has ended.
            throw errno == EINVAL ? .noSuchProcess : Errno(rawValue: errno)
        }
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}
