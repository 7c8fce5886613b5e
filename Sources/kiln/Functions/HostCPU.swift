import Glibc
import FoundationEssentials
import KilnModel

/// The CPU time of everything that ran on the host since it was booted, idle time left out; zero where /proc/stat can't be read.
func hostCPU() -> Nanoseconds {
    guard let text = try? String(contentsOfFile: "/proc/stat", encoding: .utf8), let line = text.split(separator: "\n").first else { return .zero }
    // cpu  user nice system idle iowait irq softirq steal …, in ticks; guests' time is part of user and nice.
    let fields = line.split(separator: " ").dropFirst().prefix(8).compactMap { UInt64($0) }
    guard fields.count == 8 else { return .zero }
    let ticks = fields.enumerated().reduce(UInt64(0)) { [3, 4, 7].contains($1.offset) ? $0 : $0 &+ $1.element }
    return Nanoseconds(ticks &* (1_000_000_000 / UInt64(max(1, sysconf(Int32(_SC_CLK_TCK))))))
}
