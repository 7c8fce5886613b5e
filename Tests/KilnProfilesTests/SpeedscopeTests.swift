import Foundation
import Testing
@testable import KilnProfiles

/// The rules of https://www.speedscope.app/file-format-schema.json.
struct SpeedscopeTests {
    @Test(arguments: [nil, "on-cpu", "off-cpu", "page-faults"]) func theFileFollowsTheSchema(kind: String?) throws {
        var profile = try WrittenSession.full.profile()
        if let kind { profile.series = profile.series.filter { $0.name == kind } }
        let bytes = try ExportFormat.speedscope.bytes(profile, .init())
        #expect(bytes.allSatisfy { $0 >= 0x20 && $0 < 0x7f && $0 != UInt8(ascii: "<") })
        let file = try #require(JSONSerialization.jsonObject(with: Data(bytes)) as? [String: Any])
        #expect(Set(file.keys) == ["$schema", "exporter", "name", "activeProfileIndex", "shared", "profiles"])
        #expect(file["$schema"] as? String == "https://www.speedscope.app/file-format-schema.json")
        #expect(file["name"] is String && file["exporter"] as? String == "kiln test")
        let frames = try #require((file["shared"] as? [String: Any])?["frames"] as? [[String: Any]])
        for frame in frames {
            #expect(frame["name"] is String && Set(frame.keys).isSubset(of: ["name", "file", "line", "col"]))
            #expect(frame["line"] == nil || frame["line"] is Int)
        }
        let profiles = try #require(file["profiles"] as? [[String: Any]])
        let active = try #require(file["activeProfileIndex"] as? Int)
        #expect(profiles.indices.contains(active))
        var sums: [String: UInt64] = [:]
        for profile in profiles {
            #expect(Set(profile.keys) == ["type", "name", "unit", "startValue", "endValue", "samples", "weights"])
            #expect(profile["type"] as? String == "sampled")
            let name = try #require(profile["name"] as? String), unit = try #require(profile["unit"] as? String)
            #expect(["none", "nanoseconds", "microseconds", "milliseconds", "seconds", "bytes"].contains(unit))
            let samples = try #require(profile["samples"] as? [[Int]]), weights = try #require(profile["weights"] as? [UInt64])
            #expect(weights.count == samples.count && samples.allSatisfy { $0.allSatisfy(frames.indices.contains) })
            let start = try #require(profile["startValue"] as? Double), end = try #require(profile["endValue"] as? Double)
            #expect(end >= start && end - start == Double(weights.reduce(0, +)))
            let kind = String(name.split(separator: ":").last?.dropFirst() ?? "")
            #expect(unit == (kind == "page-faults" ? "none" : "nanoseconds"))
            sums[kind, default: 0] += weights.reduce(0, +)
        }
        for series in profile.series {
            let factor = series.name == "on-cpu" ? 1_000_000_000 / WrittenSession.frequency : 1
            #expect(sums[series.name] == WrittenSession.full.weight(of: series.name) * factor)
        }
        #expect(sums.count == profile.series.count)
    }

    @Test func stacksBeginWithWhatIsKnownOfTheSample() throws {
        let file = try JSONSerialization.jsonObject(with: Data(try ExportFormat.speedscope.bytes(try WrittenSession.full.profile(), .init()))) as? [String: Any]
        let frames = try #require((file?["shared"] as? [String: Any])?["frames"] as? [[String: Any]]).map { $0["name"] as? String ?? "" }
        var written: [String: UInt64] = [:]
        for profile in try #require(file?["profiles"] as? [[String: Any]]) {
            let name = try #require(profile["name"] as? String)
            let samples = try #require(profile["samples"] as? [[Int]]), weights = try #require(profile["weights"] as? [UInt64])
            for (stack, weight) in zip(samples, weights) where name.hasSuffix("on-cpu") {
                written[stack.map { frames[$0] }.joined(separator: ";"), default: 0] += weight / (1_000_000_000 / WrittenSession.frequency)
            }
        }
        #expect(written["GET (slow);exec;main;GET"] == 69 && written["ZADD;read;main;ZADD"] == 69 && written["[other];main;[other]"] == 69)
        #expect(written["main;read;vfs_read_[k]"] == 6)
    }
}
