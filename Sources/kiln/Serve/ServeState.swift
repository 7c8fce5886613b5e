import Glibc
import KilnKernel
import KilnMetrics
import KilnModel
import KilnTargets
import Synchronization

/// What the thread of the sessions tells and the thread of the server reads.
final class ServeState: Sendable {
    /// A server as the pages show it.
    struct Row: Sendable {
        var instance: String
        var target: SessionRecord.Target
        var began: WallTime
        /// In the last interval, per second; nil before the first.
        var calls: Double?
        var isUp = true
    }

    struct Content: Sendable {
        var totals: [String: RedisTotals] = [:]
        /// By instance.
        var rows: [String: Row] = [:]
        /// When a server that has gone was seen last.
        var gone: [String: Nanoseconds] = [:]
        var lost: [String: Double] = [:]
        var sessions = 0.0, failures = 0.0
        var leftOut = 0
        /// Servers that the present session watches, by index; empty between sessions.
        var watched: [String] = []
        var lastInterval = Nanoseconds.zero
        /// Why there is no session now; nil: there is one, or nothing to watch.
        var problem: String?
        /// Of the BPF programs, as a part of the servers' CPU time.
        var cost: Double?
        var isEnding = false
    }

    /// Totals of a server that has gone are kept so long, so that its series go on if it returns.
    private static let keepsGone = Nanoseconds(3_600_000_000_000)
    private static let mostServers = 64

    let bounds: BucketBounds
    private let started = WallTime()
    /// Of the last scrape, in bytes.
    private let lastLength = Atomic(0)
    let content = Mutex(Content())

    init(bounds: BucketBounds) { self.bounds = bounds }

    func change(_ body: (inout sending Content) -> Void) { content.withLock { body(&$0) } }
    func read<Value: Sendable>(_ body: (Content) -> Value) -> Value { content.withLock { body($0) } }

    /// A session has begun to watch these servers.
    func begins(_ servers: [ServedTargets.Server], unwatched: [String: (since: Nanoseconds, reason: String)]) {
        let now = WallTime()
        change { content in
            content.sessions += 1
            content.problem = nil
            content.cost = nil
            content.watched = servers.map(\.instance)
            content.lastInterval = MonotonicClock.now()
            for server in servers {
                let target = server.target
                var totals = content.totals[server.instance] ?? RedisTotals(instance: server.instance, bounds: bounds)
                if content.rows[server.instance]?.target.pid != target.pid { totals.starts += 1 }
                totals.isUp = true
                if let (since, reason) = unwatched[server.instance], MonotonicClock.now() > since {
                    totals.addUnwatched((MonotonicClock.now() - since).seconds, because: reason)
                }
                content.totals[server.instance] = totals
                content.gone[server.instance] = nil
                content.rows[server.instance] = Row(
                    instance: server.instance,
                    target: .init(
                        pid: target.pid, exe: target.exe, comm: target.comm, ports: target.ports, container: target.container.map { String(describing: $0) }),
                    began: content.rows[server.instance].flatMap { $0.target.pid == target.pid ? $0.began : nil } ?? now)
            }
        }
    }

    func add(_ interval: SessionInterval, of instances: [String]) {
        change { content in
            content.lastInterval = MonotonicClock.now()
            for (process, instance) in instances.enumerated() {
                content.totals[instance]?.add(interval.counts, process: process, syscallName: syscallName)
                let estimates = interval.counts[Estimates.self]
                let calls = interval.counts.commands.reduce(0.0) { sum, command in
                    guard command.key.process == process else { return sum }
                    return sum + (estimates?.calls(command.key, counted: command.value.calls).value ?? Double(command.value.calls))
                }
                content.rows[instance]?.calls = calls / max(interval.counts.time.seconds, 1e-3)
                content.rows[instance]?.target = interval.targets[process]
            }
            for (name, count) in interval.counts.losses { content.lost[name, default: 0] += Double(count) }
            Self.dropLongGone(&content)
        }
    }

    /// The session has ended, and these servers with it.
    func ends(gone instances: [String]) {
        change { content in
            content.watched = []
            for instance in instances { Self.leave(instance, &content) }
        }
    }

    /// Only these are to be watched from now on.
    func keepOnly(_ instances: Set<String>) {
        change { content in
            for (instance, totals) in content.totals where totals.isUp && !instances.contains(instance) { Self.leave(instance, &content) }
            Self.dropLongGone(&content)
        }
    }

    /// There is no server to watch.
    func hasNone() {
        change { content in
            content.problem = nil
            content.cost = nil
        }
    }

    /// A session has failed, and nothing is watched until the next one.
    func fails(because problem: String) {
        change { content in
            content.failures += 1
            content.problem = problem
        }
        keepOnly([])
    }

