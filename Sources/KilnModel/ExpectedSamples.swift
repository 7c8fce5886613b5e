/// The number of samples expected from a process's CPU time, even if the frequency changes during the session.
public struct ExpectedSamples: Sendable {
    public private(set) var frequency: Int
    private var before = 0.0
    private var changedAt = Nanoseconds.zero

    public init(frequency: Int) { self.frequency = frequency }

    /// `cpu`: CPU time of the process since the session began.
    public mutating func change(to frequency: Int, at cpu: Nanoseconds) {
        before = samples(at: cpu)
        changedAt = cpu
        self.frequency = frequency
    }

    public func count(at cpu: Nanoseconds) -> UInt64 { UInt64(saturating: samples(at: cpu)) }

    private func samples(at cpu: Nanoseconds) -> Double { before + (cpu - changedAt).seconds * Double(frequency) }
}
