import KilnModel

/// Tables beside that of service: phases of the commands, waits, errors, sizes, and clients or servers.
extension IntervalText {
    /// All tables and lines of one process's commands.
    func tables(process: Int, waits: Int) -> [Line] {
        commandTable(process: process) + phaseTable(process: process)
            + [waitLine(process: process), errorLine(process: process), interval[SyscallTimes.self] == nil ? syscallLine(process: process) : nil].compactMap {
                $0
            }
            + waitTable(process: process, most: waits)
    }

    /// The complete latency histogram of each command.
    func histograms(process: Int) -> [Line] {
        shownCommands(of: process).sorted { $0.name < $1.name }.flatMap { name, counts in
            // The client's side has only the total.
            [counts.phases[.service] == nil ? Phase.total : .service, .wait].flatMap { phase -> [Line] in
                let lines = histogramLines(counts.phases[phase] ?? Histogram())
                return lines.isEmpty ? [] : [Line(), Line(bold: "\(name) \(phase.rawValue)")] + lines
            }
        } + [Line()]
    }

    /// The largest request and reply of each command, if one of them has 1 KiB or more.
    func sizeTable(process: Int) -> [Line] {
        let rows = commands(of: process).filter { max($0.counts.largestRequest, $0.counts.largestReply) >= 1024 }
        guard !rows.isEmpty else { return [] }
        var table = Table(["LARGEST", "request bytes", "reply bytes"], leftAligned: 1)
        for row in rows.prefix(tableRows) { table.add([row.name.description, grouped(row.counts.largestRequest), grouped(row.counts.largestReply)]) }
        return [Line].table(table.lines) + [Self.restLine(rows.count - tableRows, "commands")].compactMap { $0 }
    }

    private static let shown: [Phase] = [.queue, .exec, .reply, .total, .sendBlocked]

    /// p50 and p99 of each phase, the most called command first. A phase without a sample has no column. The column after exec is the share
    /// of exec that the thread spent in the run queue.
    func phaseTable(process: Int) -> [Line] {
        let rows = shownCommands(of: process).filter { row in Self.shown.contains { row.counts.phases[$0]?.count ?? 0 != 0 } }
        let phases = Self.shown.filter { phase in rows.contains { $0.counts.phases[phase]?.count ?? 0 != 0 } }
        guard !phases.isEmpty, phases != [.total] else { return [] }
        let header = phases.flatMap { phase in
            phase == .exec ? ["exec", "run queue"] : [phase == .sendBlocked ? "send blocked" : phase.rawValue]
        }
        var table = Table(["p50 / p99"] + header, leftAligned: 1)
        for row in rows {
            table.add(
                [row.name.description]
                    + phases.flatMap { phase in
                        let percentiles = percentiles(row.counts.phases[phase])
                        return phase == .exec ? [percentiles, runQueueShare(row.counts)] : [percentiles]
                    })
        }
        return .table(table.lines)
    }

    private func percentiles(_ histogram: Histogram?) -> String {
        guard let histogram, let p50 = histogram.percentile(0.5), let p99 = histogram.percentile(0.99) else { return "-" }
        return "\(p50) / \(p99)"
    }

    /// The share of exec that the thread spent in the run queue.
    private func runQueueShare(_ counts: CommandCounts) -> String {
        guard let exec = counts.phases[.exec], exec.sum != .zero else { return "-" }
        return "\((counts.runQueue.seconds / exec.sum.seconds * 1000).rounded() / 10) %"
    }

    /// Blocking commands, whose clients asked to wait: that time is not latency.
    func waitLine(process: Int) -> String? {
        let waited = commands(of: process).compactMap { row -> String? in
            guard let wait = row.counts.phases[.wait], wait.count != 0, let p50 = wait.percentile(0.5), let p99 = wait.percentile(0.99)
            else { return nil }
            return "\(row.name) \(grouped(wait.count)) answered after p50 \(p50), p99 \(p99)"
        }
        guard !waited.isEmpty else { return nil }
        return "blocking: " + waited.prefix(8).joined(separator: "; ") + more(waited.count - 8, ";")
    }

