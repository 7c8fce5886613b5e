import Foundation
import TestSupport
import Testing

/// Tests/skipped.sh, by which CI tells that tests were skipped which the machine could have run.
struct SkippedTests {
    private func skipped(in log: String) throws -> [String] {
        let directory = temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        try log.write(toFile: directory + "/log", atomically: true, encoding: .utf8)
        let script = checkout.appendingPathComponent("Tests/skipped.sh")
        let status = try Child(script.path, [directory + "/log"], output: directory + "/said").wait()
        let said = try String(contentsOfFile: directory + "/said", encoding: .utf8)
        #expect((status == 0) == !said.isEmpty)
        return said.split(separator: "\n").map(String.init)
    }

    @Test func everyWayToSkipAKernelTestIsFound() throws {
        let lines = [
            "➜ Test comparesWithPerf() skipped: \"needs perf (linux-perf) and two CPUs\"", "➜ Suite TLSTests skipped: \"no ssl\"",
            "➜ Test goes(options:hook:) skipped: \"no Go compiler\"", "➜ Test stops() was cancelled after 0.001 seconds: \"why\"",
            "SKIPPED tests of hook socket: EPERM",
        ]
        let log = (["== kernel tests =="] + lines + ["✔ Test skipped() passed after 1.0 seconds."]).joined(separator: "\n")
        #expect(try skipped(in: log + "\n") == lines)
    }

    @Test func whatAHostRefusesAndOtherTestsNeedsAreNoSkips() throws {
        let log = """
            ➜ Test rust() skipped: "needs rustc"
            == kernel tests ==
            REFUSED by this host: tests of hook fentry: EPERM
            ➜ Test named() was cancelled after 0.1 seconds: "REFUSED by this host: names of BPF programs"
            ✔ Test run with 5 tests in 2 suites passed after 0.001 seconds.

            """
        #expect(try skipped(in: log) == [])
        #expect(try skipped(in: "SKIPPED a case: there is none of [libc]\n" + log) == ["SKIPPED a case: there is none of [libc]"])
    }
}
