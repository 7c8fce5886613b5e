import KilnKernel
import KilnModel

/// `redis-server pid 1 port 6379 (docker web)`
func sessionTitle(comm: String, pid: Int32, ports: [UInt16], container: String?) -> String {
    let listens = ports.isEmpty ? "" : " port " + ports.map(String.init).joined(separator: ",")
    return "\(comm) pid \(pid)\(listens)" + (container.map { " (\($0))" } ?? "")
}

/// A whole session for people: at its end, and whenever its directory is read again.
struct SessionText {
    let record: SessionRecord
    private let text: IntervalText

    init(_ record: SessionRecord, output: Output) {
        self.record = record
        text = IntervalText(interval: record.snapshot, isTotal: true, output: output)
    }

    /// All but the losses, which are those of all targets together.
    var lines: [String] {
        let target = record.target
        let title = sessionTitle(comm: target.comm, pid: target.pid, ports: target.ports, container: target.container)
        var lines = [text.output.bold("Session of \(significantSeconds(record.durationS)) (\(record.ended))") + "  " + title]
        lines += text.histograms(process: 0) + text.tables(process: 0, waits: 10)
        if let syscalls = record.syscalls {
            let calls = syscalls.map { (name: $0, counts: SyscallCounts(count: $1.count, errors: $1.errors)) }
            if let line = text.syscallLine(calls) { lines.append(line) }
        }
        lines += text.sizeTable(process: 0) + (record.side == .client ? text.serverTable(process: 0) : text.clientTable(process: 0))
        lines += Dictionary(grouping: record.phasesUnknown.keys.sorted()) { record.phasesUnknown[$0] ?? "" }
            .sorted { $0.key < $1.key }.map { reason, phases in "\(phases.joined(separator: ", ")): \(reason)" }
        if let audit = record.audit { lines += auditLines(audit, output: text.output) }
        return lines + samples
    }

    var losses: [String] {
        [text.lostText] + record.lost.keys.sorted().compactMap { loss in lossMeaning(loss).map { "  \(loss): \($0)" } }
    }

    private var samples: [String] {
        let counts = record.samples.onCPU
        guard counts.frequencyHz > 0 else { return [] }
        let whole = counts.recorded == 0 ? "" : ", \(share(counts.complete, of: counts.recorded)) % of stacks whole"
        let cut = counts.kernelTruncated == 0 ? "" : ", \(counts.kernelTruncated) cut at the depth limit in the kernel"
        let cpu = Nanoseconds(UInt64(saturating: record.cost.targetCPUS * 1e9))
        return ["samples: \(counts.recorded) recorded of \(counts.expected) expected from \(cpu) of CPU time\(whole)\(cut)"]
            + StackEnd.all.compactMap { end in
                guard end != .complete, let count = counts.ends[end.name] else { return nil }
                return "  \(count) \(end.name): \(end.meaning)"
            } + unnamed
    }

    /// Which frames have no name, and why.
    private var unnamed: [String] {
        guard let names = record.samples.onCPU.names, !names.unnamed.isEmpty else { return [] }
        let shown = names.unnamed.prefix(4)
        let lines = shown.map { "  \($0.frames) \($0.module.map { "in \($0)" } ?? "in no file"): \($0.reason)" }
        let rest = names.unnamed.count - shown.count
        return ["names: \(share(names.named, of: names.frames)) % of frames; without one:"] + lines
            + (rest > 0 ? ["  \(rest) more reasons in session.json"] : [])
    }

    /// In percent with one decimal, rounded down: 100 means all.
    private func share(_ part: UInt64, of whole: UInt64) -> String {
        guard whole != 0 else { return "0.0" }
        let permille = UInt64(saturating: (Double(part) * 1000 / Double(whole)).rounded(.down))
        return "\(permille / 10).\(permille % 10)"
    }
}
