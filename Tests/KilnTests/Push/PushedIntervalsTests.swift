import Foundation
import TestSupport
import Testing

@testable import KilnModel
@testable import KilnProfiles
@testable import kiln

/// What a push has of a session's intervals.
struct PushedIntervalsTests {
    private static let stack = StackTable.Key(hash: 1, process: 0)

    private func samples(_ history: SampleHistory) -> SampleRecords {
        SampleRecords(
            history, kinds: [.onCPU: ("on-cpu", "samples")],
            named: [NamedStack(process: 0, root: "server", work: Work(.unlabelled), frames: "main;run", weight: 1, key: Self.stack)])
    }

    @Test func theIntervalThatMayGrowWaits() throws {
        let directory = try TemporaryDirectory()
        try GeneratedSession().write(to: directory.url)
        let record = try JSONDecoder().decode(SessionRecord.self, from: Data(contentsOf: directory.url.appendingPathComponent("session.json")))
        let start = UInt64(GeneratedSession.start) * 1_000_000_000, pushed = PushedIntervals()
        func weights(_ profile: Profile?) -> [UInt64] { profile?.series.flatMap { $0.samples.map(\.weight) } ?? [] }

        var history = SampleHistory()
        for second in 1...3 {
            history.note([Self.stack: UInt64(second * second)], [:])
            history.close(at: GeneratedSession.time(second), length: Nanoseconds(1_000_000_000))
        }
        let first = try #require(try pushed.profile(ofTarget: 0, record, samples(history), isLast: false))
        #expect(weights(first) == [1, 3] && first.start == start && first.duration == 2_000_000_000)
        #expect(try pushed.profile(ofTarget: 0, record, samples(history), isLast: false) == nil)
        // Of another target nothing was pushed.
        #expect(weights(try pushed.profile(ofTarget: 1, record, samples(history), isLast: false)) == [1, 3])

        history.note([Self.stack: 20], [:])
        history.closeLast()
        let last = try #require(try pushed.profile(ofTarget: 0, record, samples(history), isLast: true))
        #expect(weights(last) == [16])
        #expect(last.start == start + 2_000_000_000 && last.start + last.duration == start + 60_000_000_000)
        #expect(try pushed.profile(ofTarget: 0, record, samples(history), isLast: true) == nil)
    }
}
