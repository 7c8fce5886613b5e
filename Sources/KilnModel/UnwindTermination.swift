import KilnBPF

/// How the user's side of a stack ended. Numbers, names and meanings are the kernel side's (`kiln_stacks.h`).
public struct UnwindTermination: Hashable, Sendable {
    public let rawValue: UInt32

    /// The stack is whole.
    public static let complete = UnwindTermination(KILN_END_COMPLETE)
    /// Deeper than is kept.
    public static let tooDeep = UnwindTermination(KILN_END_TOO_DEEP)
    /// A thread that slept when the session began.
    public static let asleepBefore = UnwindTermination(KILN_END_ASLEEP_BEFORE)

    public static let all = (0..<KILN_END_COUNT.rawValue).map { UnwindTermination(kiln_stack_end(rawValue: $0)) }

    private init(_ end: kiln_stack_end) { rawValue = end.rawValue }

    /// nil: a number without meaning.
    public init?(rawValue: UInt32) {
        guard rawValue < KILN_END_COUNT.rawValue else { return nil }
        self.rawValue = rawValue
    }

    /// In every output.
    public var name: String { String(cString: kiln_describe_stack_end(rawValue).name) }
    public var meaning: String { String(cString: kiln_describe_stack_end(rawValue).meaning) }
}
