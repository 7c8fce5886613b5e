import ArgumentParser
import KilnKernel

/// How much a session may cost, or watch.
struct BudgetOptions: ParsableArguments {
    @Option(
        name: .customLong("max-cost"),
        help: ArgumentHelp(
            "Keep kiln's BPF programs below this share of the target's CPU time: with fewer samples, then without system calls, then by watching a part of the connections or of the time.",
            valueName: "percent"
        ))
    var maxCost: Double?

    @Option(
        help: ArgumentHelp(
            "Watch this share of the connections, chosen anew at random four times a second: 1/2, 1/4, … 1/64. Counts are estimates.", valueName: "1/n"
        ))
    var share: WatchedShare?

    /// The option that was given; nil: everything is watched.
    var option: String? { maxCost != nil ? "--max-cost" : share != nil ? "--share" : nil }

    func validate() throws {
        if let maxCost { try require("--max-cost", maxCost, in: 0.001...100, unit: "percent") }
        if maxCost != nil, share != nil { throw ValidationError("--max-cost chooses the share itself: give it or --share.") }
    }

    /// Throws if the kernel doesn't let kiln measure.
    func validateForKernel() throws { if maxCost != nil { try Capabilities.requireRunStatistics(for: "--max-cost") } }

    /// - Parameter frequency: Samples a second of CPU time; 0: there are none.
    func budget(of requests: RequestProbe, frequency: Int) -> Budget? {
        option == nil ? nil : Budget(percent: maxCost, share: share?.value, frequency: frequency, of: requests)
    }
}
