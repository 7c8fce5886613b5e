import KilnKernel
import KilnModel
import KilnTargets

/// `redis-server pid 1 port 6379 (docker web)`. `pid`: 0 for what is no process: those of a name, of a group, all. `formerComm`: the process name when the session began, if it has changed.
func sessionTitle(comm: String, formerComm: String? = nil, pid: Int32, ports: [UInt16], container: String?) -> String {
    let listens = ports.isEmpty ? "" : " port " + ports.map(String.init).joined(separator: ",")
    return comm + (pid == 0 ? "" : " pid \(pid)") + listens + (container.map { " (\($0))" } ?? "")
        + (formerComm.map { " (\($0) when the session began)" } ?? "")
}

/// A whole session as text: at its end, and when `kiln report` reads its directory.
struct SessionText {
    /// The number of functions that are shown of each command.
    static let top = 3

    let record: SessionRecord
    private let top: Int
    private let histograms: Bool
    private let text: IntervalText

    /// `tableRows`: nil: as many as fit. `histograms`: prints complete histograms of functions and system calls, too.
    init(_ record: SessionRecord, top: Int = SessionText.top, tableRows: Int? = nil, histograms: Bool = false) {
        self.record = record
        self.top = top
        self.histograms = histograms
        var text = IntervalText(interval: record.snapshot, isTotal: true, tableRows: tableRows ?? Output.standardOutput.tableRows)
        text.estimates = { name in record.commands[name.description].flatMap { ShownEstimate($0) } }
        self.text = text
    }

    /// Everything except the losses, which apply to all targets together.
    var lines: [Line] {
        let target = record.target
        let title =
            target.pids == nil
            ? sessionTitle(comm: target.comm, formerComm: target.commAtStart, pid: target.pid, ports: target.ports, container: target.container)
            : sessionTitle(target)
        var lines = [Line(bold: "Session of \(significantSeconds(record.durationS)) (\(record.ended))", "  " + title)]
        // Only sessions of `kiln redis` have a hook and commands.
        guard record.hook != "none" else { return lines + functions + syscallTimes(withCallers: true) + sampleLines }
        lines += text.histograms(process: 0) + text.tables(process: 0, waits: 10) + intervals
        lines += syscallTimes(withCallers: false)
        if let syscalls = record.syscalls, record.syscallTimes == nil {
            let calls = syscalls.map { (name: $0, counts: SyscallCounts(count: $1.count, errors: $1.errors)) }
            if let line = text.syscallLine(calls) { lines.append(Line(line)) }
            if let counted = record.syscallsCountedS { lines.append("system calls were counted for \(significantSeconds(counted))") }
        }
        lines += text.sizeTable(process: 0) + (record.side == .client ? text.serverTable(process: 0) : text.clientTable(process: 0))
        lines += Dictionary(grouping: record.phasesUnknown.keys.sorted()) { record.phasesUnknown[$0] ?? "" }
            .sorted { $0.key < $1.key }.map { reason, phases in "\(phases.joined(separator: ", ")): \(reason)" }
        if let audit = record.audit { lines += auditLines(audit) }
        for step in record.costLimit?.steps ?? [] { lines.append("after \(significantSeconds(step.afterS)), for --max-cost: \(step.step)") }
        return lines + sampleLines + ByCommandText(record: record, top: top, tableRows: text.tableRows).lines
    }

    /// The 95 % intervals of estimates.
    private var intervals: [Line] {
        guard let watched = record.watched else { return [] }
        var table = Table(["95 % INTERVAL", "calls", "p50", "p90", "p99", "p99.9"], leftAligned: 1), isEmpty = true
        for (name, _) in text.shownCommands(of: 0) {
            guard let command = record.commands[name.description], let estimate = command.estimate else { continue }
            let calls = estimate.callsLow.flatMap { low in estimate.callsHigh.map { "\(grouped(low)) to \(grouped($0))" } } ?? "-"
            let percentiles = (command.phases["service"] ?? command.phases["total"])?.percentiles.map { Self.interval($0.low, $0.high) }
            let cells = [calls] + (percentiles ?? PhaseEstimate.percentiles.map { _ in "-" })
            guard cells.contains(where: { $0 != "-" }) else { continue }
            table.add([name.description] + cells)
            isEmpty = false
        }
        return (isEmpty ? [] : .table(table.lines)) + watched.words.map { Line($0) }
    }

