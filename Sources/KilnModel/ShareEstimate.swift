/// A share of all samples, and how far it may be from the share of time.
public struct ShareEstimate: Equatable, Sendable {
    public let share: Double
    /// The 95 % interval of Wilson (Probable inference, the law of succession, and statistical inference, J. Am. Stat. Assoc. 22, 1927): unlike the
    /// usual one it stays within 0 and 1 and holds for few samples. It takes samples to be independent of each other, which those of a timer that
    /// counts CPU time are unless the work repeats in step with it.
    public let interval: ClosedRange<Double>

    /// Nil without samples.
    public init?(_ part: UInt64, of whole: UInt64) {
        guard whole != 0, part <= whole else { return nil }
        let n = Double(whole), p = Double(part) / n, z = 1.959_964, z2 = z * z
        let centre = (p + z2 / (2 * n)) / (1 + z2 / n)
        let half = z / (1 + z2 / n) * (p * (1 - p) / n + z2 / (4 * n * n)).squareRoot()
        share = p
        // Rounding must not leave the share, or 0...1.
        interval = max(0, min(centre - half, p))...min(1, max(centre + half, p))
    }
}
