import KilnModel
import Testing

@testable import KilnProfiles

struct ProfilePartTests {
    private func part(_ function: String, weight: UInt64, command: String?, module: String) -> Profile {
        var profile = Profile("on-cpu", .samples(period: 10), program: "redis-server", pid: 1, start: 5, duration: 7, version: "1")
        profile.modules = [SampleModule(path: "/libc", buildID: "aa"), SampleModule(path: module, buildID: nil)]
        profile.frames = [.init(function: FunctionName(folded: "main"), module: 0), .init(function: FunctionName(folded: function), module: 1)]
        profile.stacks = [.init(caller: -1, frame: 0), .init(caller: 0, frame: 1)]
        profile.labels = [.init(process: "redis-server", command: command)]
        profile.intervals = [.init(start: 0, end: 1)]
        profile.series[0].dropped = 1
        profile.series[0].samples = [.init(stack: 1, labels: 0, interval: 0, weight: weight), .init(stack: -1, labels: 0, interval: 0, weight: 1)]
        return profile
    }

    @Test func partsOfSeveralServersAreOneProfile() throws {
        var whole = Profile("on-cpu", .samples(period: 10), program: "redis-server", pid: 0, start: 100, duration: 200, version: "1")
        whole.add(part("get", weight: 3, command: "GET", module: "/redis"), instance: "h:1")
        whole.add(part("set", weight: 4, command: "SET", module: "/other"), instance: "h:2")
        whole.add(part("get", weight: 5, command: "GET", module: "/redis"), instance: "h:1") { $0.command == "SET" }
        #expect(whole.modules.map(\.module) == ["/libc", "/redis", "/other"] && whole.series[0].dropped == 3)
        let read = try Pprof_Profile(serializedBytes: ExportFormat.pprof.bytes(whole, ExportOptions()))
        #expect(read.timeNanos == 100 && read.durationNanos == 200)
        func text(_ number: Int64) -> String { read.stringTable[Int(number)] }
        let samples = read.sample.map { sample in
            let frames = sample.locationID.map { id in
                let location = read.location[Int(id) - 1]
                return text(read.function[Int(location.line[0].functionID) - 1].name) + "@" + text(read.mapping[Int(location.mappingID) - 1].filename)
            }
            let labels = sample.label.map { "\(text($0.key))=\(text($0.str))" }.joined(separator: ",")
            return "\(frames.joined(separator: ";")) \(labels) \(sample.value[0])"
        }
        #expect(
            samples == [
                "get@/redis;main@/libc process=redis-server,instance=h:1,command=GET 3", " process=redis-server,instance=h:1,command=GET 1",
                "set@/other;main@/libc process=redis-server,instance=h:2,command=SET 4", " process=redis-server,instance=h:2,command=SET 1",
            ], "\(samples)")
    }

    @Test func aProfileWithoutSamplesIsOne() throws {
        let empty = Profile("off-cpu", .nanoseconds, program: "", pid: 0, start: 1, duration: 2, version: "1")
        let read = try Pprof_Profile(serializedBytes: ExportFormat.pprof.bytes(empty, ExportOptions()))
        #expect(read.sample.isEmpty && read.stringTable[Int(read.sampleType[0].type)] == "off_cpu")
    }
}
