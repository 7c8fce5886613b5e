import Glibc
import KilnKernel
import KilnModel
import KilnTargets
import PrintableText

/// What `kiln` alone prints: the servers and busy processes of this host, what kiln may do here, and what to try next. It attaches nothing.
struct Overview {
    /// A process, and the share of one CPU that it takes.
    struct Busy: Equatable {
        var pid: Int32
        var name: String
        var share: Double
    }

    var kernel: String
    var servers: [Target]
    /// The busiest other processes, busiest first.
    var others: [Busy]
    /// Why no session can run here, with what to do; nil: sessions can run.
    var obstacle: String?
    /// Sessions can run with sudo.
    var needsSudo: Bool
    /// How another host calls this one, if kiln was started from there.
    var host: String?
    /// What a session can't do here, each with the reason.
    var limits: [String]

    private static let most = 8, mostOthers = 3

    /// Looks at the processes for a fifth of a second.
    static func ofThisHost() -> Overview {
        let discovery = TargetDiscovery(), procfs = discovery.procfs
        let before = cpuTimes(procfs), began = MonotonicClock.now()
        let servers = (try? discovery.knownServers()) ?? []
        usleep(200_000)
        let seconds = Double((MonotonicClock.now() - began).count) / 1e9, known = Set(servers.map(\.pid) + [getpid()])
        let others = cpuTimes(procfs).compactMap { pid, now -> Busy? in
            guard !known.contains(pid), let former = before[pid], now.time > former.time else { return nil }
            return Busy(pid: pid, name: now.name, share: Double(now.time - former.time) / 1e9 / seconds)
        }
        let rights = Capabilities.rights()
        return Overview(
            kernel: kernelRelease(), servers: servers,
            others: Array(others.filter { $0.share >= 0.02 }.sorted { ($1.share, $0.pid) < ($0.share, $1.pid) }.prefix(mostOthers)),
            obstacle: rights.obstacle, needsSudo: rights.lacksPrivileges, host: getenv(RemoteSession.host).map { String(cString: $0) }, limits: rights.limits)
    }

    private static func cpuTimes(_ procfs: ProcFS) -> [Int32: (name: String, time: UInt64)] {
        var times: [Int32: (String, UInt64)] = [:]
        for pid in (try? procfs.pids()) ?? [] {
            guard let clock = try? ProcessCPUClock(pid: pid), let time = try? clock.nanoseconds(), let process = try? procfs.process(pid),
                let name = try? process.comm()
            else { continue }
            times[pid] = (name, time)
        }
        return times
    }

    var lines: [Line] {
        var lines: [Line] = ["kiln \(kilnVersion) on Linux \(kernel)", Line(bold: "Runs here")]
        for server in servers.prefix(Self.most) { lines.append("  \(server.comm) pid \(server.pid)\(Self.place(of: server))") }
        if servers.count > Self.most { lines.append("  … and \(servers.count - Self.most) more servers") }
        if servers.isEmpty { lines.append("  no redis-server, valkey-server, redict-server or keydb-server") }
        for busy in others { lines.append("  \(busy.name) pid \(busy.pid): \(Self.percent(busy.share)) of a CPU") }
        lines.append(Line(bold: "May do here"))
        lines.append(Line("  " + (obstacle ?? "everything that a session needs")))
        lines += limits.map { Line("  not: \($0)") }
        lines.append(Line(bold: "Try next"))
        let width = suggestions.map(\.command.count).max() ?? 0
        lines += suggestions.map { Line("  " + $0.command.padded(to: width) + "  " + $0.purpose) }
        lines.append("`kiln --help` lists all subcommands.")
        return lines
    }

    private static func place(of server: Target) -> String {
        let ports = server.ports.map { "\($0)" }.joined(separator: ", ")
        return (ports.isEmpty ? server.unixSockets.first.map { " at \($0)" } ?? "" : " port \(ports)")
            + (server.container.map { " in \($0.description)" } ?? "")
    }

    private static func percent(_ share: Double) -> String { "\(Int((100 * share).rounded())) %" }

    /// Three commands to try here.
    var suggestions: [(command: String, purpose: String)] {
        // From another host, by the words that lead here.
        let kiln = host.map { "kiln --host \($0)" + (needsSudo ? " --sudo" : "") } ?? (needsSudo ? "sudo kiln" : "kiln")
        guard obstacle == nil || needsSudo else {
            return [
                ("kiln doctor", "what this host lacks, and how to get it"), ("kiln --host HOST", "another host, through ssh"),
                ("kiln --help", "all subcommands"),
            ]
        }
        if let server = servers.first {
            let whom = server.ports.first.map { "--port \($0)" } ?? "--pid \(server.pid)"
            return [
                ("\(kiln) redis \(whom) -d 10", "latency of each command for ten seconds, with stacks and a page"),
                ("\(kiln) trace redis \(whom) --slower-than 10ms", "each request that takes 10 ms or longer, as it happens"),
                ("\(kiln) record --pid \(server.pid) --off-cpu -d 10", "where its time goes, on the CPU and waiting: a flamegraph"),
            ]
        }
        let whom = others.first.map { "--pid \($0.pid)" } ?? "--all"
        return [
            ("\(kiln) record \(whom) -d 10", "where its time goes, function by function: a flamegraph"),
            ("\(kiln) syscalls \(whom) -d 10", "its system calls, and how long they take"),
            ("\(kiln) doctor", "everything that this host allows"),
        ]
    }
}
