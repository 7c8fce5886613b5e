import Glibc
import KilnKernel
import KilnModel

/// A time of the wall clock.
struct WallTime {
    private let seconds: time_t
    private let nanoseconds: Int

    init() {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        seconds = now.tv_sec
        nanoseconds = now.tv_nsec
    }

    /// `sinceEpoch`: nanoseconds.
    init(sinceEpoch: UInt64) {
        seconds = time_t(sinceEpoch / 1_000_000_000)
        nanoseconds = Int(sinceEpoch % 1_000_000_000)
    }

    /// In seconds.
    var sinceEpoch: Double { Double(seconds) + Double(nanoseconds) / 1e9 }

    /// RFC 3339 in UTC, with milliseconds.
    var rfc3339: String { utc + "." + padded(nanoseconds / 1_000_000, to: 3) + "Z" }
    var rfc3339Nanoseconds: String { utc + "." + padded(nanoseconds, to: 9) + "Z" }

    func isInSecond(of other: WallTime) -> Bool { seconds == other.seconds }

    private var utc: String {
        var seconds = seconds
        var parts = tm()
        gmtime_r(&seconds, &parts)
        return format(parts, "%Y-%m-%dT%H:%M:%S")
    }

    private func padded(_ number: Int, to digits: Int) -> String {
        let text = String(number)
        return String(repeating: "0", count: digits - text.count) + text
    }

    /// Local date and time, as in logs.
    var dateAndTime: String { format(local, "%Y/%m/%d %H:%M:%S") }
    var microseconds: String { padded(nanoseconds / 1000, to: 6) }

    /// Local time of day.
    var timeOfDay: String { format(local, "%H:%M:%S") }

    /// Local time as part of a file name.
    var fileName: String { format(local, "%Y%m%d-%H%M%S") }

    private var local: tm {
        var seconds = seconds
        var parts = tm()
        localtime_r(&seconds, &parts)
        return parts
    }

    private func format(_ parts: tm, _ pattern: String) -> String {
        var parts = parts
        return withUnsafeTemporaryAllocation(of: CChar.self, capacity: 64) { buffer in
            let length = strftime(buffer.baseAddress, buffer.count, pattern, &parts)
            return String(decoding: buffer.prefix(length).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
    }
}

/// Local times with microseconds, as the lines of a log have them. Neighbours share their second, whose text takes longest to make.
struct LogTimes {
    private var last: WallTime?
    private var second = ""

    mutating func text(_ time: WallTime) -> String {
        if last?.isInSecond(of: time) != true { second = time.dateAndTime + "." }
        last = time
        return second + time.microseconds
    }
}

/// The present difference between the wall clock and the kernel's monotonic clock.
struct MonotonicOffset {
    private let offset: UInt64

    init() {
        var wall = timespec()
        clock_gettime(CLOCK_REALTIME, &wall)
        offset = UInt64(wall.tv_sec) &* 1_000_000_000 &+ UInt64(wall.tv_nsec) &- MonotonicClock.now().count
    }

    func wallTime(of moment: Nanoseconds) -> WallTime { WallTime(sinceEpoch: moment.count &+ offset) }
}
