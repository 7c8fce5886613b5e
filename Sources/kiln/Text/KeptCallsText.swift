import KilnModel

/// Which calls' stacks were kept, if they are not all, and where the time of slow ones was spent.
struct KeptCallsText {
    let record: SessionRecord
    let kept: SessionRecord.KeptCalls
    let tableRows: Int

    /// Nil if the stacks of all calls were kept.
    init?(_ record: SessionRecord, tableRows: Int) {
        guard let kept = record.samples.keptCalls else { return nil }
        self.record = record
        self.kept = kept
        self.tableRows = tableRows
    }

    var lines: [Line] {
        let filter: [Line] = asked("were").isEmpty ? [] : ["stacks only of calls\(asked("were"))"]
        let unseen = unseenCommands + unseenClients
        return filter + unseen + (kept.slowerThan.map { slowCalls(than: $0, saysNone: unseen.isEmpty) } ?? callsAskedFor(saysNone: unseen.isEmpty))
    }

    // MARK: What was asked for

    /// ` of GET, SET from 10.0.0.1 that were answered with an error`, behind `call` or `calls`.
    private func asked(_ verb: String) -> String { askedOf + (kept.errorsOnly ? " that \(verb) answered with an error" : "") }

    private var askedOf: String {
        (kept.commands.isEmpty ? "" : " of \(kept.commands.joined(separator: ", "))")
            + (kept.clients.isEmpty ? "" : " from \(kept.clients.joined(separator: ", "))")
    }

    private func isAskedFor(_ command: String) -> Bool { kept.commands.isEmpty || kept.commands.contains { recordedName($0) == command } }

    /// As the record has the name of a command that was asked for.
    private func recordedName(_ asked: String) -> String { CommandName(asked: asked).description }

    private var unseenCommands: [Line] {
        unseen(kept.commands, among: record.commands.mapValues(\.count), "commands", recordedName).map { "no call of \($0)" }
    }

    private var unseenClients: [Line] { unseen(kept.clients, among: record.clients.mapValues(\.commands), "clients") { $0 }.map { "no call from \($0)" } }

    /// Which of those that were asked for are not among those that were seen, and the busiest of these. Nothing is known of one that may be in the
    /// row for the rest.
    private func unseen(_ asked: [String], among seen: [String: UInt64], _ kind: String, _ name: (String) -> String) -> [String] {
        let missing = asked.filter { seen[name($0)] == nil }, limit = 5
        guard !missing.isEmpty, seen["other"] == nil else { return [] }
        let names = seen.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.map(\.key), left = names.count - limit
        let shown = names.prefix(limit).joined(separator: ", ") + (left > 0 ? " and \(left) more" : "")
        return [missing.joined(separator: ", ") + (names.isEmpty ? "" : "; \(kind) seen: \(shown)")]
    }

    // MARK: Without a threshold

    private func callsAskedFor(saysNone: Bool) -> [Line] {
        let calls = kept.judged.compactMap { name, calls in calls.unjudged.map { (name: name, calls: $0) } }.filter { $0.calls.count != 0 }
            .sorted { ($1.calls.count, $0.name) < ($0.calls.count, $1.name) }
        if calls.isEmpty { return saysNone ? [noneAskedFor] : [] }
        return listed(calls) { name, calls in
            let count = "\(grouped(calls.count)) \(calls.count == 1 ? "call" : "calls")", all = grouped(record.commands[name]?.count ?? calls.count)
            let waited = calls.sendBlockedNs == 0 ? "" : ", \(Nanoseconds(calls.sendBlockedNs)) of it between the sends of a reply"
            return "stacks of \(count) of \(name) (of \(all)): \(Nanoseconds(calls.serviceNs)) of service\(waited)"
        }
    }

    /// Where the commands and clients were seen, and none of their calls was one that was asked for. Blocking commands have no service.
    private var noneAskedFor: Line {
        if record.commands.isEmpty { return "no call was seen" }
        let hadErrors = record.commands.contains { isAskedFor($0.key) && $0.value.errors != 0 }
        if kept.errorsOnly, !hadErrors { return "no call\(askedOf) was answered with an error" }
        if kept.slowerThanPercentile != nil { return "no call\(asked("was")) came after the \(kept.slowerThan ?? "") of its command was known" }
        return "no \(asked("was").isEmpty ? "" : "such ")call with a service was found"
    }

