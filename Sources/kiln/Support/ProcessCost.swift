import Glibc
import KilnModel
import KilnTargets

/// What this process has used since it started.
struct OwnCost {
    var cpu: Nanoseconds
    var peakRSSBytes: UInt64

    static func now() -> OwnCost {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        func nanoseconds(_ time: timeval) -> UInt64 { UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_usec) * 1000 }
        return OwnCost(
            cpu: Nanoseconds(nanoseconds(usage.ru_utime) + nanoseconds(usage.ru_stime)),
            peakRSSBytes: peakRSS() ?? UInt64(usage.ru_maxrss) * 1024
        )
    }

    /// From proc(5): getrusage counts the memory of the program that started this one, too, if that was more.
    private static func peakRSS() -> UInt64? {
        var status: [UInt8] = []
        guard (try? readPieces(of: "/proc/self/status", "status", { status += $0 })) != nil else { return nil }
        let line = String(decoding: status, as: UTF8.self).split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
        // VmHWM:	   28980 kB
        return line?.split { $0 == " " || $0 == "\t" }.dropFirst().first.flatMap { UInt64($0) }.map { $0 * 1024 }
    }
}

/// What a target has used since it started.
func cpuClock(of pid: Int32) throws -> ProcessCPUClock {
    do { return try ProcessCPUClock(pid: pid) } catch {
        throw Failure("cannot read the CPU clock of pid \(pid): \(error). It may have exited; look with `ps -p \(pid)`.")
    }
}

/// What the limits of this process allow, before anything is attached: a session that runs into one can only break off. Each CPU's timers
/// and each mapped file of a target take a descriptor: as many as the system grants are taken.
func requireLimits() throws {
    var files = rlimit(), space = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &files)
    files.rlim_cur = files.rlim_max
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &files)
    let wanted = rlim_t(160 + 2 * sysconf(Int32(_SC_NPROCESSORS_ONLN)))
    guard files.rlim_max >= wanted else {
        throw Failure("the limit of open files (ulimit -n) is \(files.rlim_max), and a session takes \(wanted) or more. Raise it.")
    }
    // Three times what a session was seen to take (VmPeak), most of it for threads and never touched.
    let leastSpace = rlim_t(1 << 30)
    getrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &space)
    guard space.rlim_cur >= leastSpace else {
        throw Failure("the limit of address space (ulimit -v) is \(space.rlim_cur >> 20) MiB, and a session takes up to \(leastSpace >> 20). Raise it.")
    }
}