    private static func interval(_ low: UInt64?, _ high: UInt64?) -> String {
        guard low != nil || high != nil else { return "-" }
        return (low.map { "\(Nanoseconds($0))" } ?? "?") + " to " + (high.map { "\(Nanoseconds($0))" } ?? "?")
    }

    private var functions: [Line] {
        guard let counted = record.functions else { return [] }
        let text = FunctionText(counted, most: self.text.tableRows)
        return text.table + (histograms ? text.histograms : []) + FunctionText.remarks(counted)
    }

    private func syscallTimes(withCallers: Bool) -> [Line] {
        guard let records = record.syscallTimes else { return [] }
        let text = SyscallText(records, withCallers: withCallers, most: self.text.tableRows)
        return text.table + (histograms ? text.histograms : []) + text.remarks
    }

    var losses: [String] {
        [text.lostText] + record.lost.keys.sorted().compactMap { loss in lossMeaning(loss).map { "  \(loss): \($0)" } }
    }

    /// The number of samples, the unwind terminations of their stacks, the sampled processes, and frames without names.
    var sampleLines: [String] {
        let counts = record.samples.onCPU
        guard counts.frequencyHz > 0 else { return waitLines + eventLines }
        let whole = counts.recorded == 0 ? "" : ", \(share(counts.complete, of: counts.recorded)) % of stacks complete"
        let cut = counts.kernelTruncated == 0 ? "" : ", \(counts.kernelTruncated) truncated at the depth limit in the kernel"
        let cpu = Nanoseconds(UInt64(saturating: record.cost.targetCPUS * 1e9))
        let expected = counts.expected.map { " of \($0) expected from \(cpu) of CPU time" } ?? ""
        var lines: [String] = ["samples: \(counts.recorded &+ (counts.leftOut?.sum ?? 0)) recorded\(expected)\(whole)\(cut)"]
        lines += keptLines(of: counts.recorded, counts.kept, counts.leftOut) + terminations(counts.ends, counts.guessed)
        if let others = counts.descendants {
            lines.append("processes it started: \(others.recorded) samples, \(share(others.complete, of: others.recorded)) % of stacks complete")
            lines += terminations(others.ends, others.guessed)
        }
        return lines + processes + unnamed + waitLines + eventLines
    }

    /// What is in the file where only some calls' stacks are kept, and what is not.
    private func keptLines(of recorded: UInt64, _ kept: UInt64?, _ leftOut: LeftOutCounts?) -> [String] {
        guard let kept, let leftOut else { return [] }
        let noRoom = record.lost["held_stacks_full"] == nil ? "" : ", or had no room to wait for their reply"
        let counts: [(UInt64, String)] = [
            (recorded &- kept, "of calls that turned out not to be" + noRoom), (leftOut.otherCalls, "of calls that are not, or were not yet"),
            (leftOut.eventLoop, "of the event loop"), (leftOut.background, "of background threads"), (leftOut.unknown, "of unknown work"),
        ]
        let rest = counts.filter { $0.0 != 0 }.map { count, what in grouped(count) + " " + what }
        let hint = "  most work can't be told apart by call (io-threads, connections not followed): a session without these options says why"
        let left = rest.isEmpty ? "" : "; left out: " + rest.joined(separator: ", ")
        return ["  \(grouped(kept)) kept, of the calls that are asked for\(left)"] + (leftOut.unknown > kept ? [hint] : [])
    }

    /// How often each event happened, and its stacks.
    private var eventLines: [String] {
        (record.samples.events ?? []).flatMap { event -> [String] in
            guard event.count != 0 else { return ["\(event.event): none"] }
            let every = event.every == 1 || event.isEstimate == true ? "" : ", a stack at each \(grouped(event.every))th"
            let lost = event.lost == 0 ? "" : ", \(grouped(event.lost)) stacks lost"
            let isTime = event.unit == RecordedEvent.Unit.nanoseconds.rawValue
            let number = isTime ? "\(Nanoseconds(event.count))" : "\(event.isEstimate == true ? "about " : "")\(grouped(event.count))"
            let line = "\(event.event): \(number)\(every); \(grouped(event.recorded)) stacks, \(share(event.complete, of: event.recorded)) % complete\(lost)"
            return [line] + keptLines(of: event.recorded, event.kept, event.leftOut) + terminations(event.ends, event.guessed)
        }
    }

