import ArgumentParser
import Dispatch
import Glibc
import KilnKernel
import KilnModel

/// Observes targets with a list of probes until something ends it, and gives what they measure to a list of sinks.
///
/// Every subcommand that observes makes its lists and runs one. Data flows one way: from the probes into snapshots, from snapshots into
/// records, from records into sinks.
final class Session {
    /// What differs from one subcommand to the next.
    struct Plan {
        let targets: [SessionTarget]
        /// In the order in which they are attached.
        let probes: [any Probe]
        /// In the order in which they are called.
        let sinks: [any Sink]
        let length: LengthOptions
        /// When kiln started, by both clocks.
        var began = MonotonicClock.now()
        var started = WallTime()
        /// Names the frames of the probes' stacks; nil where no probe has any.
        var folding: StackFolding?
        /// How often sinks get the numbers; nil: at the end only.
        var interval: Nanoseconds?
        /// How often session.json is written on the way, if there are intervals. Writing it takes a quarter of kiln's own time when each
        /// interval does.
        var recordEvery = Nanoseconds(10_000_000_000)
        /// How often probes are drained.
        var drainEvery = Nanoseconds(200_000_000)
        /// The words of the command behind `--`, and the command, which waits until everything is attached.
        var words: [String] = []
        var command: ChildCommand?
        /// More of how the session observes, beside what the probes say.
        var details: [String] = []
        /// `--bpf-statistics`.
        var keepsRunStatistics = false
        var costLimit: CostLimit?
    }

    private let plan: Plan
    private let events: SessionEvents
    private let kernel = kernelRelease()
    /// The kernel keeps run times of programs as long as this lives.
    private var statistics: RunStatistics?
    private var ending: SessionEnding?
    /// What has ended the session, if it was an error; what went wrong first.
    private var attempts = Attempts()
    /// When the first probe began to count, and how long after kiln's start the last one did.
    private var first = Nanoseconds.zero
    private var attachTime = Nanoseconds.zero
    /// As last read, since the probes were attached.
    private var total: Snapshot
    private var ownCPU = Nanoseconds.zero
    private var recorded: Nanoseconds?
    private var folding = FoldingTimes()

    /// From here on signals wait until the session asks for them. `targets`: whose exits end it, once all have exited.
    init(_ plan: Plan, events: SessionEvents) throws {
        self.plan = plan
        self.events = events
        total = Snapshot(time: .zero)
        for target in plan.targets where target.pid != 0 && target.pid != plan.command?.pid { try events.watch(pid: target.pid) }
        if let command = plan.command { try events.watch(pid: command.pid) }
    }

    /// Observe until something ends the session. A session that fails before it has begun, and one that finds nothing to measure, take back
    /// the files they have made.
    func run() throws {
        defer {
            for probe in plan.probes.reversed() { probe.detach() }
            plan.command?.end()
        }
        do {
            if plan.keepsRunStatistics { statistics = try RunStatistics() }
            try attach()
            if let command = plan.command { try start(command, plan.words) }
        } catch {
            for sink in plan.sinks { sink.discard() }
            throw error
        }
        run(untilEnded: { try announce(); try poll() })
        guard ending != .nothingToMeasure else {
            for sink in plan.sinks { sink.discard() }
            throw ExitCode(1)  // the probe has said why
        }
        // Whatever went wrong on the way, what is known is written.
        finish()
        try attempts.throwFirst()
        for probe in plan.probes { try probe.conclude(total) }
        if ending == .commandEnded { try passOnStatus(of: plan.command) }
    }

    /// Loads take a hundred milliseconds, most of it in the verifier, attaching a few: everything is loaded before anything counts. Two threads
    /// load, not more: each needs some 10 MB meanwhile, for the kernel's types. Programs that probe functions are verified by a third.
    private func attach() throws {
        let queue = DispatchQueue(label: "loading")
        let others = plan.probes.dropFirst().reversed().map { probe in
            Meanwhile(on: queue) { () throws(KernelError) in try probe.load() }
        }
        try plan.probes.first?.load()
        for other in others { try other.outcome() }
        let moments = try plan.probes.map { try $0.attach() }
        first = moments.min() ?? MonotonicClock.now()
        attachTime = MonotonicClock.now() - plan.began
        // Maps start at zero when they are attached: that is the first snapshot, and the first interval misses nothing.
        total.time = first
        for target in plan.targets { target.begin() }
        ownCPU = OwnCost.now().cpu
        for probe in plan.probes { try probe.begin() }
    }

