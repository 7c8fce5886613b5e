import KilnModel

/// What the target's threads worked on, as tables: the CPU, and time off it.
struct ByCommandText {
    let record: SessionRecord
    /// The number of functions that are shown of each row.
    let top: Int
    let tableRows: Int

    var lines: [Line] {
        guard let byCommand = record.samples.byCommand else { return keptLines }
        return keptLines + cpuTable(byCommand) + waitTable(byCommand) + reasons(byCommand.rest)
    }

    /// A row for each command with samples, then the rest; below each row the functions that were sampled most as the innermost frame.
    private func cpuTable(_ byCommand: SessionRecord.ByCommand) -> [Line] {
        let (rows, left) = shown(byCommand) { $0.samples != 0 }
        guard !rows.isEmpty else { return [] }
        var table = Table(["CPU BY COMMAND", "of CPU", "95 % interval", "samples", "calls", "exec", "read", "reply"], leftAligned: 1)
        for row in rows {
            let phases = [row.execSamples, row.readSamples, row.replySamples].map { count in
                count.map { percent((row.share ?? 0) * Double($0) / Double(max(row.samples, 1))) + " %" } ?? "-"
            }
            table.add(
                [title(row), row.share.map { percent($0) + " %" } ?? "-", interval(row), grouped(row.samples), row.calls.map(grouped) ?? "-"] + phases
            )
        }
        let lines = [Line].table(table.lines)
        return lines.prefix(1) + zip(lines.dropFirst(), rows).flatMap { [$0] + functions(of: $1) } + left
    }

    private func functions(of row: SessionRecord.WorkRow) -> [Line] {
        guard top > 0, !row.functions.isEmpty else { return [] }
        return [Line("    self: " + row.functions.prefix(top).map { "\($0.function) \(percent($0.share)) %" }.joined(separator: ", "))]
    }

    /// The time off the CPU by state, with the functions in which threads waited longest.
    private func waitTable(_ byCommand: SessionRecord.ByCommand) -> [Line] {
        let (rows, left) = shown(byCommand) { $0.offCPU?.ns ?? 0 != 0 }
        let states = WaitState.allCases.filter { state in rows.contains { $0.offCPU?.ns(state) ?? 0 != 0 } }
        guard !rows.isEmpty else { return [] }
        var table = Table(["OFF-CPU BY COMMAND", "time", "waits"] + states.map(\.name), leftAligned: 1)
        for row in rows {
            guard let waits = row.offCPU else { continue }
            table.add([title(row), "\(Nanoseconds(waits.ns))", grouped(waits.waits)] + states.map { time(waits.ns($0)) })
        }
        var lines = [Line].table(table.lines)
        guard top > 0 else { return lines + left }
        lines[0].bold += "  longest in"
        for (index, row) in rows.enumerated() {
            if let longest = row.offCPU?.functions.first { lines[index + 1].text += "  \(longest.function) \(percent(longest.share)) %" }
        }
        return lines + left
    }

    private func time(_ ns: UInt64) -> String { ns == 0 ? "-" : "\(Nanoseconds(ns))" }

    /// The commands that a table shows, as many as fit, and the rest; and the line for the commands that are left out.
    private func shown(
        _ byCommand: SessionRecord.ByCommand, _ isIn: (SessionRecord.WorkRow) -> Bool
    ) -> (rows: [SessionRecord.WorkRow], left: [Line]) {
        let commands = byCommand.commands.filter(isIn), left = commands.count - tableRows
        return (commands.prefix(tableRows) + byCommand.rest.filter(isIn), left > 0 ? ["… and \(left) more commands (in session.json)"] : [])
    }

    private func title(_ row: SessionRecord.WorkRow) -> String {
        row.name + (row.reason.map { ": \($0)" } ?? "") + (row.verdict.map { " (\($0))" } ?? "")
    }

    private func interval(_ row: SessionRecord.WorkRow) -> String {
        guard let low = row.shareLow, let high = row.shareHigh else { return "-" }
        return "\(percent(low)) to \(percent(high))"
    }

    /// Why it is not known what threads worked on.
    private func reasons(_ rest: [SessionRecord.WorkRow]) -> [Line] {
        Set(rest.filter { $0.samples != 0 || $0.offCPU?.ns ?? 0 != 0 }.compactMap(\.reason)).sorted().compactMap { reason in
            Work.meaning(ofReason: reason).map { "  \(reason): \($0)" }
        }
    }

    /// Which calls' stacks were kept, if they are not all.
    private var keptLines: [Line] {
        guard let kept = record.samples.keptCalls else { return [] }
        let only =
            (kept.commands.isEmpty ? [] : ["of \(kept.commands.joined(separator: ", "))"])
            + (kept.clients.isEmpty ? [] : ["from \(kept.clients.joined(separator: ", "))"]) + (kept.errorsOnly ? ["that were answered with an error"] : [])
        let filter: [Line] = only.isEmpty ? [] : ["stacks only of calls \(only.joined(separator: " "))"]
        let slower = kept.slowerThan.map { " slower than \($0)" } ?? ""
        let judged = kept.judged.compactMap { name, calls in (calls.slow ?? calls.unjudged).map { (name: name, calls: $0, fast: calls.fast?.count ?? 0) } }
            .sorted { ($1.calls.count, $0.name) < ($0.calls.count, $1.name) }
        let found = judged.filter { $0.calls.count != 0 }, left = found.count - tableRows
        if found.isEmpty { return filter + (judged.isEmpty ? [] : ["no call was\(slower.isEmpty ? " asked for" : slower)"]) }
        let lines = found.prefix(tableRows).map { name, calls, fast -> Line in
            let all = slower.isEmpty ? record.commands[name]?.count ?? calls.count : [calls.count, fast].saturatingSum
            let waited = calls.sendBlockedNs == 0 ? "" : ", \(Nanoseconds(calls.sendBlockedNs)) of it between the sends of a reply"
            let also = kept.keepsFast ? ", and of the others" : ""
            return
                "stacks of \(grouped(calls.count)) calls of \(name)\(slower) (of \(grouped(all)))\(also): \(Nanoseconds(calls.serviceNs)) of service\(waited)"
        }
        return filter + lines + (left > 0 ? ["… and \(left) more commands (in session.json)"] : [])
    }

    /// `31`, `3.1`: two digits, or one decimal. From a file it may be any number.
    private func percent(_ share: Double) -> String {
        let percent = share * 100, rounded = percent.rounded()
        return abs(percent) >= 9.95 && abs(rounded) < 1e15 ? "\(Int64(rounded))" : "\((percent * 10).rounded() / 10)"
    }
}

extension SessionRecord.KeptCalls {
    /// `10.0 ms`, or `p99`.
    var slowerThan: String? {
        if let slowerThanNs { return "\(Nanoseconds(slowerThanNs))" }
        guard let share = slowerThanPercentile else { return nil }
        let percent = (share * 1e6).rounded() / 1e4
        return "p" + (percent == percent.rounded() && abs(percent) < 1e15 ? "\(Int64(percent))" : "\(percent)")
    }
}
