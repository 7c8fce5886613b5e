import Glibc

/// A moment of the wall clock.
struct WallTime {
    private let seconds: time_t
    private let milliseconds: Int

    init() {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        seconds = now.tv_sec
        milliseconds = now.tv_nsec / 1_000_000
    }

    /// RFC 3339 in UTC, with milliseconds.
    var rfc3339: String {
        var seconds = seconds
        var parts = tm()
        gmtime_r(&seconds, &parts)
        let fraction = String(milliseconds)
        return format(parts, "%Y-%m-%dT%H:%M:%S") + "." + String(repeating: "0", count: 3 - fraction.count) + fraction + "Z"
    }

    /// Local time of day, for people.
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

/// `No such process`
func errorText(_ code: Int32) -> String {
    strerror(code).map { String(cString: $0) } ?? "errno \(code)"
}

/// `10.0 s`
func significantSeconds(_ seconds: Double) -> String { "\((seconds * 10).rounded() / 10) s" }
