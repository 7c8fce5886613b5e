/// The number of samples expected from a process's CPU time, even if the frequency changes during the session.
public struct ExpectedSamples: Sendable {
    /// A frequency, since which CPU time it holds, and how many samples were expected until then.
    private struct Part {
        var begin: Nanoseconds
        var before: Double
        var frequency: Int
    }

    /// Of a longer session the earliest are forgotten, and counted with the frequency of those that are known.
    private static let mostParts = 2000

    /// Ascending; never empty.
    private var parts: [Part]

    public init(frequency: Int) { parts = [Part(begin: .zero, before: 0, frequency: frequency)] }

    /// `cpu`: CPU time of the process since the session began.
    public mutating func change(to frequency: Int, at cpu: Nanoseconds) {
        parts.append(Part(begin: cpu, before: count(at: cpu), frequency: frequency))
        if parts.count > Self.mostParts { parts.removeFirst(Self.mostParts / 2) }
    }

    /// In a part of the CPU time since the session began.
    public func count(in cpu: ClosedRange<Nanoseconds>) -> Double { max(count(at: cpu.upperBound) - count(at: cpu.lowerBound), 0) }

    private func count(at cpu: Nanoseconds) -> Double {
        let part = parts.last { $0.begin <= cpu } ?? parts[0]
        return part.before + (cpu.seconds - part.begin.seconds) * Double(part.frequency)
    }
}
