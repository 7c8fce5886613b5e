import Flamegraph
import KilnModel

/// Where slow calls of each command spend more time than fast ones, in nanoseconds per call: on the CPU, off it, and until clients read.
struct SlowAgainstFast {
    static let file = "slow-against-fast.svg"

    private let slow: [UInt8]
    private let fast: [UInt8]

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
        let period = frequency > 0 ? 1e9 / frequency : 0
        func text(_ verdict: Work.Verdict) -> [UInt8] {
            // What a sample stands for is divided by the calls: of the command with the fewest it is most, and decides what is noise.
            var sampleWeight = 1.0, lines: [(line: String, weight: UInt64)] = []
            func add(_ stack: NamedStack, _ unit: Double) {
                guard stack.work.verdict == verdict, case .command(let name) = stack.work.subject, let calls = judged[name]?[verdict].count else { return }
                if unit > 1 { sampleWeight = max(sampleWeight, unit / Double(calls)) }
                let weight = UInt64(saturating: Double(stack.weight) * unit / Double(calls))
                lines.append((stack.line(with: Work(.command(name), stack.work.phase).foldedFrames), weight))
            }
            for stack in samples { add(stack, period) }
            for stack in times { add(stack, 1) }
            var measure = Measure()
            measure.unit = "nanoseconds per call"
            measure.sampleWeight = sampleWeight
            measure.rootsAreProcesses = true
            return Array(measure.comments.utf8) + foldedText(lines)
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
        // Both are times of one call, far below 64 bits.
        _ = stacks.pairProfiles(normalized: false)
        var options = FlamegraphOptions(
            title: "\(record.target.comm) · slow calls against fast ones",
            subtitle: "\(record.started) · \(significantSeconds(record.durationS)) · slower than \(record.samples.keptCalls?.slowerThan ?? "")",
            countName: stacks.unit,
            notes: [
                "Time of one call of each command: red and ▲ where slow calls spend more, blue and ▼ where they spend less, grey for what sampling noise explains",
                "kiln \(record.kiln.version), Linux \(record.kernel)",
            ]
        )
        options.difference.sampleWeight = stacks.sampleWeight
        return renderSVG(stacks, options)
    }
}
