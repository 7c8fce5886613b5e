import Foundation
import KilnModel
import KilnTargets
import LoadClient

/// What is asked of the server.
struct Traffic {
    let name: String
    let kind: load_kind
    var pipeline: UInt32 = 1
    /// Requests a second; 0: each connection asks again when it has its answer.
    var rate = 0.0

    /// In this order: DELETE takes the keys that SET made.
    static let all = [
        Traffic(name: "SET", kind: LOAD_SET), Traffic(name: "GET", kind: LOAD_GET), Traffic(name: "UPDATE", kind: LOAD_UPDATE),
        Traffic(name: "DELETE", kind: LOAD_DELETE), Traffic(name: "GET, 10,000/s", kind: LOAD_GET, rate: 10_000),
        Traffic(name: "GET, pipelines of 16", kind: LOAD_GET, pipeline: 16),
    ]
    static let deepestPipeline = Int(all.map(\.pipeline).max() ?? 1)
}

/// One kind of traffic in one round: with an observer, and without, half just before and half just after it.
struct Measurement {
    let observer: String
    let traffic: String
    let round: Int
    let with, without: Side
    /// Of the observer's process while the load ran: share of a core.
    let ownCPU: Double
    let ownPeakRSSBytes: UInt64

    struct Side {
        var commands: Int
        var seconds: Double
        /// Of the server.
        var cpuNs: UInt64
        var latency: Histogram

        var cpuPerCommand: Double { Double(cpuNs) / Double(max(commands, 1)) }
        mutating func add(_ other: Side) {
            commands += other.commands
            seconds += other.seconds
            cpuNs += other.cpuNs
            latency.add(other.latency)
        }

        var meanLatency: Double { Double(latency.sum.count) / Double(max(latency.count, 1)) }
    }
}

/// Every observer against nothing, in interleaved rounds.
final class Comparison {
    let observers: [Observer]
    let missing: [String]
    private(set) var measurements: [Measurement] = []
    private(set) var failures: [String] = []
    private let server: Server
    private var next = Comparison.base

    /// Seconds of load for each kind of traffic, with and without.
    static let seconds = 0.3
    static let connections: UInt32 = 50
    private static let keys: UInt64 = 10_000, base: UInt64 = 1_000_000

    init(kiln: String, only wanted: [String] = []) throws {
        let all = Observer.all(kiln: kiln)
        observers = all.observers.filter { observer in wanted.isEmpty || wanted.contains { observer.name.contains($0) } }
        missing = all.missing
        server = try Server()
    }

    func run(rounds: Int) throws {
        for round in 0..<rounds {
            for observer in observers where !failures.contains(where: { $0.hasPrefix(observer.name + ":") }) {
                do { try measure(observer, round) } catch let failure as BenchFailure {
                    let line = failure.description.split(separator: "\n").joined(separator: " ")
                    failures.append("\(observer.name): \(line.prefix(200))")
                    report("  \(failures.last ?? "")")
                }
            }
            report("  round \(round + 1) of \(rounds)")
        }
    }

    /// Before and after, so that a steady drift of the machine's speed cancels.
    private func measure(_ observer: Observer, _ round: Int) throws {
        var without = try Traffic.all.map { try load($0) }
        let watching = try observer.start(server.pid)
        let clock = try ProcessCPUClock(pid: watching.pid)
        var sides: [(side: Measurement.Side, ownCPU: Double)] = []
        for traffic in Traffic.all {
            let before = try clock.nanoseconds()
            let side = try load(traffic)
            sides.append((side, Double(try clock.nanoseconds() - before) / 1e9 / side.seconds))
        }
        let memory = Self.peakRSS(watching.pid)
        try watching.end(after: sides.reduce(0) { $0 + $1.side.commands })
        for (index, traffic) in Traffic.all.enumerated() {
            without[index].add(try load(traffic))
            measurements.append(
                Measurement(
                    observer: observer.name, traffic: traffic.name, round: round, with: sides[index].side, without: without[index],
                    ownCPU: sides[index].ownCPU, ownPeakRSSBytes: memory
                ))
        }
    }

    /// Table, numbers and picture: comparison.md, comparison.csv and comparison.svg.
    func write(to directory: String, kiln: String, rounds: Int) throws {
        let summary = ComparisonSummary(self, rounds: rounds), surroundings = surroundings(kiln: kiln)
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        let files = [
            ("md", summary.markdown(surroundings)), ("csv", summary.csv(measurements)),
            ("svg", ComparisonChart(summary: summary, subtitle: surroundings).svg()),
        ]
        for (ending, text) in files { try text.write(toFile: "\(directory)/comparison.\(ending)", atomically: true, encoding: .utf8) }
        report("wrote \(directory)/comparison.md, .csv and .svg")
    }

    private func load(_ traffic: Traffic) throws -> Measurement.Side {
        if traffic.kind == LOAD_SET { try server.flush() }
        var request = load_request()
        request.kind = traffic.kind
        request.connections = Self.connections
        request.pipeline = traffic.pipeline
        request.rate = traffic.rate
        request.seconds = Self.seconds
        request.keys = Self.keys
        request.first_key = traffic.kind == LOAD_SET || traffic.kind == LOAD_DELETE ? Self.base : 0
        request.last_key = next
        let (result, cpu) = try server.load(request, traffic: traffic.name)
        if traffic.kind == LOAD_SET { next = result.next_key }
        var latency = Histogram()
        withUnsafeBytes(of: result.latency_slots) { slots in
            if let first = slots.bindMemory(to: UInt64.self).baseAddress { latency.add(slots: first, sum: result.latency) }
        }
        return Measurement.Side(commands: Int(result.commands), seconds: result.seconds, cpuNs: cpu, latency: latency)
    }

    private static func peakRSS(_ pid: Int32) -> UInt64 {
        let status = (try? String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)) ?? ""
        let line = status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
        return (line?.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { UInt64($0) } ?? 0) * 1024
    }
}
