/// How long system calls were counted: a section of a snapshot. A budget may switch the counting off and on.
public struct CountedSystemCalls: SnapshotSection, Equatable {
    /// Seconds.
    public var seconds: Double

    public init(seconds: Double) { self.seconds = seconds }

    public func since(_ earlier: CountedSystemCalls?) -> CountedSystemCalls { CountedSystemCalls(seconds: seconds - (earlier?.seconds ?? 0)) }
}
