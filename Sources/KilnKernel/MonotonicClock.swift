import Glibc
import KilnModel

/// CLOCK_MONOTONIC, the clock of all latencies and of the session.
public enum MonotonicClock {
    /// Nanoseconds since the machine started, without suspended time.
    public static func now() -> Nanoseconds {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Nanoseconds(UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec))
    }
}