    private func listed<Calls>(_ calls: [(name: String, calls: Calls)], _ line: (String, Calls) -> Line) -> [Line] {
        calls.prefix(tableRows).map { line($0.name, $0.calls) } + [IntervalText.restLine(calls.count - tableRows, "commands")].compactMap { $0 }
    }

    // MARK: Slow calls

    private func slowCalls(than threshold: String, saysNone: Bool) -> [Line] {
        let judged = kept.judged.values.flatMap { [$0.slow?.count ?? 0, $0.fast?.count ?? 0] }.saturatingSum
        let slow = kept.judged.compactMap { name, calls in calls.slow.map { (name: name, calls: $0) } }.filter { $0.calls.count != 0 }
            .sorted { ($1.calls.serviceNs, $0.name) < ($0.calls.serviceNs, $1.name) }
        let percentiles = withoutPercentile(threshold)
        guard !slow.isEmpty else {
            if judged != 0 { return ["no call\(asked("was")) was slower than \(threshold) (of \(grouped(judged)))"] + percentiles }
            return saysNone && percentiles.isEmpty ? [noneAskedFor] : percentiles
        }
        let splits = slow.map { (name: $0.name, calls: ServiceSplit(ofSlow: $0.name, $0.calls, in: record)) }
        let title = "calls slower than \(threshold), whose stacks are \(kept.keepsFast ? "`slow`; those of the others are `fast`:" : "kept:")"
        return [Line(title)] + listed(splits, slowLine) + meaning(splits.map(\.calls)) + percentiles
    }

    private func slowLine(_ name: String, _ split: ServiceSplit) -> Line {
        let all = [split.calls, kept.judged[name]?.fast?.count ?? 0].saturatingSum
        let calls = "\(name): \(grouped(split.calls)) of \(grouped(all)) calls, \(Nanoseconds(split.service)) of service"
        var parts: [String] = []
        if let onCPU = split.onCPU {
            let few = split.samples < 10 ? " (\(split.samples) \(split.samples == 1 ? "sample" : "samples"))" : ""
            parts.append(split.samples == 0 ? "no sample on CPU" : "about \(Nanoseconds(onCPU)) on CPU\(few)")
        }
        if let offCPU = split.offCPU { parts.append("\(Nanoseconds(offCPU)) off it") }
        parts.append("\(Nanoseconds(split.sendBlocked)) between the sends of a reply")
        let place = split.mayBeInPipelines && !split.hasStacks ? " (its stacks are in the row pipeline)" : ""
        return Line("  \(calls): \(parts.joined(separator: ", ")); \(rest(of: split))\(place)")
    }

    private func rest(of split: ServiceSplit) -> String {
        let what =
            (split.onCPU == nil ? ["on CPU"] : []) + (split.offCPU == nil ? ["off it"] : []) + (split.mayBeInPipelines ? ["work of pipelines"] : [])
            + ["other work of the same turns"]
        return "\(Nanoseconds(split.rest)) (\(ByCommandText.percent(Double(split.rest) / Double(max(split.service, 1)))) %) \(what.joined(separator: " or "))"
    }

    /// What the rest is, where it is the greater part of some command's time.
    private func meaning(_ splits: [ServiceSplit]) -> [Line] {
        guard splits.contains(where: { $0.rest > $0.service / 2 }) else { return [] }
        let work: Line = "  other work of the same turns: what the server did between a request and its reply for others, or while it put the call off"
        return [work] + (splits.contains { $0.offCPU == nil } ? ["  give --off-cpu to see how much of it was time off the CPU"] : [])
    }

    /// Commands that have too few calls for the percentile.
    private func withoutPercentile(_ threshold: String) -> [Line] {
        // From a file it may be any number.
        guard let share = kept.slowerThanPercentile, share > 0, share < 1 else { return [] }
        let needed = UInt64(PercentileEstimate.timesNeeded(share)), limit = 8
        let few = record.commands.filter { isAskedFor($0.key) }.compactMapValues { $0.phases[Phase.service.rawValue]?.count }
            .filter { $0.value < needed && $0.value != 0 }.sorted { ($1.value, $0.key) < ($0.value, $1.key) }
        guard !few.isEmpty else { return [] }
        let shown = few.prefix(limit).enumerated().map { "\($1.key) (\(grouped($1.value))\($0 == 0 ? " \($1.value == 1 ? "call" : "calls")" : ""))" }
        let commands = shown.joined(separator: ", ") + (few.count > limit ? " and \(few.count - limit) more commands" : "")
        return ["no \(threshold) yet of \(commands): a command needs \(grouped(needed)) calls before its slow ones are known"]
    }
}
