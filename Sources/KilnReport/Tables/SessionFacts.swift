import KilnModel
import KilnSessions

/// What is said of a session at the top of its page: names, values and what they mean.
struct SessionFacts {
    let record: SessionRecord

    var all: [[String]] {
        ([target, began, length] + counts + [samples, waits, lost, kiln]).compactMap { $0 }
    }

    private var target: [String]? {
        let target = record.target
        let pid = target.pids.map { "pid \($0.map(String.init).joined(separator: ", "))" } ?? (target.pid == 0 ? "" : "pid \(target.pid)")
        let exe = target.exe.map { pid.isEmpty ? $0 : ", \($0)" } ?? ""
        return pid.isEmpty && exe.isEmpty ? nil : ["target", shown(pid + exe), Glossary.meaning("target")]
    }

    private var began: [String]? { ["began", shown(record.started), "When everything was attached. Times of this page are UTC."] }

    private var length: [String]? {
        [
            "length", "\(seconds(record.durationS)) (\(shown(record.ended)))",
            "The length of the session, and why it ended. An interval is \(seconds(record.intervalS)).",
        ]
    }

    private var counts: [[String]?] {
        guard !record.commands.isEmpty else { return [] }
        let calls = record.commands.values.map(\.count).saturatingSum, errors = record.commands.values.map(\.errors).saturatingSum
        let rate = record.durationS > 0 ? ", \(grouped(UInt64(saturating: Double(calls) / record.durationS)))/s" : ""
        return [["calls", grouped(calls) + rate, "Requests of all commands."], errors == 0 ? nil : ["errors", grouped(errors), "Error replies."]]
    }

    private var samples: [String]? {
        let samples = record.samples.onCPU
        guard samples.frequencyHz > 0 else { return nil }
        let complete = samples.recorded == 0 ? "" : ", \(percent(Double(samples.complete) / Double(samples.recorded))) of stacks complete"
        return [
            "samples", "\(grouped(samples.recorded)) at \(samples.frequencyHz) Hz\(complete)",
            "On-CPU samples of the target, and how many of their stacks reach the outermost function.",
        ]
    }

    private var waits: [String]? {
        guard let waits = record.samples.offCPU else { return nil }
        let time = [waits.sleepingNs, waits.uninterruptibleNs, waits.runnableNs, waits.stoppedNs].saturatingSum
        return ["off-CPU", "\(Nanoseconds(time)) in \(grouped(waits.recorded)) waits, \(Nanoseconds(waits.idleNs)) idle", Glossary.meaning("off-CPU")]
    }

    private var lost: [String]? {
        let all = record.lost.values.saturatingSum
        return ["lost", all == 0 ? "nothing" : "\(grouped(all)), see below", Glossary.meaning("lost")]
    }

    private var kiln: [String]? {
        let hook = record.hook == "none" ? "" : ", hook \(record.hook)"
        return ["observer", shown("kiln \(record.kiln.version)\(hook), Linux \(record.kernel)"), "What recorded the session, and the kernel that ran."]
    }

    private func seconds(_ seconds: Double) -> String { "\(Nanoseconds(UInt64(saturating: seconds * 1e9)))" }

    private func percent(_ share: Double) -> String {
        let percent = (share * 1000).rounded(.down) / 10
        return percent == 100 ? "100 %" : "\(percent) %"
    }
}
