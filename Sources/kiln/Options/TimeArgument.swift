import ArgumentParser
import KilnModel

/// A time with its unit, as an argument: `50us`, `1.5ms`, `2s`.
struct TimeArgument: ExpressibleByArgument {
    let text: String
    let time: Nanoseconds

    private static let units: [(name: String, nanoseconds: Double)] = [("ns", 1), ("us", 1e3), ("ms", 1e6), ("s", 1e9)]

    init?(argument: String) {
        guard let unit = Self.units.first(where: { argument.hasSuffix($0.name) }),
            let number = Double(argument.dropLast(unit.name.count)), number >= 0, number * unit.nanoseconds < 1e18
        else { return nil }
        text = argument
        time = Nanoseconds(UInt64(saturating: number * unit.nanoseconds))
    }
}

extension WaitState: ExpressibleByArgument {
    public init?(argument: String) { self.init(name: argument) }
    public var defaultValueDescription: String { name }
    public static var allValueStrings: [String] { allCases.map(\.name) }
    public static var allValueDescriptions: [String: String] {
        [
            sleeping.name: "asleep until it is woken or gets a signal",
            uninterruptible.name: "asleep until it is woken: disks, page faults, locks in the kernel",
            runnable.name: "ready to run, without a CPU", stopped.name: "stopped by a signal or a debugger",
        ]
    }
}
