import ArgumentParser
import Dispatch
import Glibc
import KilnKernel
import KilnModel

/// Observes targets with a list of probes until it ends, and passes the results to a list of sinks.
///
/// Every subcommand that observes makes the two lists and runs one session. Data flows one way: from the probes into snapshots, from
/// snapshots into records, from records into sinks.
final class Session {
    /// The parts in which subcommands differ.
    struct Plan {
        let targets: [SessionTarget]
        /// In the order of attaching.
        let probes: [any Probe]
        /// In the order of calling.
        var sinks: [any Sink]
        /// The files of rows that its intervals make: those of the directory.
        var rows: [RowFile] = []
        var length = LengthOptions()
        /// The session ends when these threads have.
        var threads: [Int32] = []
        /// The time of kiln's start, by the monotonic and by the wall clock.
        var began = MonotonicClock.now()
        var started = WallTime()
        /// Names the frames of stacks; nil if no probe samples stacks.
        var folding: StackFolding?
        /// Flamegraphs of waits show waits for new work, too.
        var showsIdle = false
        /// The time between reports to the sinks; nil: only at the end.
        var interval: Nanoseconds?
        /// The time between writes of session.json during the session, if there are intervals. Writing it in each interval would take a
        /// quarter of kiln's own CPU time.
        var recordEvery = Nanoseconds(10_000_000_000)
        /// The time between drains of the probes.
        var drainEvery = Nanoseconds(200_000_000)
        /// The words of the command behind `--`, and its process, which waits until everything is attached.
        var words: [String] = []
        var command: ChildCommand?
        /// Phrases for the announcement, in addition to those of the probes.
        var details: [String] = []
        /// Lines that are said when the session has begun.
        var remarks: [String] = []
        /// `--bpf-statistics`.
        var keepsRunStatistics = false
        /// What is watched, if that isn't everything.
        var budget: Budget?
        /// `--push`; the last of the sinks.
        var push: SessionPush?
        /// `kiln serve`, which runs one session after the other.
        var supervisor: (any SessionSupervisor)?
    }

    /// While nothing happens, a supervised session sleeps and counts so many times as long.
    static let idlePace: UInt64 = 5

    private let plan: Plan
    private let events: SessionEvents
    private let kernel = kernelRelease()
    /// The kernel keeps run times of BPF programs while this object exists.
    private var statistics: RunStatistics?
    private(set) var ending: SessionEnding?
    /// The first error, which may have ended the session.
    private var attempts = Attempts()
    /// The time when the first probe began to count, and the time from kiln's start until all were attached.
    private var first = Nanoseconds.zero
    private var attachTime = Nanoseconds.zero
    /// The last snapshot: totals since the probes were attached.
    private var total: Snapshot
    private var ownCPU = Nanoseconds.zero
    private var recorded: Nanoseconds?
    private var folding: FoldingTimes

    init(_ plan: Plan, events: SessionEvents) {
        var plan = plan
        if let push = plan.push { plan.sinks.append(push) }
        self.plan = plan
        folding = FoldingTimes(endsOf: plan.push?.interval)
        self.events = events
        total = Snapshot(time: .zero)
    }

    /// The session ends when all targets have exited, or the command.
    private func watchTargets() throws {
        for pid in plan.targets.flatMap(\.pids) where pid != plan.command?.pid { try events.watch(pid: pid) }
        if let command = plan.command { try events.watch(pid: command.pid) }
    }

    /// Observes until something ends the session. A session that fails before it begins, or finds nothing to measure, removes the files
    /// that it made.
    func run() throws {
        defer {
            for probe in plan.probes.reversed() { probe.detach() }
            plan.command?.end()
        }
        do {
            try watchTargets()
            if plan.keepsRunStatistics { statistics = try RunStatistics() }
            try attach()
            if let command = plan.command { try start(command, plan.words) }
        } catch {
            for sink in plan.sinks { sink.discard() }
            throw error
        }
        run(untilEnded: {
            try announce(); try poll()
        })
        guard ending != .nothingToMeasure else {
            for sink in plan.sinks { sink.discard() }
            throw ExitCode(1)  // the probe has printed the reason
        }
        // After any error, the known results are still written.
        finish()
        if ending != .commandEnded, let command = plan.command, command.isRunning {
            command.end()
            say("kiln: ended the command")
        }
        if let push = plan.push { attempts.run { try finish(push) } }
        try attempts.throwFirst()
        var conclusions = Attempts()
        for probe in plan.probes { conclusions.run { try probe.conclude(total) } }
        if ending == .commandEnded { try passOnStatus(of: plan.command) }
        try conclusions.throwFirst()
    }

