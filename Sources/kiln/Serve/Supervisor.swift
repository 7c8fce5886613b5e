import ArgumentParser
import Glibc
import KilnKernel
import KilnMetrics
import KilnModel
import KilnServer
import KilnTargets
import Synchronization

/// Runs sessions of the servers that there are, one after the other, while the HTTP server answers on a thread of its own.
final class Supervisor {
    struct Options: Sendable {
        var interval = Nanoseconds(1_000_000_000)
        var hook: CommandHook?
        var frequency = 99
        /// Off-CPU time is always recorded, not only for pulls.
        var offCPU = false
        var countsSyscalls = true
        var followsTLS = true
        var budget: BudgetOptions?
    }

    /// A configuration file that was read again.
    struct Reread {
        var options: Options
        var choice: ServedTargets.Choice
        /// Something has changed that can be taken over without a restart.
        var hasChanged: Bool
        /// Says what has changed. Until this is called, the file counts as not read.
        var accept: () -> Void
    }

    /// Between two looks for servers while there are none, and just after one has gone.
    private static let lookEvery = Nanoseconds(2_000_000_000), lookSoon = Nanoseconds(250_000_000), soon = Nanoseconds(10_000_000_000)
    /// After the last pull of off-CPU time, it is recorded for so long.
    private static let keepsOffCPU = Nanoseconds(600_000_000_000)
    private static let longestPause = Nanoseconds(60_000_000_000)

    private let current: CurrentOptions
    private var targets: ServedTargets
    private var choice: ServedTargets.Choice
    private let reread: (() throws -> Reread)?
    private let manager = ServiceManager()
    private var signOfLifeAt = Nanoseconds.zero
    private let state: ServeState
    private let pulls = Pulls()
    private let recent = RecentMinutes()
    /// Blocks signals in all threads that come later.
    private let events: SessionEvents
    /// When off-CPU time was pulled last, by the monotonic clock; 0: never.
    private let offCPUPulled = OffCPUPulled()
    /// Pulls that no session records now.
    private var waiting: [Pull] = []
    /// By instance: until when it was watched, and why not longer.
    private var watchedUntil: [String: (time: Nanoseconds, reason: ServedSession.Reason)] = [:]
    private var hasBegun = false
    private var announced: [Int32] = []
    private var lastGone = Nanoseconds.zero

    private var options: Options { current.value }

    /// Throws if one of the processes that are asked for by pid does not exist.
    ///
    /// - Parameter reread: Reads the configuration file again; nil: there is none.
    init(_ options: Options, _ choice: ServedTargets.Choice, bounds: BucketBounds, reread: (() throws -> Reread)? = nil) throws {
        current = CurrentOptions(options)
        self.choice = choice
        self.reread = reread
        events = try SessionEvents()
        targets = try ServedTargets(choice)
        state = ServeState(bounds: bounds)
    }

    /// Serves until a signal.
    func run(listening address: ListenAddress, token: String?) throws {
        let routes = ServeRoutes(state: state, pulls: pulls, options: current, offCPUPulled: offCPUPulled)
        // One thread answers, and the routes need the counts of the server that they belong to.
        let connections = ConnectionCounts()
        let server: HTTPServer
        do {
            server = try HTTPServer(host: address.host, port: address.port, token: token.map { Array($0.utf8) }, router: routes.router(connections))
        } catch {
            throw Failure("cannot listen on \(address): \(error). Is another program there? Give another address with --listen.")
        }
        connections.set(server)
        defer {
            manager.stopping()
            state.change { $0.isEnding = true }
            for pull in waiting + pulls.takeNew() { ServedSession.answer(pull, pulls) }
            pulls.wait()
            server.stop()
        }
        say("kiln \(kilnVersion): http://\(ListenAddress.text(address.host, server.port))/")
        manager.ready(status: "no server is watched yet")
        try runSessions()
    }

