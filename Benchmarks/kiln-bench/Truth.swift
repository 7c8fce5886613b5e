import Foundation
import TestSupport

/// `kiln cost` held against what is known: on nothing its interval contains zero, on an observer that burns a known time it
/// contains that: in 19 of 20 runs, or this fails.
extension Bench {
    private struct Cost: Decodable {
        let cost_percent, cost_least_percent, cost_most_percent: Double
        let added_cpu_ns, added_least_cpu_ns, added_most_cpu_ns: Double
    }

    func truth(runs: Int) throws {
        report("kiln cost against known observers, \(runs) runs of 8 s each (99 % intervals)")
        let observer = Observer.program(beside: kiln)
        let file = NSTemporaryDirectory() + "kiln-bench-\(UUID().uuidString).burned"
        defer { try? FileManager.default.removeItem(atPath: file) }
        // One connection. With 50, a slower server takes more requests in each turn of its event loop, and saves what turns cost: of
        // 5 us burned a send 3.7 were added.
        let load = try launch(["taskset", "-c", "1", "redis-benchmark", "-p", "\(server.port)", "-q", "-l", "-t", "get", "-c", "1"])
        defer { kill(load.pid, SIGTERM) }
        var failed: [String] = []
        for burn in [0, 1000, 5000] {
            var held = 0, widths: [Double] = [], truths: [Double] = [], found: [Double] = []
            for _ in 0..<runs {
                let cost = try measure(burn == 0 ? "none" : "\(observer) burn \(server.pid) \(burn) \(file)")
                let truth = burn == 0 ? 0 : try burned(file)
                if cost.added_least_cpu_ns <= truth && truth <= cost.added_most_cpu_ns { held += 1 }
                truths.append(truth)
                found.append(cost.added_cpu_ns)
                widths.append((cost.cost_most_percent - cost.cost_least_percent) / 2)
            }
            let name = burn == 0 ? "nothing" : "\(burn) ns burned a send"
            if held * 20 < runs * 19 { failed.append("\(name): \(held) of \(runs)") }
            report(
                row([
                    name, "\(held) of \(runs) hold it", "median \(Int(median(found))) ns of \(Int(median(truths)))",
                    "half width \(decimal(median(widths))) points (median)",
                ]))
        }
        report("")
        guard failed.isEmpty else {
            throw BenchFailure("intervals of kiln cost hold the truth too seldom, 19 of 20 are wanted: \(failed.joined(separator: "; "))")
        }
    }

    /// Mean of what was burned, as the program itself saw it: dispatch to it comes on top.
    private func burned(_ file: String) throws -> Double {
        let numbers = try String(contentsOfFile: file, encoding: .utf8).split(whereSeparator: \.isWhitespace).compactMap { Double($0) }
        guard numbers.count == 2, numbers[0] > 0 else { throw BenchFailure("nothing was burned") }
        return numbers[1] / numbers[0]
    }

    private func measure(_ observer: String) throws -> Cost {
        let text = try Child.output(of: [
            kiln, "cost", "-p", "\(server.pid)", "-d", "8", "--window", "0.2", "--precision", "100", "--json", "--observer", observer,
        ])
        return try JSONDecoder().decode(Cost.self, from: Data(text.utf8))
    }
}
