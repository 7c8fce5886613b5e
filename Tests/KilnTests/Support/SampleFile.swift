import Foundation
import TestSupport
import Testing

/// What a session's samples.jsonl says, read without kiln's own types.
struct SampleFile {
    struct Sample {
        /// Of its interval.
        let time: String
        let kind, process: String
        let thread, command, phase, verdict, state: String?
        /// Nanoseconds; the end is nil where the histogram ends.
        let band: (lower: UInt64, upper: UInt64?)?
        let frames: [String]
        let weight: UInt64

        func isOf(_ names: String...) -> Bool { names.allSatisfy { [kind, process, command, phase, state].contains($0) || frames.contains($0) } }
    }

    let samples: [Sample]
    /// Of the intervals that have samples.
    let times: [String]
    /// By kind.
    let dropped: [String: UInt64]
    /// Where frames lie, by their name: the paths and build IDs of files.
    let modules: [String: Set<[String?]>]

    init(_ path: String) throws {
        var frames: [String] = [], stacks: [[String]] = [], groups: [[String: Any]] = [], samples: [Sample] = [], times: [String] = []
        var dropped: [String: UInt64] = [:], files: [[String?]] = [], modules: [String: Set<[String?]>] = [:]
        for line in try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n") {
            guard let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any] else { throw TestFailure("\(path): \(line)") }
            if let kinds = object["kinds"] as? [[String: Any]] {
                for kind in kinds { dropped[kind["kind"] as? String ?? ""] = (kind["dropped"] as? NSNumber)?.uint64Value }
            } else if let module = object["module"] as? String {
                files.append([module, object["build_id"] as? String])
            } else if let frame = object["frame"] as? String {
                frames.append(frame)
                if let module = object["of"] as? Int {
                    guard files.indices.contains(module) else { throw TestFailure("\(path): \(line)") }
                    modules[frame, default: []].insert(files[module])
                }
            } else if let caller = object["caller"] as? Int, let frame = object["in"] as? Int {
                stacks.append((caller < 0 ? [] : stacks[caller]) + [frames[frame]])
            } else if let group = object["group"] as? [String: Any] {
                groups.append(group)
            } else if let time = object["time"] as? String, let lists = object["samples"] as? [[NSNumber]] {
                times.append(time)
                for list in lists {
                    let group = groups[list[0].intValue], band = group["band_ns"] as? [Any]
                    func text(_ name: String) -> String? { group[name] as? String }
                    for at in stride(from: 1, to: list.count, by: 2) {
                        samples.append(
                            Sample(
                                time: time, kind: text("kind") ?? "", process: text("process") ?? "", thread: text("thread"), command: text("command"),
                                phase: text("phase"), verdict: text("verdict"), state: text("state"),
                                band: band.flatMap { band in (band[0] as? NSNumber).map { ($0.uint64Value, (band[1] as? NSNumber)?.uint64Value) } },
                                frames: stacks[list[at].intValue], weight: list[at + 1].uint64Value
                            ))
                    }
                }
            } else {
                throw TestFailure("\(path): \(line)")
            }
        }
        self.samples = samples
        self.times = times
        self.dropped = dropped
        self.modules = modules
    }

    /// The sums over the whole session as a folded text has them: `byCommand`, with what the thread worked on below the frames.
    func sums(of kind: String, byCommand: Bool) -> [String: UInt64] {
        samples.reduce(into: [:]) { sums, sample in
            guard sample.kind == kind else { return }
            let command = byCommand ? sample.command.map { $0 + (sample.verdict.map { " (\($0))" } ?? "") } : nil
            let below = [sample.process, sample.thread, command, byCommand ? sample.phase : nil, sample.state.map { "(\($0))" }].compactMap { $0 }
            sums[(below + sample.frames).joined(separator: ";"), default: 0] += sample.weight
        }
    }

    /// Whether there were calls of the command whose latency lies in the sample's band, in its interval or in one beside it: a call that is answered while an
    /// interval ends may be in the next one.
    func hasCalls(for sample: Sample, in calls: [CommandCalls]) -> Bool {
        guard let band = sample.band else { return false }
        // Times are all of one form, so they are in the order of their texts.
        let times = Set(calls.map(\.time)).sorted()
        let near = Set([times.last { $0 < sample.time }, sample.time, times.first { $0 > sample.time }].compactMap { $0 })
        return calls.contains { call in
            near.contains(call.time) && [call.command, "[pipeline]"].contains(sample.command)
                && call.slots.contains { $0[0] >= band.lower && (band.upper == nil || $0[0] < band.upper ?? 0) }
        }
    }
}

private var rowTimes: ISO8601DateFormatter {
    let formatter = ISO8601DateFormatter()
    formatter.formatOptions = [.withInternetDateTime, .withFractionalSeconds]
    return formatter
}

/// The time of a row: RFC 3339 with milliseconds.
func date(ofRow time: String) throws -> Date { try #require(rowTimes.date(from: time)) }
func rowTime(_ date: Date) -> String { rowTimes.string(from: date) }

/// The latencies (`service`) of a command in an interval, as commands.jsonl has them.
struct CommandCalls {
    let time, command: String
    /// [lower, upper, calls]
    let slots: [[UInt64]]

    static func read(_ path: String) throws -> [CommandCalls] {
        try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").compactMap { line in
            guard let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any], object["phase"] as? String == "service",
                let time = object["time"] as? String, let command = object["command"] as? String, let slots = object["slots"] as? [[NSNumber]]
            else { return nil }
            return CommandCalls(time: time, command: command, slots: slots.map { $0.map(\.uint64Value) })
        }
    }
}

extension Stacks {
    /// The weights by line.
    var sums: [String: UInt64] { lines.reduce(into: [:]) { $0[$1.frames.joined(separator: ";"), default: 0] += $1.samples } }
}
