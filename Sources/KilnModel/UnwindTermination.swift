import KilnBPF

/// Why unwinding of a stack's user side ended. Numbers, names and meanings come from the kernel side (`kiln_stacks.h`).
public struct UnwindTermination: Hashable, Sendable {
    public let rawValue: UInt32

    /// The stack reaches the outermost function.
    public static let complete = UnwindTermination(KILN_END_COMPLETE)
    /// The stack exceeds the depth limit.
    public static let tooDeep = UnwindTermination(KILN_END_TOO_DEEP)

    /// The stack ends in code that had just been mapped, and that the unwinder didn't know.
    public static let noMapping = UnwindTermination(KILN_END_NO_MAPPING)

    public static let all = (0..<KILN_END_COUNT.rawValue).map { UnwindTermination(kiln_stack_end(rawValue: $0)) }

    private init(_ end: kiln_stack_end) { rawValue = end.rawValue }

    /// Nil for an unknown number.
    public init?(rawValue: UInt32) {
        guard rawValue < KILN_END_COUNT.rawValue else { return nil }
        self.rawValue = rawValue
    }

    /// The name in every output.
    public var name: String { String(cString: kiln_describe_stack_end(rawValue).name) }
    public var meaning: String { String(cString: kiln_describe_stack_end(rawValue).meaning) }
}