    /// The time off the CPU by state.
    private var waitLines: [String] {
        guard let waits = record.samples.offCPU else { return [] }
        let times = [
            ("sleeping", waits.sleepingNs), ("uninterruptible", waits.uninterruptibleNs), ("runnable", waits.runnableNs), ("stopped", waits.stoppedNs),
            ("idle", waits.idleNs),
        ].filter { $0.1 != 0 }.map { "\($0) \(Nanoseconds($1))" }
        let whole = waits.recorded == 0 ? "" : ", \(share(waits.complete, of: waits.recorded)) % of stacks complete"
        let open =
            waits.openWaits == 0
            ? [] : ["  \(grouped(waits.openWaits)) of all waits reach beyond the session: \(Nanoseconds(waits.openNs)) of their time is inside"]
        let time = times.isEmpty ? "no time" : times.joined(separator: ", ")
        let line = "off-CPU: \(grouped(waits.recorded)) \(waits.recorded == 1 ? "wait" : "waits")\(whole); \(time)"
        return [line] + keptLines(of: waits.recorded, waits.kept, waits.leftOut) + open + terminations(waits.ends, waits.guessed)
            + (waits.wakers.map(wakerLines) ?? [])
    }

    private func wakerLines(_ wakers: SessionRecord.OffCPU.Wakers) -> [String] {
        let whole = wakers.recorded == 0 ? "" : ", \(share(wakers.complete, of: wakers.recorded)) % of their stacks complete"
        return ["wakers: of \(grouped(wakers.recorded)) waits\(whole); \(Nanoseconds(wakers.ns)) until they woke the thread"]
            + terminations(wakers.ends, wakers.guessed)
    }

    /// How incomplete stacks ended, and how many have guessed callers.
    private func terminations(_ counts: [String: UInt64], _ guessed: UInt64?) -> [String] {
        UnwindTermination.all.compactMap { termination in
            guard termination != .complete, let count = counts[termination.name] else { return nil }
            return "  \(count) \(termination.name): \(termination.meaning)"
        } + (guessed.map { ["  \($0) with callers marked [guess]: found without the call frame information of the code that they called"] } ?? [])
    }

    /// The most sampled process names, if there are several.
    private var processes: [String] {
        guard let processes = record.samples.onCPU.processes, processes.count > 1 else { return [] }
        let byName = Dictionary(grouping: processes, by: \.comm).map { comm, same in
            (comm: comm, count: UInt64(same.count), samples: same.map(\.samples).saturatingSum)
        }.sorted { ($1.samples, $0.comm) < ($0.samples, $1.comm) }
        var table = Table(["PROCESS", "number", "samples"], leftAligned: 1)
        for row in byName.prefix(10) { table.add([row.comm, grouped(row.count), grouped(row.samples)]) }
        let rest = byName.count - 10
        return table.lines + (rest > 0 ? ["\(rest) more names in session.json"] : [])
    }

    /// The frames without a name, and the reasons.
    private var unnamed: [String] {
        guard let names = record.samples.onCPU.names, !names.unnamed.isEmpty else { return [] }
        let shown = names.unnamed.prefix(4)
        let lines = shown.map { "  \($0.frames) \($0.module.map { "in \($0)" } ?? "in no file"): \($0.reason)" }
        let rest = names.unnamed.count - shown.count
        return ["names: \(share(names.named, of: names.frames)) % of frames; without one:"] + lines
            + (rest > 0 ? ["  \(rest) more reasons in session.json"] : [])
    }

    /// In percent with one decimal, rounded down, so that 100 means all.
    private func share(_ part: UInt64, of whole: UInt64) -> String {
        guard whole != 0 else { return "0.0" }
        let permille = UInt64(saturating: (Double(part) * 1000 / Double(whole)).rounded(.down))
        return "\(permille / 10).\(permille % 10)"
    }
}

/// The title of a watched target with its present name.
func sessionTitle(_ target: SessionRecord.Target) -> String {
    if let pids = target.pids { return "\(target.comm) pid \(pids.map(String.init).joined(separator: ", "))" }
    return sessionTitle(comm: target.comm, pid: target.pid, ports: target.ports, container: target.container)
}
