import Foundation
import TestSupport
import Testing

extension KernelTests {
    /// The page of a real server's session, in a real browser.
    @Suite(
        .enabled(if: Program.canCompile, "no C compiler"), .enabled(if: Browser.executable != nil, "chromium is not installed"))
    struct ReportPageTests {
        /// EVAL is slow in the third to fifth of seven seconds.
        @Test(.tags(.timing)) func aSlowTimeIsFoundInThePage() throws {
            let server = try KnownWork.server(), directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(["-p", "\(server.pid)", "-F", "999", "-i", "0.25", "-o", directory + "/s"])
            guard kiln.attached() else { throw TestFailure("kiln did not attach: \(kiln.errorText)") }
            let client = try Connection(port: server.port), other = try Connection(port: server.port)
            var slow: (from: Date, to: Date) = (.distantFuture, .distantPast)
            for second in 0..<7 {
                let isSlow = (2...4).contains(second), end = Date().addingTimeInterval(1)
                if second == 2 { slow.from = Date() }
                while Date() < end {
                    try client.ask(["EVAL", "redis.call(KEYS[1], ARGV[1]) return 1", "1", isSlow ? "BURN.A" : "BURN.B", isSlow ? "20000" : "100"])
                    try other.ask(["GET", "key"])
                }
                if second == 4 { slow.to = Date() }
            }
            #expect(kiln.stop() == 0, "\(kiln.errorText)")

            let browser = try Browser(width: 1400, height: 1000), page = URL(fileURLWithPath: directory + "/s/report.html").absoluteString
            let ready = "window.kilnReport !== undefined && kilnReport.isReady"
            try browser.open(page)
            try browser.wait(for: ready)
            let rows = try CommandCalls.read(directory + "/s/commands.jsonl")
            for command in ["EVAL", "GET"] {
                // Each cell: the end of its time in milliseconds, its lower edge, and its calls.
                let found = try browser.value(
                    """
                    (async () => { const session = kilnReport.sessions[0], cells = await kilnReport.cellsOf('\(command)', 'service');
                      return JSON.stringify(cells.map(([tick, slot, count]) => [Math.round(session.tickEnd[tick]), slot, count])); })()
                    """)
                let cells = try #require(try JSONSerialization.jsonObject(with: Data(found.utf8)) as? [[Int]])
                let expected = rows.filter { $0.command == command }.flatMap { row in row.slots.map { (row, $0) } }
                #expect(cells.count == expected.count && !cells.isEmpty)
                for (row, slot) in expected {
                    // The page has times to the millisecond, of the beginning and of the length.
                    let end = Int((try date(ofRow: row.time).timeIntervalSince1970 * 1000).rounded()), number = Int(Self.slot(slot[0]))
                    let cell = cells.first { abs($0[0] - end) <= 2 && $0[1] == number }
                    #expect(cell?[2] == Int(slot[2]), "\(command) \(row.time) \(slot)")
                }
            }

            func select(_ fragment: String) throws -> (functions: Set<String>, samples: UInt64) {
                // Another address each time, so that the page is opened anew.
                try browser.open(page + "?\(fragment.hashValue.magnitude)#" + fragment)
                try browser.wait(for: ready)
                let words = try browser.value("document.querySelector('.report-words').textContent")
                let samples = words.split(separator: " ").firstIndex { $0.hasPrefix("sample") }.map { words.split(separator: " ")[$0 - 1] }
                return (Set(try browser.flamegraphLabels()), samples.flatMap { UInt64($0.filter(\.isNumber)) } ?? 0)
            }
            let before = try select("command=EVAL&from=\(rowTime(slow.from.addingTimeInterval(-3)))&to=\(rowTime(slow.from))")
            #expect(before.functions.contains("burn_b") && !before.functions.contains("burn_a"), "\(before)")
            // An interval that has both lies around each edge.
            let within = "from=\(rowTime(slow.from.addingTimeInterval(0.5)))&to=\(rowTime(slow.to.addingTimeInterval(-0.5)))"
            let during = try select("command=EVAL&\(within)&low=16777216&high=68719476736")
            #expect(during.functions.contains("burn_a") && !during.functions.contains("burn_b"), "\(during)")
            let others = try select("command=GET&\(within)")
            #expect(!others.functions.contains("burn_a"), "\(others)")
            // The sum is that of the file.
            let samples = try SampleFile(directory + "/s/samples.jsonl").samples.filter { sample in
                guard sample.isOf("on-cpu", "EVAL"), let band = sample.band, let end = try? date(ofRow: sample.time).timeIntervalSince1970 else { return false }
                return band.lower >= 16_777_216 && end - 0.125 >= slow.from.timeIntervalSince1970 + 0.5 && end - 0.125 <= slow.to.timeIntervalSince1970 - 0.5
            }
            let sum = samples.map(\.weight).reduce(0, +)
            #expect(sum > 500 && during.samples > sum * 8 / 10 && during.samples < sum * 12 / 10, "\(during.samples) of \(sum)")
            #expect(browser.complaints.isEmpty && browser.requests.isEmpty, "\(browser.complaints) \(browser.requests)")
        }

        /// The slot whose lower edge this is: 16 in every power of two.
        private static func slot(_ lower: UInt64) -> UInt64 {
            if lower < 16 { return lower }
            let exponent = UInt64(63 - lower.leadingZeroBitCount)
            return 16 * (exponent - 3) + (lower - (1 << exponent)) >> (exponent - 4)
        }
    }
}
