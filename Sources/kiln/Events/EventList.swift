import Glibc
import KilnKernel
import KilnSymbols

/// `kiln record -e list`: the events that this host has, a name a line.
struct EventList {
    /// A shell's pattern; without wildcards, names that contain it.
    let pattern: String?

    func lines() throws -> [String] {
        if let pattern, pattern.hasPrefix("usdt:") { return try staticProbes(pattern) }
        let counters = (HostEvents.software + HostEvents.hardware).filter(\.exists).map(\.name)
        let tracepoints = try HostEvents.tracepoints().map { name, category in category.map { "\($0):\(name)" } ?? name }
        let calls = HostEvents.systemCalls.keys.flatMap { ["syscalls:sys_enter_\($0)", "syscalls:sys_exit_\($0)"] }
        return (counters + (tracepoints + calls).sorted()).filter(matches)
    }

    /// `usdt:PATH[:PATTERN]`
    private func staticProbes(_ text: String) throws -> [String] {
        let parts = text.dropFirst("usdt:".count).split(separator: ":", maxSplits: 1).map(String.init)
        guard let path = parts.first else { throw Failure("usdt: names no file: give usdt:PATH.") }
        do {
            let names = Set(try ProbePlaces(of: path).staticProbes.map { "usdt:\(path):\($0.provider):\($0.name)" })
            return names.sorted().filter { parts.count == 1 || fnmatch(text, $0, 0) == 0 }
        } catch { throw Failure("cannot read the static probes of \(path): \(error).") }
    }

    private func matches(_ name: String) -> Bool {
        guard let pattern else { return true }
        guard pattern.contains(where: "*?[".contains) else { return name.contains(pattern) }
        return fnmatch(pattern, name, 0) == 0 || name.split(separator: ":").last.map { fnmatch(pattern, String($0), 0) == 0 } == true
    }
}
