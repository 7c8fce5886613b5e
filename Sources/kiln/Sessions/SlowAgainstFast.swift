import Flamegraph
import KilnModel

/// Where slow calls of each command spend more time than fast ones: on the CPU, off it, and between the sends of a reply.
///
/// Of each command as many slow calls as fast ones are compared: the times of those that are more are multiplied by the ratio. A sample then weighs
/// at most as much as it did, whatever the command, so that the same difference is noise for all.
struct SlowAgainstFast {
    static let file = "slow-against-fast.svg"

    /// Folded text, in nanoseconds.
    let slow: [UInt8]
    let fast: [UInt8]

    /// Nil if no command has both slow and fast calls.
    ///
    /// - Parameters:
    ///   - samples: Stacks of the target on the CPU, with verdicts.
    ///   - frequency: Samples per second of CPU time.
    ///   - times: Its other stacks, with nanoseconds.
    ///   - judged: The number of calls.
    init?(samples: [NamedStack], frequency: Double, times: [NamedStack], judged: [CommandName: JudgedCalls]) {
        let judged = judged.filter { $0.value.slow.count != 0 && $0.value.fast.count != 0 }
        guard !judged.isEmpty else { return nil }
        let period = frequency > 0 ? 1e9 / frequency : 1
        func text(_ verdict: Work.Verdict) -> [UInt8] {
            func line(_ stack: NamedStack, _ unit: Double) -> (line: String, weight: UInt64)? {
                guard stack.work.verdict == verdict, case .command(let name) = stack.work.subject, let calls = judged[name] else { return nil }
                let scale = Double(min(calls.slow.count, calls.fast.count)) / Double(calls[verdict].count)
                let frames = Work(stack.work.subject, stack.work.phase).foldedFrames
                return (stack.line(with: frames), UInt64(saturating: Double(stack.weight) * unit * scale))
            }
            var measure = Measure()
            measure.unit = "nanoseconds"
            measure.sampleWeight = period
            measure.rootsAreProcesses = true
            return Array(measure.comments.utf8) + foldedText(samples.compactMap { line($0, period) } + times.compactMap { line($0, 1) })
        }
        slow = text(.slow)
        fast = text(.fast)
    }

    /// The picture: red where slow calls spend more.
    func picture(of record: SessionRecord) -> [UInt8] {
        var stacks = FoldedStacks(parsing: fast)
        stacks.beginSecondProfile()
        slow.withUnsafeBytes { stacks.read($0) }
        stacks.endInput()
        // Times of a session are far below 64 bits.
        _ = stacks.pairProfiles(normalized: false)
        var options = FlamegraphOptions(
            title: "\(record.target.comm) · slow calls against fast ones",
            subtitle: "\(record.started) · \(significantSeconds(record.durationS)) · slower than \(record.samples.keptCalls?.slowerThan ?? "")",
            countName: stacks.unit,
            notes: [
                "before: fast calls; after: as many slow calls of the same command",
                "kiln \(record.kiln.version), Linux \(record.kernel)",
            ]
        )
        options.difference.sampleWeight = stacks.sampleWeight
        return renderSVG(stacks, options)
    }
}