    private func announce() throws {
        let start = SessionStart(
            targets: plan.targets.map(\.described), details: plan.probes.flatMap(\.details) + plan.details + [plan.length.words(plan.words)],
            programs: loadedPrograms, refusals: plan.probes.flatMap(\.refusals)
        )
        for sink in plan.sinks { try sink.begin(start) }
    }

    /// Run what may end the session by an error, which is kept.
    private func run(untilEnded body: () throws -> Void) {
        do { try body() } catch let end as EndOfSession {
            ending = end.ending
        } catch is OutputClosed {
            ending = .outputClosed
        } catch {
            ending = .error
            attempts.run { throw error }
        }
    }

    /// Takes turns until something has ended the session. The turn that finds its end is the last one.
    private func poll() throws {
        let end = plan.length.end(from: first, plan.words)
        var due = plan.interval.map { first + $0 }, more = false
        plan.costLimit?.begin(at: first)
        // One descriptor is enough as long as one probe has any.
        events.watch(attention: plan.probes.lazy.compactMap(\.attention).first)
        defer { events.watch(attention: nil) }
        while ending == nil {
            let drainAt = MonotonicClock.now() + (more ? .zero : plan.drainEvery)
            wait(until: [drainAt, due, end, plan.costLimit?.due].compactMap(\.self).min() ?? drainAt)
            for target in plan.targets { target.refresh() }
            try limitCost()
            if let end, MonotonicClock.now() >= end { self.end(.duration) }
            if ending != nil { stop() }
            repeat { more = try drain() } while more && ending != nil
            if ending == nil, plan.folding != nil, folding.isDue { try checkpointStacks() }
            let now = MonotonicClock.now()
            guard let interval = plan.interval, var next = due, now >= next || ending != nil else { continue }
            try report()
            while next <= now { next = next + interval }
            due = next
        }
    }

    /// Wait for the first of: a deadline, a signal, an exit, data that should not wait.
    private func wait(until deadline: Nanoseconds) {
        switch events.next(until: deadline) {
        case .deadline, .attention: break
        case .signal(let number): end(number == SIGINT ? .interrupted : .terminated)
        case .ended(let pid) where pid == plan.command?.pid: end(.commandEnded)
        case .ended(let pid):
            for target in plan.targets where target.pid == pid { target.exited() }
            if plan.targets.allSatisfy(\.hasExited) { end(.targetExited) }
        }
    }

    /// What came first has ended it.
    private func end(_ ending: SessionEnding) { self.ending = self.ending ?? ending }

    private func stop() { for probe in plan.probes { probe.stop() } }

    private func drain() throws -> Bool {
        var more = false
        for probe in plan.probes where try probe.drain() { more = true }
        return more
    }

    /// Give up what `--max-cost` forbids: what the last probe has to give up first.
    private func limitCost() throws {
        guard let limit = plan.costLimit else { return }
        let cpu = plan.targets.map(\.cpu)
        let isExceeded = try limit.measure {
            CostLimit.Reading(
                programs: loadedPrograms().reduce(.zero) { $0 + $1.counts.runTime }, targets: Nanoseconds(cpu.reduce(0) { $0 &+ $1.count })
            )
        }
        guard isExceeded, ending == nil else { return }
        for probe in plan.probes.reversed() {
            if let step = try probe.shed(at: cpu) { return limit.took(step: step) }
        }
        limit.took(step: "the session ends")
        end(.costLimit)
    }

    private func loadedPrograms() -> [LoadedProgram] { plan.probes.flatMap { $0.loadedPrograms() } }

    private func snapshot() throws -> Snapshot {
        var snapshot = Snapshot(time: MonotonicClock.now())
        for probe in plan.probes { try probe.read(into: &snapshot) }
        return snapshot
    }

