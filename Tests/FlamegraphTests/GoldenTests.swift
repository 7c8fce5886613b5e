import Foundation
import Testing
@testable import Flamegraph

/// Small pictures, one topic each, kept as files. The viewer's script and style are left out of them.
@Suite struct GoldenTests {
    private static let fixtures = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("Fixtures")
    private static let renewal = "FLAMEGRAPH_RENEW_GOLDEN=1 swift test --filter GoldenTests"

    @Test func aPictureOfEveryKindOfFrameIsAsKept() throws {
        try expectGolden("kinds") {
            try drawn($0, FlamegraphOptions(title: "redis-server · on-CPU", subtitle: "pid 4711", notes: ["lost: nothing"]))
        }
    }

    @Test func aPictureOfDecimalWeightsIsAsKept() throws {
        try expectGolden("decimals") { stacks in
            var options = FlamegraphOptions(title: "Off-CPU", countName: "ms")
            options.width = 800
            options.inverted = true
            return try drawn(stacks, options)
        }
    }

    @Test func aPictureOfHostileNamesIsAsKept() throws {
        try expectGolden("hostile") { try drawn($0, hostileOptions()) }
    }

    private func expectGolden(_ name: String, _ render: (borrowing FoldedStacks) throws -> [UInt8]) throws {
        let input = try Data(contentsOf: Self.fixtures.appendingPathComponent("\(name).folded"))
        let drawn = withoutViewer(try render(FoldedStacks(parsing: input)))
        let file = Self.fixtures.appendingPathComponent("\(name).svg")
        if ProcessInfo.processInfo.environment["FLAMEGRAPH_RENEW_GOLDEN"] != nil {
            try Data(drawn).write(to: file)
        }
        let kept = (try? Data(contentsOf: file)) ?? Data()
        let same = Array(kept) == drawn
        #expect(same, "\(name).svg differs from the kept one. If the change is meant, renew it: \(Self.renewal)")
    }

    private func withoutViewer(_ svg: [UInt8]) -> [UInt8] {
        Array(
            text(svg).replacingOccurrences(of: text(viewerScript), with: "")
                .replacingOccurrences(of: text(viewerStyle), with: "").utf8)
    }
}
