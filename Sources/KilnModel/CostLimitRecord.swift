/// The section of session.json for --max-cost.
public struct CostLimitRecord: Codable, Sendable {
    public struct Step: Codable, Sendable {
        /// Seconds since the session began.
        public var afterS: Double
        /// The measurement that caused the step.
        public var measuredPercent: Double
        public var step: String

        enum CodingKeys: String, CodingKey {
            case step, afterS = "after_s", measuredPercent = "measured_percent"
        }

        public init(after: Nanoseconds, measured: Double, step: String) {
            afterS = after.seconds
            measuredPercent = measured * 100
            self.step = step
        }
    }

    public var limitPercent: Double
    /// The last measurement: run time of kiln's BPF programs as a percentage of the target's CPU time. Absent before the first.
    public var measuredPercent: Double?
    public var steps: [Step]

    enum CodingKeys: String, CodingKey {
        case steps, limitPercent = "limit_percent", measuredPercent = "measured_percent"
    }

    public init(limitPercent: Double) {
        self.limitPercent = limitPercent
        steps = []
    }
}
