/// The section of session.json for --max-cost and --share.
public struct CostLimitRecord: Codable, Sendable {
    public struct Step: Codable, Sendable {
        /// Seconds since the session began.
        public var afterS: Double
        /// The measurement that caused the step.
        public var measuredPercent: Double
        /// What was watched from then on, in words.
        public var step: String

        enum CodingKeys: String, CodingKey {
            case step, afterS = "after_s", measuredPercent = "measured_percent"
        }
    }

    /// Absent with --share.
    public var limitPercent: Double?
    /// The last measurement: the cost of kiln's BPF programs as a percentage of the target's CPU time. Absent before the first.
    public var measuredPercent: Double?
    /// The first `mostSteps` changes of what was watched.
    public var steps: [Step]
    /// The number of changes after these; absent if there are none.
    public var moreSteps: Int?

    /// A session of days changes often.
    public static let mostSteps = 100

    enum CodingKeys: String, CodingKey {
        case steps, limitPercent = "limit_percent", measuredPercent = "measured_percent", moreSteps = "more_steps"
    }

    public init(limitPercent: Double?) {
        self.limitPercent = limitPercent
        steps = []
    }

    /// Notes that another level than `former` was chosen. Small changes of the part of the time are left out.
    public mutating func note(_ level: WatchLevel, of former: WatchLevel, after: Nanoseconds, measured: Double) {
        var same = level
        same.time = former.time
        let isSmall = same == former && level.time < 1 && former.time < 1 && max(level.time / former.time, former.time / level.time) < 1.5
        guard !isSmall else { return }
        guard steps.count < Self.mostSteps else { return moreSteps = (moreSteps ?? 0) + 1 }
        steps.append(Step(afterS: after.seconds, measuredPercent: measured * 100, step: level.words))
    }
}

extension WatchLevel {
    /// `1/4 of the connections, 1/4 of the samples, no system calls`
    public var words: String {
        var parts: [String] = []
        if share < 1 { parts.append("1/\(Int((1 / share).rounded())) of the connections") }
        if time < 1 { parts.append("\(percent(time)) of the time") }
        if sampleDivisor > 1 { parts.append("1/\(sampleDivisor) of the samples") }
        if !countsSystemCalls { parts.append("no system calls") }
        return parts.isEmpty ? "everything" : parts.joined(separator: ", ")
    }

    private func percent(_ part: Double) -> String {
        let tenths = (part * 1000).rounded() / 10
        return tenths >= 10 ? "\(Int(tenths.rounded())) %" : "\(tenths) %"
    }
}
