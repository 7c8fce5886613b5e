import Foundation
import PrintableText
import TestSupport
import Testing
@testable import KilnProfiles

private let packages = checkout.appendingPathComponent(".build-profiles/python").path
private let areInstalled = program("python3") != nil && FileManager.default.fileExists(atPath: packages)

/// The messages of OpenTelemetry and of Perfetto, from their own packages for Python, read what kiln writes.
@Suite(.enabled(if: areInstalled, "opentelemetry-proto and perfetto for Python are not there: Tests/profiles/fetch.sh .build-profiles"))
struct OutsideReaderTests {
    private struct Answer: Codable, Equatable {
        struct Kind: Codable, Equatable {
            var unit: String
            var stacks: [String: UInt64]
        }

        var unknown = 0
        var kinds: [String: Kind]
    }

    private func answer(_ format: ExportFormat) throws -> Answer {
        let directory = try TemporaryDirectory()
        let file = try directory.write(try format.bytes(try WrittenSession.full.profile(), .init()), as: "file")
        let script = checkout.appendingPathComponent("Tests/profiles/read.py").path
        let text = try Child.output(of: ["env", "PYTHONPATH=\(packages)", "PYTHONDONTWRITEBYTECODE=1", "python3", script, format.name, file.path])
        return try JSONDecoder().decode(Answer.self, from: Data(text.utf8))
    }

    private func compare(_ answer: Answer, _ expected: Answer) {
        #expect(answer.unknown == 0)
        #expect(Set(answer.kinds.keys) == Set(expected.kinds.keys))
        for (name, kind) in expected.kinds {
            #expect(answer.kinds[name]?.unit == kind.unit)
            let stacks = answer.kinds[name]?.stacks ?? [:]
            for (stack, weight) in kind.stacks where stacks[stack] != weight {
                Issue.record("\(name): \(stack.prefix(200)): \(weight), not \(stacks[stack] ?? 0)")
            }
            #expect(stacks.count == kind.stacks.count)
        }
    }

    private func text(_ sample: WrittenSession.Sample, on roots: [String?]) -> String {
        (roots.compactMap(\.self) + sample.frames.map { FunctionName(folded: $0.text).name }).map(\.printable).joined(separator: ";")
    }

    @Test func openTelemetryReadsTheSession() throws {
        func kind(_ name: String, _ unit: String) -> Answer.Kind {
            .init(unit: unit, stacks: WrittenSession.full.folded(name) { text($0, on: [$0.process, $0.thread, $0.state]) })
        }
        let expected = ["samples": kind("on-cpu", "count"), "off_cpu": kind("off-cpu", "nanoseconds"), "page_faults": kind("page-faults", "count")]
        compare(try answer(.otlp), Answer(kinds: expected))
    }

    @Test func perfettoReadsTheSession() throws {
        func kind(_ name: String, _ unit: String) -> Answer.Kind {
            .init(
                unit: unit,
                stacks: WrittenSession.full.folded(name) { sample in
                    let command = sample.command.map { $0 + (sample.verdict.map { " (\($0))" } ?? "") }
                    return text(sample, on: [sample.thread ?? sample.process, command, sample.phase, sample.state.map { "(\($0))" }])
                })
        }
        let expected = [
            "on-cpu": kind("on-cpu", "UNIT_NANOSECONDS"), "off-cpu": kind("off-cpu", "UNIT_NANOSECONDS"), "page-faults": kind("page-faults", "UNIT_COUNT"),
        ]
        compare(try answer(.perfetto), Answer(kinds: expected))
    }
}
