import ArgumentParser

/// The value of `--share`: `1/16`.
struct WatchedShare: ExpressibleByArgument {
    /// More than 0, up to 1.
    let value: Double

    init?(argument: String) {
        let parts = argument.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, parts[0] == "1", let divisor = Int(parts[1]), (1...64).contains(divisor), divisor.nonzeroBitCount == 1 else { return nil }
        value = 1 / Double(divisor)
    }
}
