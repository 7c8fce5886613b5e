import Glibc
import KilnModel
import KilnTargets

/// Resources that this process has used since its start.
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

    /// From proc(5). getrusage would include the memory of the parent before exec.
    private static func peakRSS() -> UInt64? {
        var status: [UInt8] = []
        guard (try? readPieces(of: "/proc/self/status", "status", { status += $0 })) != nil else { return nil }
        let line = String(decoding: status, as: UTF8.self).split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
        // VmHWM:	   28980 kB
        return line?.split { $0 == " " || $0 == "\t" }.dropFirst().first.flatMap { UInt64($0) }.map { $0 * 1024 }
    }
}

/// The CPU time that a target has used since its start.
func cpuClock(of pid: Int32) throws -> ProcessCPUClock {
    do { return try ProcessCPUClock(pid: pid) } catch {
        throw Failure("cannot read the CPU clock of pid \(pid): \(error). It may have exited; look with `ps -p \(pid)`.")
    }
}
