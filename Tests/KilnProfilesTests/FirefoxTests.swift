import Foundation
import Testing
@testable import KilnProfiles

/// What the processed format of the Firefox profiler demands of its tables:
/// https://github.com/firefox-devtools/profiler/blob/main/src/types/profile.ts
struct FirefoxTests {
    private typealias Table = [String: Any]

    private func file() throws -> [String: Any] {
        let bytes = try ExportFormat.firefox.bytes(try WrittenSession.full.profile(), .init())
        #expect(bytes.allSatisfy { $0 >= 0x20 && $0 < 0x7f && $0 != UInt8(ascii: "<") })
        return try #require(JSONSerialization.jsonObject(with: Data(bytes)) as? [String: Any])
    }

    /// A column of indices; nil stands for null.
    private func column(_ table: Table, _ name: String) throws -> [Int?] { try #require(table[name] as? [Any]).map { $0 as? Int } }

    private func length(_ table: Table, _ name: String, sourceLocation: SourceLocation = #_sourceLocation) throws -> Int {
        let length = try #require(table["length"] as? Int)
        for (column, values) in table {
            if let values = values as? [Any] { #expect(values.count == length, "\(name).\(column)", sourceLocation: sourceLocation) }
        }
        return length
    }

    @Test func tablesFitTogether() throws {
        let file = try file()
        let meta = try #require(file["meta"] as? [String: Any])
        #expect(meta["preprocessedProfileVersion"] as? Int == 46 && meta["version"] as? Int == 24)
        let categories = try #require(meta["categories"] as? [[String: Any]]), libraries = try #require(file["libs"] as? [[String: Any]])
        #expect(libraries.allSatisfy { ["name", "path", "debugName", "debugPath", "breakpadId"].allSatisfy(($0).keys.contains) })
        let threads = try #require(file["threads"] as? [[String: Any]])
        #expect(Set(threads.map { $0["tid"] as? Int }).count == threads.count)
        for thread in threads {
            func table(_ name: String) throws -> Table { try #require(thread[name] as? Table) }
            let strings = try #require(thread["stringArray"] as? [String])
            #expect(Set(strings).count == strings.count)
            let (samples, stacks, frames) = (try table("samples"), try table("stackTable"), try table("frameTable"))
            let (functions, resources) = (try table("funcTable"), try table("resourceTable"))
            let stackCount = try length(stacks, "stackTable"), frameCount = try length(frames, "frameTable"), functionCount = try length(functions, "funcTable")
            let resourceCount = try length(resources, "resourceTable")
            _ = try length(samples, "samples")
            _ = try length(try table("markers"), "markers")
            _ = try length(try table("nativeSymbols"), "nativeSymbols")
            #expect(try column(samples, "stack").allSatisfy { $0.map { (0..<stackCount).contains($0) } ?? true })
            for (place, prefix) in try column(stacks, "prefix").enumerated() { #expect(prefix.map { $0 >= 0 && $0 < place } ?? true) }
            #expect(try column(stacks, "frame").allSatisfy { $0.map((0..<frameCount).contains) ?? false })
            for table in [stacks, frames] { #expect(try column(table, "category").allSatisfy { $0.map(categories.indices.contains) ?? false }) }
            #expect(try column(frames, "func").allSatisfy { $0.map((0..<functionCount).contains) ?? false })
            #expect(try column(functions, "name").allSatisfy { $0.map(strings.indices.contains) ?? false })
            #expect(try column(functions, "fileName").allSatisfy { $0.map(strings.indices.contains) ?? true })
            #expect(try column(functions, "resource").allSatisfy { $0.map { $0 >= -1 && $0 < resourceCount } ?? false })
            #expect(try column(resources, "lib").allSatisfy { $0.map(libraries.indices.contains) ?? false })
            #expect(try column(resources, "name").allSatisfy { $0.map(strings.indices.contains) ?? false })
            let times = try #require(samples["time"] as? [Double])
            #expect(zip(times, times.dropFirst()).allSatisfy { $0 <= $1 } && times.allSatisfy { $0 >= 0 && $0 < 10_000 })
        }
    }

    @Test func weightsAreSamplesOrMilliseconds() throws {
        var sums: [String: Double] = [:]
        for thread in try #require(try file()["threads"] as? [[String: Any]]) {
            let samples = try #require(thread["samples"] as? Table), name = try #require(thread["name"] as? String)
            let kind = String(name.split(separator: ":").last?.dropFirst() ?? ""), weights = try #require(samples["weight"] as? [Double])
            #expect(samples["weightType"] as? String == (kind == "off-cpu" ? "tracing-ms" : "samples"))
            sums[kind, default: 0] += weights.reduce(0, +)
        }
        #expect(sums["on-cpu"] == Double(WrittenSession.full.weight(of: "on-cpu")))
        #expect(sums["page-faults"] == Double(WrittenSession.full.weight(of: "page-faults")))
        #expect(abs((sums["off-cpu"] ?? 0) * 1e6 - Double(WrittenSession.full.weight(of: "off-cpu"))) < 1)
    }

    @Test func aBuildIDIsAGUID() {
        #expect(FirefoxWriter.breakpadID("93ac61ec5a8eb1396f9fbd350e3169a558528a40") == "EC61AC938E5A39B16F9FBD350E3169A50")
        #expect(FirefoxWriter.breakpadID("ab") == "000000AB0000000000000000000000000")
    }
}