    private static func leave(_ instance: String, _ content: inout Content) {
        content.totals[instance]?.isUp = false
        content.rows[instance]?.isUp = false
        content.rows[instance]?.calls = nil
        content.gone[instance] = content.gone[instance] ?? MonotonicClock.now()
        dropLongGone(&content)
    }

    /// Drops servers that went longer than `keepsGone` ago, and those that went first where there are more than `mostServers`.
    private static func dropLongGone(_ content: inout Content) {
        while let oldest = content.gone.min(by: { $0.value < $1.value }),
            content.totals.count > mostServers || oldest.value + keepsGone < MonotonicClock.now()
        {
            content.gone[oldest.key] = nil
            content.totals[oldest.key] = nil
            content.rows[oldest.key] = nil
        }
    }

    func knowsCommand(_ name: String) -> Bool { read { $0.totals.values.contains { $0.hasCommand(name) } } }

    /// The body of `/metrics`.
    func metrics(connections: (open: Int, refused: Int)) -> [UInt8] {
        var text = Exposition(capacity: lastLength.load(ordering: .relaxed) * 9 / 8)
        defer { lastLength.store(text.bytes.count, ordering: .relaxed) }
        let content = content.withLock { $0 }
        text.metric("kiln_build_info", .gauge, "The version of kiln; the value is 1.")
        text.sample(Labels(["version": kilnVersion]), 1)
        text.single("kiln_targets", .gauge, "Servers that are watched now.", Double(content.watched.count))
        text.single(
            "kiln_targets_left_out", .gauge, "Servers that run and are not watched, because a session takes \(WatchedProcesses.limit).", Double(content.leftOut)
        )
        text.single(
            "kiln_sessions_total", .counter,
            "Sessions that began. Another one begins when servers come or go, when a profile needs other probes, when the tables of stacks are full, when the configuration has changed, and after a failure.",
            content.sessions)
        text.single("kiln_session_failures_total", .counter, "Sessions that an error ended or kept from beginning.", content.failures)
        if let cost = content.cost {
            text.single("kiln_overhead_ratio", .gauge, "CPU time of kiln's BPF programs as a part of the servers' CPU time, by the last measurement.", cost)
        }
        text.metric("kiln_lost_events_total", .counter, "Events that could not be counted or attributed, of all servers together, by reason.")
        for (name, count) in content.lost.sorted(by: { $0.key < $1.key }) { text.sample(Labels(["reason": name]), count) }
        text.single("kiln_http_connections", .gauge, "Open connections to this server.", Double(connections.open))
        text.single(
            "kiln_http_connections_refused_total", .counter, "Connections beyond the limit, for each of which one was closed.", Double(connections.refused))
        RedisMetrics.write(Array(content.totals.values), bounds, to: &text)
        OwnProcess.metrics(started: started).write(to: &text)
        return text.bytes
    }

    /// What `/healthz` answers.
    ///
    /// - Parameter interval: The length of an interval.
    func health(interval: Nanoseconds) -> (isWell: Bool, line: String) {
        read { content in
            if content.isEnding { return (false, "kiln is ending") }
            if let problem = content.problem { return (false, "no session: \(problem)") }
            guard !content.watched.isEmpty else { return (true, "no server runs; kiln waits for one") }
            let age = MonotonicClock.now() - content.lastInterval, most = Nanoseconds(10_000_000_000 + (Session.idlePace + 1) * interval.count)
            guard age < most else { return (false, "the last interval ended \(age) ago") }
            return (true, "watching \(content.watched.joined(separator: ", "))")
        }
    }
}

/// kiln's own process, by proc(5).
enum OwnProcess {
    static func metrics(started: WallTime) -> ProcessMetrics {
        var metrics = ProcessMetrics()
        metrics.cpuSeconds = OwnCost.now().cpu.seconds
        metrics.startTime = started.sinceEpoch
        let page = Double(sysconf(Int32(_SC_PAGESIZE)))
        let sizes = text("/proc/self/statm").split(separator: " ").prefix(2).map { (Double($0) ?? 0) * page }
        if sizes.count == 2 { (metrics.virtualBytes, metrics.residentBytes) = (sizes[0], sizes[1]) }
        metrics.openDescriptors = Double(openDescriptors())
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        metrics.mostDescriptors = Double(limit.rlim_cur)
        return metrics
    }

    private static func text(_ file: String) -> String {
        var bytes: [UInt8] = []
        try? readPieces(of: file, "status") { bytes += $0 }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func openDescriptors() -> Int {
        guard let directory = opendir("/proc/self/fd") else { return 0 }
        defer { closedir(directory) }
        var count = 0
        while readdir(directory) != nil { count += 1 }
        // Without `.`, `..` and the directory's own.
        return count - 3
    }
}
