import Glibc
import KilnModel

/// CLOCK_MONOTONIC, the clock of the kernel's latencies and of everything that a session measures.
public enum MonotonicClock {
    /// The time since the machine started, without the time in which it was suspended.
    public static func now() -> Nanoseconds {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Nanoseconds(UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec))
    }
}
