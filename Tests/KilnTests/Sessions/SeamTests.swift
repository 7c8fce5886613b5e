import Foundation
import Glibc
import KilnKernel
import KilnModel
import KilnTargets
import TestSupport
import Testing
@testable import kiln

/// How often the threads of one process gave up a CPU. A probe needs no more than this file.
private struct Switches: SnapshotSection {
    var count: UInt64

    func since(_ earlier: Switches?) -> Switches { Switches(count: count - (earlier?.count ?? 0)) }
}

/// Counts voluntary context switches of a process, by proc(5).
private final class SwitchProbe: Probe {
    private let pid: Int32
    private var atStart: UInt64 = 0
    private(set) var calls: [String] = []

    init(pid: Int32) { self.pid = pid }

    func load() { calls.append("load") }

    func attach() throws -> Nanoseconds {
        calls.append("attach")
        atStart = try switches()
        return MonotonicClock.now()
    }

    var details: [String] { ["counting switches"] }
    func read(into snapshot: inout Snapshot) throws { snapshot[Switches.self] = Switches(count: try switches() - atStart) }
    func describe(_ record: inout SessionRecord, at moment: SessionMoment) { record.hook = "proc" }
    func stop() { if calls.last != "stop" { calls.append("stop") } }
    func detach() { calls.append("detach") }

    private func switches() throws -> UInt64 {
        let status = try String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)
        let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("voluntary_ctxt_switches:") })
        return try #require(UInt64(line.split(separator: "\t")[1]))
    }
}

/// Keeps what it hears.
private final class Listener: Sink {
    private(set) var details: [String] = []
    private(set) var switches: [UInt64] = []
    private(set) var records: [SessionRecord] = []
    private let wanted: Int

    init(wanted: Int) { self.wanted = wanted }

    func begin(_ start: SessionStart) { details = start.details }

    func interval(_ interval: SessionInterval) throws {
        switches.append(try #require(interval.counts[Switches.self]).count)
        if switches.count == wanted { throw EndOfSession(.lineLimit) }
    }

    func end(_ result: SessionResult) { records = result.records }
}

extension KernelTests {
    @Suite struct SeamTests {
        @Test func aProbeAndASinkThatASessionDoesNotKnowJoinIt() throws {
            // It sleeps 211 times, each of which is a switch.
            let child = try Child.held(["python3", "-c", "import time\nfor i in range(211): time.sleep(0.002)\ntime.sleep(60)"])
            let pid = child.pid
            let target = try #require(try TargetDiscovery().targets(pids: [pid], ports: []).first)
            let probe = SwitchProbe(pid: pid), listener = Listener(wanted: 10)
            var plan = kiln.Session.Plan(
                targets: [try SessionTarget(target)], probes: [probe], sinks: [listener], length: try LengthOptions.parse(["--duration", "30"])
            )
            plan.interval = Nanoseconds(300_000_000)
            let session = kiln.Session(plan, events: try SessionEvents())
            kill(pid, SIGCONT)
            try session.run()
            #expect(listener.details == ["counting switches", "for 30.0 s"])
            #expect(listener.switches.count == 10)
            let switches = listener.switches.reduce(0, +)
            #expect(switches >= 211 && switches < 400, "\(switches)")
            #expect(probe.calls == ["load", "attach", "stop", "detach"])
            let record = try #require(listener.records.first)
            #expect(record.hook == "proc" && record.ended == "line limit" && record.target.pid == pid)
        }
    }
}

@Suite struct StackSamplingTests {
    @Test func samplingFollowsTheLevelOfABudget() throws {
        let options = try SamplingOptions.parse(["--frequency", "997"])
        let sampling = StackSampling(of: Members(nil), options, folding: StackFolding(targets: [], options))
        let frequencies = try [4, 16, 1].map { divisor in
            var level = WatchLevel.whole
            level.sampleDivisor = divisor
            try sampling.follow(level, at: [Nanoseconds.zero])
            return sampling.frequency
        }
        #expect(frequencies == [249, 62, 997])
    }
}
