import ArgumentParser
import FoundationEssentials

/// Samples a second: a number, or `max`, the most that the kernel allows and kiln takes.
struct FrequencyArgument: ExpressibleByArgument {
    static let most = 10_000

    let hertz: Int

    init?(argument: String) {
        if let number = Int(argument) {
            hertz = number
            return
        }
        guard argument == "max" else { return nil }
        let limit = try? String(contentsOfFile: "/proc/sys/kernel/perf_event_max_sample_rate", encoding: .utf8)
        hertz = min(limit.flatMap { Int($0.prefix { $0.isNumber }) } ?? Self.most, Self.most)
    }

    init(hertz: Int) { self.hertz = hertz }

    var defaultValueDescription: String { "\(hertz)" }
}