    private func runSessions() throws {
        var pause = Nanoseconds.zero
        while true {
            targets.look()
            let servers = targets.servers, leftOut = targets.leftOut
            state.change { $0.leftOut = leftOut }
            state.keepOnly(Set(servers.map(\.instance)))
            guard !servers.isEmpty else {
                state.hasNone()
                if !announced.isEmpty { manager.tell(status: "no server runs") }
                announced = []
                guard choice.mayGrow else { return say("kiln: the processes that --pid names have ended") }
                if try rest(until: MonotonicClock.now() + (MonotonicClock.now() < lastGone + Self.soon ? Self.lookSoon : Self.lookEvery)) { return }
                continue
            }
            do {
                if try watch(servers) { return }
                pause = .zero
            } catch {
                let isAlive = servers.contains { access("/proc/\($0.target.pid)", F_OK) == 0 }
                if !hasBegun, isAlive { throw error }
                for server in servers where access("/proc/\(server.target.pid)", F_OK) != 0 { targets.ended(server.target.pid) }
                guard isAlive else { continue }
                pause = min(max(Nanoseconds(pause.count * 2), Nanoseconds(1_000_000_000)), Self.longestPause)
                say("kiln: a session failed, the next one begins in \(pause): ", error)
                state.fails(because: "\(error)".split(separator: "\n").first.map(String.init) ?? "unknown")
                if try rest(until: MonotonicClock.now() + pause) { return }
            }
        }
    }

    /// Waits while nothing is watched. Returns true at the end.
    private func rest(until end: Nanoseconds) throws -> Bool {
        while true {
            answerWaiting()
            giveSignOfLife()
            let now = MonotonicClock.now()
            if now >= end { return false }
            switch events.next(until: min(end, now + Self.lookSoon)) {
            case .signal(SIGHUP): if hangup() { return false }
            case .signal: return true
            case .deadline, .attention, .ended: break
            }
        }
    }

    /// Nothing is recorded: what was is the answer once it is due, and the rest gets none.
    private func answerWaiting() {
        waiting += pulls.takeNew()
        for pull in waiting where pull.isGone || pull.began == nil || pull.due <= MonotonicClock.now() {
            waiting.removeAll { $0 === pull }
            ServedSession.answer(pull, pulls)
        }
    }

    /// SIGHUP: reads the configuration file again. Returns whether a session has to begin with other options.
    private func hangup() -> Bool {
        guard let reread else {
            say("kiln: SIGHUP: there is no configuration file to read again (--config)")
            return false
        }
        manager.reloading()
        defer { manager.ready(status: status) }
        do {
            let new = try reread(), targets = new.hasChanged ? try ServedTargets(new.choice) : self.targets
            // Nothing is refused from here on. What was refused is read again at the next SIGHUP.
            new.accept()
            guard new.hasChanged else { return false }
            self.targets = targets
            choice = new.choice
            current.set(new.options)
            return true
        } catch {
            say("kiln: everything stays as it was: ", error)
            return false
        }
    }

    private var status: String { announced.isEmpty ? "no server is watched" : "watching \(announced.count) server\(announced.count == 1 ? "" : "s")" }

    /// For the service manager, which starts kiln again if none comes.
    private func giveSignOfLife() {
        guard let interval = manager.watchdogInterval, MonotonicClock.now() >= signOfLifeAt else { return }
        signOfLifeAt = MonotonicClock.now() + Nanoseconds(interval)
        manager.sendSignOfLife()
    }

    // MARK: - A session