    /// One interval: records where they are due, then the interval's numbers.
    private func report() throws {
        let snapshot = try snapshot(), interval = snapshot.since(total)
        let time = WallTime(), own = OwnCost.now(), used = own.cpu - ownCPU
        // Whether it can be written or not: totals are what the intervals add up to.
        total = snapshot
        ownCPU = own.cpu
        // Intervals are never as long to the microsecond.
        if recorded.map({ snapshot.time + Nanoseconds(interval.time.count / 2) >= $0 + plan.recordEvery }) ?? true {
            for sink in plan.sinks { try sink.checkpoint(SessionCheckpoint(records: records())) }
            recorded = snapshot.time
        }
        let targets = plan.targets.map(\.described)
        let lines = try targets.enumerated().map { try IntervalLines(interval, time: time, target: $1, process: $0) }
        for sink in plan.sinks {
            try sink.interval(SessionInterval(
                targets: targets, counts: interval, lines: lines, time: time, ownCPU: used, ownPeakRSS: own.peakRSSBytes
            ))
        }
    }

    private func folded(_ table: StackTable, target index: Int) -> (text: [UInt8], names: NamesRecord)? {
        let target = plan.targets[index]
        return plan.folding?.folded(table) { target.stackRoot(of: $0, in: table, target: index) }
    }

    private func stackTable() throws -> StackTable? {
        for probe in plan.probes { if let table = try probe.stacks() { return table } }
        return nil
    }

    /// What a session that is killed leaves of its stacks.
    private func checkpointStacks() throws {
        let began = MonotonicClock.now(), table = try stackTable() ?? StackTable()
        let stacks = plan.targets.indices.compactMap { folded(table, target: $0)?.text }
        for sink in plan.sinks { try sink.checkpoint(SessionCheckpoint(stacks: stacks)) }
        folding.done(since: began)
    }

    /// The last numbers, names and files. What can be written is, whatever else can't.
    private func finish() {
        stop()
        // An error breaks the last interval off, which is part of the session all the same.
        if ending == .error || plan.interval == nil, let last = try? snapshot() { total = last }
        if ending != .error { for probe in plan.probes { probe.finish() } }
        var stacks = StackTable()
        attempts.run { stacks = try stackTable() ?? stacks }
        var records = records()
        // Names take their time.
        for sink in plan.sinks { attempts.run { try sink.checkpoint(SessionCheckpoint(records: records)) } }
        var texts: [[UInt8]] = []
        for index in records.indices {
            let began = MonotonicClock.now()
            guard let (text, names) = folded(stacks, target: index) else { continue }
            records[index].samples.onCPU.names = names
            records[index].samples.onCPU.processes = plan.targets[index].sampledProcesses(in: stacks)
            records[index].cost.symbolizeS = (MonotonicClock.now() - began).seconds
            texts.append(text)
        }
        let result = SessionResult(records: records, stacks: texts, programs: loadedPrograms)
        for sink in plan.sinks { attempts.run { do { try sink.end(result) } catch is OutputClosed {} } }
    }

    /// A record of each target, as of the last snapshot.
    private func records() -> [SessionRecord] {
        var snapshot = total
        snapshot.time = total.time - first
        let own = OwnCost.now()
        return plan.targets.enumerated().map { index, target in
            let moment = SessionMoment(snapshot: snapshot, process: index, cpu: target.cpu)
            var record = SessionRecord(
                version: kilnVersion, kernel: kernel, started: plan.started.rfc3339, interval: plan.interval?.seconds ?? 0,
                ended: ending?.rawValue ?? "running", target: target.described, snapshot: snapshot,
                cost: SessionRecord.Cost(
                    programs: plan.keepsRunStatistics ? snapshot.programs : nil, ownCPU: own.cpu, ownPeakRSS: own.peakRSSBytes, targetCPU: target.cpu,
                    attach: attachTime
                )
            )
            record.costLimit = plan.costLimit?.record
            for probe in plan.probes { probe.describe(&record, at: moment) }
            return record
        }
    }
}
