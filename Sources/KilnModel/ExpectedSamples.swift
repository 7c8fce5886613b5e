/// The number of samples expected from a process's CPU time, even if the frequency changes during the session.
public struct ExpectedSamples: Sendable {
    /// A frequency, the CPU time at which it began, and the number of samples expected until then.
    private struct Part {
        var begin: Nanoseconds
        var before: Double
        var frequency: Int
    }

    /// When there are more, the earliest half is dropped. CPU time before the first remaining part counts with that part's frequency.
    private static let mostParts = 2000

    /// Ascending; never empty.
    private var parts: [Part]

    public init(frequency: Int) { parts = [Part(begin: .zero, before: 0, frequency: frequency)] }

    /// `cpu`: CPU time of the process since the session began.
    public mutating func change(to frequency: Int, at cpu: Nanoseconds) {
        parts.append(Part(begin: cpu, before: count(at: cpu), frequency: frequency))
        if parts.count > Self.mostParts { parts.removeFirst(Self.mostParts / 2) }
    }

    /// The number of samples expected in a part of the CPU time since the session began.
    public func count(in cpu: ClosedRange<Nanoseconds>) -> Double { max(count(at: cpu.upperBound) - count(at: cpu.lowerBound), 0) }

    private func count(at cpu: Nanoseconds) -> Double {
        let part = parts.last { $0.begin <= cpu } ?? parts[0]
        return part.before + (cpu.seconds - part.begin.seconds) * Double(part.frequency)
    }
}
