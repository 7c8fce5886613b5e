import KilnModel
import TestSupport
import Testing

@testable import kiln

/// Which calls' stacks `kiln redis` is asked to keep.
struct CallOptionsTests {
    @Test(arguments: [
        ([], CallSelection.Threshold.none), (["--slower-than", "10ms"], .fixed(Nanoseconds(10_000_000))),
        (["--slower-than", "1.5s"], .fixed(Nanoseconds(1_500_000_000))),
        (["--slower-than", "p99"], .percentile(0.99)), (["--slower-than", "p50"], .percentile(0.5)),
    ])
    func aThresholdIsATimeOrAPercentile(arguments: [String], threshold: CallSelection.Threshold) throws {
        #expect(try CallOptions.parse(arguments).selection.threshold == threshold)
    }

    @Test func theOptionsAreOneSelection() throws {
        let arguments = ["--slower-than", "p99.9", "--compare-slow", "--command", "get", "--command", "SET", "--client-address", "10.0.0.1", "--errors"]
        let selection = try CallOptions.parse(arguments).selection
        guard case .percentile(let share) = selection.threshold else { throw TestFailure("\(selection.threshold)") }
        #expect(abs(share - 0.999) < 1e-12 && selection.keepsFast && selection.errorsOnly)
        #expect(selection.commands == ["get", "SET"] && selection.clients == ["10.0.0.1"] && !selection.keepsAll)
        #expect(try CallOptions.parse([]).selection.keepsAll)
    }

    @Test func clientsAreWrittenAsSessionsPrintThem() throws {
        let given = ["10.0.0.1", "::FFFF:10.0.0.2", "0:0::1", "::ffff:0:1", "unix"]
        let selection = try CallOptions.parse(given.flatMap { ["--client-address", $0] }).selection
        #expect(selection.clients == ["10.0.0.1", "10.0.0.2", "::1", "0.0.0.1", "unix"])
    }
}
