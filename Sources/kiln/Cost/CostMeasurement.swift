import KilnKernel
import KilnModel
import KilnTargets

/// Alternates windows with and without an observer while the target has its usual traffic.
final class CostMeasurement {
    let target: Target
    private(set) var windows: [CostWindow] = []
    /// Round trips of PING by window, in ns; empty without `--ping`.
    private(set) var roundTrips: [[UInt64]] = []
    /// Service of all commands, from the sessions.
    private(set) var service = Histogram()
    private(set) var isInterrupted = false
    private let observer: any CostObserver
    private let length: Nanoseconds
    private let clock: ProcessCPUClock
    private let server: ServerConnection?
    private let pings: Bool
    private let events: SessionEvents

    /// The time between PINGs.
    private static let pingEvery = Nanoseconds(10_000_000)
    /// The time after an attach, whose first-touch costs are not part of the overhead.
    private static let settling = Nanoseconds(50_000_000)

    /// `server`: is asked for INFO between windows.
    init(_ target: Target, observer: any CostObserver, window: Double, server: ServerConnection?, pings: Bool) throws {
        self.target = target
        self.observer = observer
        self.server = server
        self.pings = pings
        length = Nanoseconds(UInt64(window * 1e9))
        events = try SessionEvents()
        try events.watch(pid: target.pid)
        do { clock = try ProcessCPUClock(pid: target.pid) } catch {
            throw Failure("cannot read the CPU clock of pid \(target.pid): \(error). It may have exited.")
        }
    }

    /// Measures this many blocks, or fewer if a signal interrupts. Throws if the target ends.
    func run(blocks: Int, progress: (Int) -> Void) throws {
        for block in 0..<blocks {
            progress(block)
            var block: [CostWindow] = [], trips: [[UInt64]] = []
            var watching = false
            for watched in CostEstimate.order {
                if watched != watching {
                    watching = watched
                    if watched { try observer.start() } else if let record = try observer.stop() { remember(record) }
                    guard try pause(Self.settling) else { return try interrupted() }
                }
                var trip: [UInt64] = []
                guard let window = try measure(watched, &trip) else { return try interrupted() }
                block.append(window)
                trips.append(trip)
            }
            windows += block
            roundTrips += trips
        }
    }

    /// Runs one more session for one window with `observer`, and returns its record.
    func account(_ observer: any CostObserver) throws -> SessionRecord? {
        try observer.start()
        _ = try pause(length)
        return try observer.stop()
    }

    private func interrupted() throws {
        isInterrupted = true
        _ = try observer.stop()
    }

    private func remember(_ record: SessionRecord) {
        for command in record.commands.values { if let phase = command.phases["service"] { service.add(Histogram(phase)) } }
    }

    /// Nil if interrupted.
    private func measure(_ watched: Bool, _ trips: inout [UInt64]) throws -> CostWindow? {
        let before = try moment(), end = MonotonicClock.now() + length
        if pings, let server {
            while MonotonicClock.now() < end {
                let start = MonotonicClock.now()
                try server.ping()
                trips.append((MonotonicClock.now() - start).count)
                guard try pause(Self.pingEvery) else { return nil }
            }
        } else {
            guard try pause(length) else { return nil }
        }
        let after = try moment()
        let asked = before.server.flatMap { after.server?.since($0) }
        if before.server != nil, asked == nil { throw Failure("the server's counters were reset during the measurement (CONFIG RESETSTAT): measure again.") }
        return CostWindow(
            watched: watched, wallNs: (after.time - before.time).count, cpuNs: after.cpu &- before.cpu,
            commands: asked.map { $0.commands.values.reduce(0) { $0 &+ $1.calls &+ $1.rejectedCalls } },
            executionNs: asked.map { $0.commands.values.reduce(0) { $0 &+ $1.microseconds } &* 1000 },
            ioCalls: before.calls.flatMap { calls in after.calls.map { $0 &- calls } }
        )
    }

    private struct Moment {
        var server: ServerStatistics?
        var calls: UInt64?
        var cpu: UInt64
        var time: Nanoseconds
    }

    /// Asks the server before reading the clock, so that answering belongs to the end of the earlier window.
    private func moment() throws -> Moment {
        let server = try server?.statistics("commandstats")
        let calls = try? ProcFS().process(target.pid).ioCalls()
        do {
            return Moment(server: server, calls: calls, cpu: try clock.nanoseconds(), time: MonotonicClock.now())
        } catch {
            throw ended
        }
    }

    private var ended: Failure { Failure("pid \(target.pid) (\(target.comm)) ended while the overhead was measured.") }

    /// False if a signal asks for the end.
    private func pause(_ time: Nanoseconds) throws -> Bool {
        switch events.next(until: MonotonicClock.now() + time) {
        case .deadline, .attention: return true
        case .signal: return false
        case .ended: throw ended
        }
    }
}
