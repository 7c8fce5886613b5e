import KilnModel
import Testing

@testable import kiln

/// The flamegraph of a session, from its stacks and its record.
struct SessionPictureTests {
    private let merged = Array("redis-server;main;get 6\nredis-server;main 1\n".utf8)
    private let byCommand = Array("redis-server;GET;exec;main;get 6\nredis-server;[event loop];main 1\n".utf8)

    private func record() -> SessionRecord {
        var snapshot = Snapshot(time: Nanoseconds(5_000_000_000))
        snapshot.commands[CommandKey(process: 0, name: CommandName(bytes: Array("get".utf8)))] = CommandCounts(calls: 303, phases: [:])
        var record = SessionRecord(
            version: "0", kernel: "6", started: "2026-01-02T03:04:05Z", interval: 1, ended: "duration",
            target: SessionRecord.Target(pid: 7, exe: nil, comm: "redis-server", ports: [6379], container: nil), snapshot: snapshot,
            cost: SessionRecord.Cost(programs: nil, ownCPU: .zero, ownPeakRSS: 1, targetCPU: .zero, attach: .zero)
        )
        record.addRequests(of: snapshot, process: 0, hook: "socket", side: .server, tlsLibrary: nil, programs: [])
        return record
    }

    private func text(_ byCommand: [UInt8]?) -> String { String(decoding: sessionPicture(merged, .onCPU, record(), byCommand: byCommand), as: UTF8.self) }

    @Test func commandsCanBeChosenWithTheirCalls() {
        let picture = text(byCommand)
        #expect(picture.contains("{\"name\":\"GET\",\"calls\":303,\"parts\":[{\"phase\":\"exec\""))
        #expect(picture.contains("7 samples in 2 stacks · all 3 frames drawn"))
    }

    @Test func withoutCommandsThePictureIsThatOfTheMergedStacks() {
        #expect(!text(nil).contains("\"commands\""))
        for other in ["", "redis-server;main;get 6\n"] { #expect(text(Array(other.utf8)) == text(nil)) }
    }
}