    /// Loading takes a hundred milliseconds, mostly in the verifier, and attaching a few, so all probes load before any attaches. Two
    /// threads load; more would cost 10 MB of memory each, for the kernel's types. A third one verifies the programs that probe functions.
    private func attach() throws {
        let queue = DispatchQueue(label: "loading")
        let others = plan.probes.dropFirst().reversed().map { probe in
            BackgroundWork(on: queue) { () throws(KernelError) in try probe.load() }
        }
        try plan.probes.first?.load()
        for other in others { try other.outcome() }
        let moments = try plan.probes.map { try $0.attach() }
        first = moments.min() ?? MonotonicClock.now()
        attachTime = MonotonicClock.now() - plan.began
        // Counters are zero at the attach, so this is the first snapshot.
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

    /// Runs a part of the session, and records the reason if it ends the session.
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

    /// The poll loop. The iteration in which the session ends is the last one.
    private func poll() throws {
        let end = plan.supervisor == nil ? plan.length.end(from: first, plan.words) : nil
        var due = plan.interval.map { first + $0 }, more = false
        try plan.budget?.begin(at: first, of: .init(read: { [unowned self] in programReading() }, follow: { [unowned self] in try follow($0) }))
        // One descriptor is enough while only one probe has one.
        events.watch(attention: plan.probes.lazy.compactMap(\.attention).first)
        defer { events.watch(attention: nil) }
        while ending == nil {
            let pace = pace
            let drainAt = MonotonicClock.now() + (more ? .zero : Nanoseconds(plan.drainEvery.count * pace))
            // A report that waits for the end of a slice is due when the budget is.
            let reportAt = due.map { $0 + postponement(pace) }.flatMap { plan.budget?.mayReport != false || $0 > MonotonicClock.now() ? $0 : nil }
            wait(until: [drainAt, reportAt, end, plan.budget?.due].compactMap(\.self).min() ?? drainAt)
            for target in plan.targets { target.refresh() }
            if !plan.threads.isEmpty, plan.threads.allSatisfy({ access("/proc/\($0)", F_OK) != 0 }) { self.end(.targetExited) }
            try plan.budget?.advance()
            if let end, MonotonicClock.now() >= end { self.end(.duration) }
            if let ending = plan.supervisor?.takeTurn() { self.end(ending) }
            if ending != nil { try stop() }
            repeat { more = try drain() } while more && ending != nil
            if ending == nil, try plan.supervisor?.beginPulls() ?? (plan.folding != nil && folding.isDue) { try checkpointStacks() }
            let now = MonotonicClock.now()
            guard let interval = plan.interval, var next = due, now >= next + postponement(self.pace) && plan.budget?.mayReport != false || ending != nil
            else { continue }
            try report()
            while next <= now { next = next + interval }
            due = next
        }
    }

    /// How many times as long as usual the session sleeps, and how long its intervals are.
    private var pace: UInt64 { plan.supervisor?.isIdle == true ? Self.idlePace : 1 }

    /// How much later an interval ends at this pace.
    private func postponement(_ pace: UInt64) -> Nanoseconds { Nanoseconds((plan.interval?.count ?? 0) * (pace - 1)) }

    /// Waits for the first of: the deadline, a signal, an exit, data that must be drained soon.
    private func wait(until deadline: Nanoseconds) {
        switch events.next(until: deadline) {
        case .deadline, .attention: break
        case .signal(SIGHUP) where plan.supervisor != nil: plan.supervisor?.hangup()
        case .signal(let number): end(number == SIGINT ? .interrupted : .terminated)
        case .ended(let pid) where pid == plan.command?.pid: end(.commandEnded)
        case .ended(let pid):
            for target in plan.targets { target.exited(pid) }
            if plan.targets.allSatisfy(\.hasExited) { end(.targetExited) }
        }
    }

    /// The first reason stands.
    private func end(_ ending: SessionEnding) { self.ending = self.ending ?? ending }

    private func stop() throws {
        for probe in plan.probes { probe.stop() }
        try plan.budget?.finish()
    }

    private func drain() throws -> Bool {
        var more = false
        for probe in plan.probes where try probe.drain() { more = true }
        return more
    }

    /// What the programs of each kind have cost.
    private func programReading() -> Budget.Reading {
        var reading = Budget.Reading(targets: Nanoseconds(plan.targets.reduce(0) { $0 &+ $1.cpu.count }))
        for probe in plan.probes {
            for program in probe.loadedPrograms() {
                if let kind = probe.costKind(of: program.name) { reading[keyPath: kind].add(program.counts) }
            }
        }
        return reading
    }

    private func follow(_ level: WatchLevel) throws {
        let cpu = plan.targets.map(\.cpu)
        for probe in plan.probes { try probe.follow(level, at: cpu) }
    }

    private func loadedPrograms() -> [LoadedProgram] { plan.probes.flatMap { $0.loadedPrograms() } }

    private func snapshot() throws -> Snapshot {
        var snapshot = Snapshot(time: MonotonicClock.now())
        for probe in plan.probes { try probe.read(into: &snapshot) }
        try plan.budget?.add(to: &snapshot)
        return snapshot
    }

    /// Writes records if they are due, and passes the interval to the sinks.
    private func report() throws {
        let snapshot = try snapshot(), interval = snapshot.since(total)
        let time = WallTime(), own = OwnCost.now(), used = own.cpu - ownCPU
        // Nothing keeps the other files from having the interval.
        var attempts = Attempts()
        for probe in plan.probes { attempts.run { try probe.intervalEnds(at: time, length: interval.time) } }
        // Totals advance even if a sink fails: they are the sum of all intervals.
        total = snapshot
        ownCPU = own.cpu
        // Half an interval of tolerance, because intervals vary by microseconds.
        if recorded.map({ snapshot.time + Nanoseconds(interval.time.count / 2) >= $0 + plan.recordEvery }) ?? true {
            for sink in plan.sinks { attempts.run { try sink.checkpoint(SessionCheckpoint(records: records())) } }
            recorded = snapshot.time
        }
        let targets = plan.targets.map(\.described)
        var lines: [IntervalLines] = []
        attempts.run {
            lines = try targets.enumerated().map { try IntervalLines(plan.rows, at: RowMoment(counts: interval, time: time, target: $1, process: $0)) }
        }
        for sink in plan.sinks {
            attempts.run {
                try sink.interval(
                    SessionInterval(
                        targets: targets, counts: interval, lines: lines, time: time, ownCPU: used, ownPeakRSS: own.peakRSSBytes,
                        totals: SessionTotals(time: time, snapshot: snapshot, cpu: plan.targets.map(\.cpu))
                    ))
            }
        }
        try attempts.throwFirst()
    }

    private var stackKinds: [StackKind] { plan.probes.flatMap(\.stackKinds) }

    private func files(of kind: StackKind) -> StackFiles {
        switch kind {
        case .onCPU: .onCPU
        case .offCPU: .offCPU
        case .waker: .wakers
        case .event(let index): StackFiles(plan.probes.flatMap(\.events)[index])
        }
    }

    /// The stacks first: each of their rows has a name then.
    private func stackTable() throws -> StackTable? {
        guard var table = try plan.probes.compactMap({ try $0.stacks() }).first else { return nil }
        table.commandNames = try plan.probes.compactMap { try $0.commandNames() }.first
        return table
    }

    /// Folded texts of each kind without any target.
    private var emptyTexts: [FoldedTexts] { stackKinds.map { FoldedTexts(kind: $0, files: files(of: $0)) } }

    /// As samples.jsonl has it. Wakers are not in it.
    private func described(_ kind: StackKind) -> (name: String, unit: String) {
        switch kind {
        case .onCPU: return ("on-cpu", "samples")
        case .offCPU, .waker: return ("off-cpu", "nanoseconds")
        case .event(let index):
            let event = plan.probes.flatMap(\.events)[index]
            return (event.name, event.unit.rawValue)
        }
    }

    /// Nil if no probe samples stacks.
    private func stacks(of index: Int, in table: StackTable) -> TargetStacks? {
        plan.folding.map {
            TargetStacks(of: plan.targets[index], index: index, stackKinds, in: table, total: total, folding: $0, withIdle: plan.showsIdle)
        }
    }

    /// Writes the stacks so far, for the case that kiln is killed.
    private func checkpointStacks() throws {
        let began = MonotonicClock.now(), table = try stackTable() ?? StackTable()
        var texts = emptyTexts, samples: [SampleRecords] = []
        for index in plan.targets.indices {
            guard let stacks = ProgressLine.during("naming frames", { stacks(of: index, in: table) }) else { continue }
            for position in texts.indices { stacks.add(to: &texts[position]) }
            samples.append(stacks.samples(described))
        }
        var checkpoint = SessionCheckpoint(stacks: texts, samples: samples)
        checkpoint.since = records(since:)
        for sink in plan.sinks { try sink.checkpoint(checkpoint) }
        folding.done(since: began)
    }

    /// Writes the final numbers, names and files. An output that fails doesn't keep the others from being written.
    private func finish() {
        attempts.run { try stop() }
        // After an error, the incomplete last interval is part of the session, too.
        if ending == .error || plan.interval == nil, let last = try? snapshot() { total = last }
        if ending != .error { for probe in plan.probes { probe.finish() } }
        var table = StackTable()
        attempts.run { table = try stackTable() ?? table }
        var records = records()
        // Looking up names takes time, so records are written before.
        for sink in plan.sinks { attempts.run { try sink.checkpoint(SessionCheckpoint(records: records)) } }
        let programs = loadedPrograms()
        if plan.folding?.hasServers == true { askServers() }
        var texts = emptyTexts, comparisons: [SlowAgainstFast?] = [], samples: [SampleRecords] = []
        for index in records.indices where plan.supervisor?.wantsStacksAtEnd != false {
            let began = MonotonicClock.now()
            guard let stacks = ProgressLine.during("naming frames", { stacks(of: index, in: table) }) else { continue }
            for position in texts.indices { stacks.add(to: &texts[position]) }
            stacks.describe(&records[index])
            comparisons.append(stacks.slowAgainstFast(records[index]))
            samples.append(stacks.samples(described))
            if !texts.isEmpty { records[index].cost.symbolizeS = (MonotonicClock.now() - began).seconds }
        }
        for remark in plan.folding?.serverRemarks ?? [] { say("kiln: \(remark)") }
        var result = SessionResult(records: records, stacks: texts, samples: samples, slowAgainstFast: comparisons, programs: { programs })
        result.since = self.records(since:)
        for sink in plan.sinks { attempts.run { do { try sink.end(result) } catch is OutputClosed {} } }
    }

    /// Names may be fetched from here on, which may take minutes: nothing stays attached meanwhile. The next signal ends fetching, and nothing else.
    private func askServers() {
        for probe in plan.probes.reversed() { probe.detach() }
        plan.folding?.askServers(until: events.interruption())
    }

    /// Waits until everything is sent, which may take minutes: nothing stays attached meanwhile. The next signal ends sending, and nothing else.
    private func finish(_ push: SessionPush) throws {
        for probe in plan.probes.reversed() { probe.detach() }
        try push.finish(until: events.interruption())
    }

    /// A record for each target, from the last snapshot.
    private func records() -> [SessionRecord] {
        var snapshot = total
        snapshot.time = total.time - first
        return records(
            of: snapshot, from: plan.targets.map { _ in .zero }, to: plan.targets.map(\.cpu), began: plan.started, ended: ending?.rawValue ?? "running")
    }

    /// A record for each target of what has happened since an earlier moment of the session, as if the session had begun then and ended now.
    private func records(since earlier: SessionTotals) -> [SessionRecord] {
        records(
            of: total.since(earlier.snapshot), from: earlier.cpu, to: plan.targets.map(\.cpu), began: earlier.time, ended: SessionEnding.duration.rawValue)
    }

    /// - Parameters:
    ///   - from: The targets' CPU time since the session began, at the beginning of what the records are of.
    ///   - to: The same at its end.
    private func records(of snapshot: Snapshot, from: [Nanoseconds], to: [Nanoseconds], began: WallTime, ended: String) -> [SessionRecord] {
        let own = OwnCost.now()
        return zip(plan.targets, zip(from, to)).enumerated().map { index, part in
            let (target, (from, to)) = part, span = from...max(from, to), cpu = span.upperBound - span.lowerBound
            let moment = SessionMoment(snapshot: snapshot, process: index, cpu: span)
            var record = SessionRecord(
                version: kilnVersion, kernel: kernel, started: began.rfc3339, interval: plan.interval?.seconds ?? 0,
                ended: ended, target: target.described, snapshot: snapshot,
                cost: SessionRecord.Cost(
                    programs: plan.keepsRunStatistics ? snapshot.programs : nil, ownCPU: own.cpu, ownPeakRSS: own.peakRSSBytes, targetCPU: cpu,
                    attach: attachTime
                )
            )
            record.costLimit = plan.budget?.record
            for probe in plan.probes { probe.describe(&record, at: moment) }
            return record
        }
    }
}
