import KilnSessions
import SwiftProtobuf
import Testing
@testable import KilnProfiles

/// What Perfetto demands of packets: https://perfetto.dev/docs/reference/synthetic-track-event
struct PerfettoTests {
    private func trace(_ options: ExportOptions = .init()) throws -> [Perfetto_TracePacket] {
        try Perfetto_Trace(serializedBytes: try ExportFormat.perfetto.bytes(try WrittenSession.full.profile(), options)).packet
    }

    @Test func numbersAreDefinedBeforeTheyAreUsed() throws {
        var known: [String: Set<UInt64>] = [:], isBegun = false
        func define(_ table: String, _ numbers: some Sequence<UInt64>) {
            for number in numbers { #expect(number > 0 && known[table, default: []].insert(number).inserted, "\(table) \(number)") }
        }
        func use(_ table: String, _ numbers: UInt64...) {
            for number in numbers where number != 0 { #expect(known[table]?.contains(number) == true, "\(table) \(number)") }
        }
        for packet in try trace() {
            #expect(packet.trustedPacketSequenceID == 1)
            if packet.sequenceFlags == 1 {
                #expect(!isBegun)
                isBegun = true
            }
            #expect(isBegun)
            let data = packet.internedData
            define("function", data.functionNames.map(\.iid))
            define("path", data.mappingPaths.map(\.iid))
            define("source", data.sourcePaths.map(\.iid))
            define("build", data.buildIds.map(\.iid))
            define("mapping", data.mappings.map(\.iid))
            define("frame", data.frames.map(\.iid))
            define("stack", data.callstacks.map(\.iid))
            define("task", data.stackSampleTaskContexts.map(\.iid))
            define("counter", data.stackSampleCounterDescriptors.map(\.iid))
            for mapping in data.mappings {
                use("build", mapping.buildID)
                for path in mapping.pathStringIds { use("path", path) }
            }
            for frame in data.frames {
                use("function", frame.functionNameID)
                use("mapping", frame.mappingID)
                use("source", frame.sourcePathIid)
            }
            for stack in data.callstacks { for frame in stack.frameIds { use("frame", frame) } }
            guard packet.hasStackSample else { continue }
            let sample = packet.stackSample
            #expect(packet.sequenceFlags == 2 && sample.taskContextIid > 0 && sample.primaryDescriptorIid > 0)
            use("stack", sample.callstackIid)
            use("task", sample.taskContextIid)
            use("counter", sample.primaryDescriptorIid)
        }
        #expect(known.count == 9)
    }

    @Test func weightsAreThoseOfTheSession() throws {
        let packets = try trace()
        let counters = packets.flatMap(\.internedData.stackSampleCounterDescriptors), tracks = packets.filter(\.hasTrackDescriptor).map(\.trackDescriptor)
        #expect(Set(tracks.map(\.uuid)).count == tracks.count && !tracks.contains { $0.uuid == 0 })
        var sums: [UInt64: UInt64] = [:]
        for packet in packets where packet.hasStackSample { sums[packet.stackSample.primaryDescriptorIid, default: 0] += packet.stackSample.primaryWeight }
        for counter in counters {
            #expect(sums[counter.iid] == WrittenSession.full.weight(of: counter.name))
            #expect(counter.unit == (counter.name == "page-faults" ? .count : .nanoseconds))
            #expect(counter.unitMultiplier == (counter.name == "on-cpu" ? 1_000_000_000 / WrittenSession.frequency : 0))
        }
        #expect(counters.map(\.name) == ["on-cpu", "off-cpu", "page-faults"])
    }

    /// Packets of a sequence may stand in any order of time: trace_processor sorts them. Each has a time of the session on the wall clock.
    @Test func timesAreThoseOfTheSession() throws {
        let packets = try trace(), clock = try #require(packets.first?.clockSnapshot)
        #expect(clock.primaryTraceClock == 1 && clock.clocks.map(\.clockID) == [1])
        for packet in packets where packet.hasStackSample {
            #expect(packet.timestampClockID == 1)
            #expect(packet.timestamp >= WrittenSession.start && packet.timestamp < WrittenSession.start + 10_000_000_000)
        }
    }

    @Test func processesAndThreadsHaveNumbersOfTheirOwn() throws {
        let packets = try trace()
        let processes = packets.filter(\.trackDescriptor.hasProcess).map(\.trackDescriptor.process)
        #expect(Set(processes.map(\.pid)).count == processes.count && processes.contains { $0.pid == 7 && $0.processName == "server" })
        let threads = packets.filter(\.trackDescriptor.hasThread).map(\.trackDescriptor.thread)
        #expect(Set(threads.map(\.tid)).count == threads.count)
        let tasks = packets.flatMap(\.internedData.stackSampleTaskContexts)
        #expect(tasks.allSatisfy { task in threads.contains { UInt32($0.tid) == task.tid && UInt32($0.pid) == task.pid } })
    }
}