    /// Runs one session. Returns true if a signal ended it.
    private func watch(_ servers: [ServedTargets.Server]) throws -> Bool {
        let events = try SessionEvents()
        waiting += pulls.takeNew()
        let found = servers.map(\.target), pids = found.map(\.pid)
        let takesOffCPU = options.frequency > 0 && (options.offCPU || waiting.contains { $0.kind == .offCPU } || wasPulledLately)
        let commandRows = CommandRows()
        let watched = try WatchedProcesses(found, for: "kiln serve"), sessionTargets = try found.map { try SessionTarget($0) }
        let turns = try Turns(), work = options.frequency > 0 ? try WorkMaps(keepingStacksOf: .init()) : nil
        let began = MonotonicClock.now()
        let requests = RequestProbe(
            .redis, found, watched: watched, hook: options.hook, followsTLS: options.followsTLS, rows: commandRows, turns: turns, work: work,
            watchVaries: options.budget?.option != nil, began: began, isSolePurpose: false)
        var probes: [any Probe] = [requests]
        if options.countsSyscalls { probes.append(SyscallCounting(watched: watched, turns: turns, waits: options.budget?.maxCost != nil)) }
        var sampling: StackSampling?, folding: StackFolding?
        if let work {
            var asked = try SamplingOptions.parse([])
            asked.frequencyArgument = FrequencyArgument(hertz: options.frequency)
            asked.threads = true
            asked.offCPU = takesOffCPU
            // Servers of debug files learn which programs run here, and nobody has asked for them.
            asked.debugFiles.debuginfod = ""
            let names = StackFolding(targets: pids, asked)
            folding = names
            sampling = StackSampling(of: Members(watched), asked, folding: names, work: work, turns: turns)
            probes += sampling.map { [$0] } ?? []
        }
        let session = ServedSession(
            .init(
                state: state, pulls: pulls, targets: targets, recent: recent, hangup: { [unowned self] in hangup() },
                turn: { [unowned self] in giveSignOfLife() }), servers, sessionTargets,
            sampling: sampling, takesOffCPU: takesOffCPU, pulls: waiting,
            isOffCPUUnused: { [unowned self] in !options.offCPU && !wasPulledLately }, unwatched: unwatched(servers))
        waiting = []
        var plan = Session.Plan(
            targets: sessionTargets, probes: probes, sinks: [session], began: began, folding: folding, interval: options.interval)
        plan.rows = [.commands] + (options.countsSyscalls ? [.syscalls] : [])
        plan.length = try LengthOptions.parse([])
        plan.supervisor = session
        plan.budget = options.budget?.budget(of: requests, frequency: options.frequency)
        if announced != pids {
            say("kiln: watching \(servers.map { "\($0.instance) (\($0.target.comm), pid \($0.target.pid))" }.joined(separator: ", "))")
            if targets.leftOut > 0 { say("kiln: \(targets.leftOut) more servers run; a session takes \(WatchedProcesses.limit)") }
            announced = pids
            manager.tell(status: status)
        }
        let run = Session(plan, events: events)
        defer { conclude(session, servers, sessionTargets) }
        try run.run()
        return switch run.ending {
        case .interrupted, .terminated: true
        default: false
        }
    }

    private func conclude(_ session: ServedSession, _ servers: [ServedTargets.Server], _ sessionTargets: [SessionTarget]) {
        waiting = session.pulls
        recent.forget()
        let now = MonotonicClock.now(), gone = zip(servers, sessionTargets).filter { $1.hasExited }.map(\.0)
        for server in gone { targets.ended(server.target.pid) }
        if !gone.isEmpty { lastGone = now }
        state.ends(gone: gone.map(\.instance))
        if session.hasBegun {
            hasBegun = true
            let reason = session.reason ?? (gone.isEmpty ? .failure : .restart)
            for server in servers { watchedUntil[server.instance] = (now, reason) }
        }
        if watchedUntil.count > 1000 { watchedUntil = [:] }
        releaseFreeMemory()
    }

    /// Up to now; the session tells when it begins.
    private func unwatched(_ servers: [ServedTargets.Server]) -> [String: (since: Nanoseconds, reason: String)] {
        servers.reduce(into: [:]) { result, server in
            guard let (until, reason) = watchedUntil[server.instance] else { return }
            result[server.instance] = (max(until, server.target.began), reason.rawValue)
        }
    }

    private var wasPulledLately: Bool {
        let last = offCPUPulled.last
        return last != .zero && MonotonicClock.now() < last + Self.keepsOffCPU
    }
}

/// The options of the present session and the next; SIGHUP may change them.
final class CurrentOptions: Sendable {
    private let options: Mutex<Supervisor.Options>

    init(_ options: Supervisor.Options) { self.options = Mutex(options) }

    var value: Supervisor.Options { options.withLock { $0 } }
    func set(_ new: Supervisor.Options) { options.withLock { $0 = new } }
}

/// When off-CPU time was pulled last.
final class OffCPUPulled: Sendable {
    private let time = Atomic<UInt64>(0)

    /// By the monotonic clock; zero: never.
    var last: Nanoseconds { Nanoseconds(time.load(ordering: .relaxed)) }
    func note() { time.store(MonotonicClock.now().count, ordering: .relaxed) }
}

extension Target {
    /// When the process began, by the monotonic clock.
    fileprivate var began: Nanoseconds {
        var sinceBoot = timespec()
        clock_gettime(CLOCK_BOOTTIME, &sinceBoot)
        let now = UInt64(sinceBoot.tv_sec) * 1_000_000_000 + UInt64(sinceBoot.tv_nsec)
        let start = startTime * (1_000_000_000 / UInt64(max(sysconf(Int32(_SC_CLK_TCK)), 1)))
        let age = now > start ? now - start : 0, monotonic = MonotonicClock.now().count
        return Nanoseconds(monotonic > age ? monotonic - age : 0)
    }
}