    /// Error replies by command and error word, the most frequent first.
    func errorLine(process: Int) -> String? {
        let errors = commands(of: process).flatMap { row in row.counts.errorWords.map { (name: row.name, word: $0.key, count: $0.value) } }
            .sorted { ($1.count, $0.name.description, $0.word) < ($0.count, $1.name.description, $1.word) }
        guard !errors.isEmpty else { return nil }
        let shown = errors.prefix(8).map { "\($0.name) \($0.word) \(grouped($0.count))" }
        return "errors: " + shown.joined(separator: ", ") + more(errors.count - 8, ",")
    }

    /// The end of a line that leaves `count` entries out.
    func more(_ count: Int, _ separator: String) -> String { count > 0 ? "\(separator) \(count) more in session.json" : "" }

    /// Head-of-line blocking: which command waited behind which other one, the longest waits first.
    func waitTable(process: Int, most: Int) -> [Line] {
        let waits = interval.waits.filter { $0.key.process == process }
            .sorted { ($1.value.wait, $0.key.blocker, $0.key.blocked) < ($0.value.wait, $1.key.blocker, $1.key.blocked) }
        guard !waits.isEmpty else { return [] }
        var table = Table(["BLOCKED", "by", "times", "total", "mean"], leftAligned: 2)
        for (key, counts) in waits.prefix(most) {
            let mean = Nanoseconds(counts.wait.count / max(counts.times, 1))
            table.add([key.blocked.description, key.blocker.description, grouped(counts.times), "\(counts.wait)", "\(mean)"])
        }
        var lines = [Line].table(table.lines)
        if let rest = Self.restLine(waits.count - most, "pairs") { lines.append(rest) }
        let queue = commands(of: process).reduce(0) { $0 + ($1.counts.phases[.queue]?.sum.seconds ?? 0) }
        let named = waits.reduce(0) { $0 + $1.value.wait.seconds }
        if queue > 0 {
            let whole = Nanoseconds(UInt64(saturating: queue * 1e9))
            lines.append("These waits are \(Int((min(named / queue, 1) * 100).rounded())) % of the time in queue, which is \(whole).")
        }
        return lines
    }

    /// On the client's side: commands by server, the most called first.
    func serverTable(process: Int, most: Int = 20) -> [Line] {
        let rows = interval.served.filter { $0.key.process == process }
            .sorted { ($1.value.calls, $0.key.server, $0.key.name) < ($0.value.calls, $1.key.server, $1.key.name) }
        guard !rows.isEmpty else { return [] }
        var table = Table(["SERVER", "COMMAND", "answered", "p50", "p99"], leftAligned: 2)
        for (key, counts) in rows.prefix(most) {
            let percentiles = [0.5, 0.99].map { counts.latency.percentile($0)?.description ?? "-" }
            table.add([key.server, "\(key.name)", grouped(counts.latency.count)] + percentiles)
        }
        return [Line].table(table.lines) + [Self.restLine(rows.count - most, "commands of servers")].compactMap { $0 }
    }

    /// Clients, the one with the most commands first.
    func clientTable(process: Int, most: Int = 10) -> [Line] {
        let clients = interval.clients.filter { $0.key.process == process }
            .sorted { ($1.value.commands, $0.key.address) < ($0.value.commands, $1.key.address) }
        guard !clients.isEmpty else { return [] }
        var table = Table(["CLIENT", "commands", "bytes in", "bytes out"], leftAligned: 1)
        for (key, counts) in clients.prefix(most) {
            table.add([key.address, grouped(counts.commands), grouped(counts.receivedBytes), grouped(counts.sentBytes)])
        }
        return [Line].table(table.lines) + [Self.restLine(clients.count - most, "addresses")].compactMap { $0 }
    }
}
