import KilnHosts
import KilnModel
import TestSupport
import Testing

@testable import kiln

struct HostsTableTests {
    private let hosts = ["web1", "me@web2"].compactMap { HostName($0) }

    private func row(_ command: String, _ calls: Int, phase: String = "service", interval: Double = 0.5) -> String {
        #"{"calls":\#(calls),"command":"\#(command)","count":\#(calls),"errors":0,"interval_s":\#(interval),"max_is_upper_bound":true,"max_ns":2048,"p50_ns":1000,"p90_ns":1500,"p99_ns":1900,"p99_9_ns":2000,"phase":"\#(phase)","pid":1,"slots":[],"sum_ns":1,"time":"t"}"#
    }

    private func end(_ lost: String = "{}") -> String { #"{"interval_s":0.5,"lost":\#(lost),"own_cpu_s":0.1,"own_peak_rss_bytes":1,"time":"t"}"# }

    private func text(_ lines: [Line]) -> String { lines.map { $0.bold + $0.text }.joined(separator: "\n") }

    private func subcommand(_ words: String...) throws -> CountingSubcommand { try #require(CountingSubcommand(words)) }

    @Test func onlyTablesBecomeOne() throws {
        for words in [["record"], ["redis", "--json"], ["syscalls", "--histograms"], ["functions", "--list", "x"], []] {
            #expect(CountingSubcommand(words)?.kind == nil)
        }
        #expect(try subcommand("redis", "--", "x", "--json").kind == .redis && subcommand("redis", "--top", "3").top == nil)
        #expect(try subcommand("syscalls", "--top", "3").top == 3 && subcommand("functions", "--top=0", "f").top == .max)
    }

    @Test func anIntervalOfAllHostsIsOneTable() throws {
        var table = HostsTable(try subcommand("redis"), hosts, tableRows: 20)
        #expect(try table.add(row("GET", 100), of: hosts[0]) == [])
        #expect(try table.add(row("GET", 100, phase: "exec"), of: hosts[0]) == [])
        #expect(try table.add(row("GET", 100, phase: "total"), of: hosts[0]) == [])
        #expect(try table.add(end(), of: hosts[0]) == [])
        _ = try table.add(row("SET", 1), of: hosts[1])
        _ = try table.add(row("GET", 2000), of: hosts[1])
        let printed = text(try table.add(end(#"{"ring_full":3}"#), of: hosts[1]))
        #expect(
            printed == """
                t
                HOST     COMMAND  calls/s  service p50      p90      p99    p99.9        max
                web1     GET          200      1.00 us  1.50 us  1.90 us  2.00 us  <=2.05 us
                me@web2  GET        4,000      1.00 us  1.50 us  1.90 us  2.00 us  <=2.05 us
                me@web2  SET          2.0      1.00 us  1.50 us  1.90 us  2.00 us  <=2.05 us
                lost: me@web2: 3 ring_full

                """)
    }

    @Test func systemCallsAreOneTable() throws {
        func call(_ name: String, _ count: Int, errors: String = #""errors":0"#) -> String {
            #"{"comm":"redis-server","count":\#(count),\#(errors),"interval_s":0.5,"latency":{"count":\#(count),"max_is_upper_bound":true,"max_ns":2048,"slots":[[1024,1088,\#(count)]],"sum_ns":1000000},"pid":7,"syscall":"\#(name)","time":"t"}"#
        }
        var table = HostsTable(try subcommand("syscalls"), hosts, tableRows: 20)
        for line in [call("read", 100, errors: #""errors":3,"errnos":{"EAGAIN":2,"EPIPE":1}"#), call("write", 1), end()] {
            _ = try table.add(line, of: hosts[0])
        }
        #expect(try table.add(call("futex", 9), of: hosts[1]) == [])
        #expect(
            text(try table.add(end(), of: hosts[1])) == """
                t
                HOST     CALLER          CALL   calls/s  errors  EAGAIN      p50      p90      p99        max     time
                web1     redis-server 7  read       200     2.0     4.0  1.06 us  1.06 us  1.06 us  <=2.05 us  1.00 ms
                web1     redis-server 7  write      2.0                  1.06 us  1.06 us  1.06 us  <=2.05 us  1.00 ms
                me@web2  redis-server 7  futex       18                  1.06 us  1.06 us  1.06 us  <=2.05 us  1.00 ms
                lost: nothing

                """)
    }

    @Test func functionsAreOneTable() throws {
        func function(_ name: String, _ calls: Int, times: String = "") -> String {
            #"{"calls":\#(calls),"comm":"x","file":"/bin/x","function":"\#(name)"\#(times),"interval_s":0.5,"pid":7,"time":"t"}"#
        }
        let times =
            #","times":{"never_returned":0,"outermost":{"count":5,"max_is_upper_bound":true,"max_ns":2048,"slots":[[1024,1088,5]],"sum_ns":5300},"returned":5,"self_ns":4000}"#
        var table = HostsTable(try subcommand("functions", "--time"), hosts, tableRows: 20)
        for line in [function("seldom", 1), function("often", 5, times: times), end()] { _ = try table.add(line, of: hosts[0]) }
        #expect(
            text(try table.add(end(), of: hosts[1])) == """
                t
                HOST  FUNCTION  calls/s      p50      p99        max    total     self
                web1  often          10  1.06 us  1.06 us  <=2.05 us  5.30 us  4.00 us
                web1  seldom        2.0        -        -          -        -        -
                lost: nothing

                """)
    }

    /// A host that is silent, or has ended, holds nobody up for more than an interval.
    @Test func nobodyWaitsForSilentHosts() throws {
        var table = HostsTable(try subcommand("redis"), hosts, tableRows: 20)
        _ = try table.add(row("GET", 1), of: hosts[0])
        #expect(try table.add(end(), of: hosts[0]) == [])
        _ = try table.add(row("GET", 2), of: hosts[0])
        #expect(text(try table.add(end(), of: hosts[0])).contains("web1  GET          2.0"))
        #expect(text(table.end(hosts[1], directory: nil)).contains("web1  GET          4.0"))
        #expect(
            text(table.end(hosts[0], directory: "out")).hasSuffix(
                "web1: no session was completed\nme@web2: no session was completed\nwrote out/ (what had arrived)"))
    }

    @Test func anEndlessIntervalIsRefused() throws {
        var table = HostsTable(try subcommand("redis"), hosts, tableRows: 20)
        let line = "{\"x\":\"" + String(repeating: "y", count: 1 << 20) + "\"}"
        for _ in 0..<63 { #expect(try table.add(line, of: hosts[0]) == []) }
        #expect(throws: Failure.self) { _ = try table.add(line, of: hosts[0]) }
    }

    /// Numbers of another host may be anything.
    @Test func hostileLinesDontStopIt() throws {
        for words in [["redis"], ["syscalls"], ["functions", "--time"]] { try hostileLinesDontStop(#require(CountingSubcommand(words))) }
    }

    private func hostileLinesDontStop(_ subcommand: CountingSubcommand) throws {
        let most = "18446744073709551615", partial = #"{"count":\#(most),"ns":\#(most)}"#
        let latency = #"{"count":\#(most),"max_ns":\#(most),"slots":[[\#(most),0,\#(most)],[1],[0,0,\#(most)]],"sum_ns":\#(most)}"#
        var table = HostsTable(subcommand, hosts, tableRows: 4)
        for index in 0..<4 {
            for line in [
                #"{"count":\#(most),"errors":\#(index),"errnos":{"EAGAIN":\#(most),"E\u001b":1},"earlier":\#(partial),"in_flight":\#(partial),"unreturned":\#(partial),"interval_s":-1,"latency":\#(latency),"pid":-1,"syscall":"\u001b[2J","time":"t"}"#,
                #"{"calls":\#(most),"comm":"x","file":"","function":"\u001b[2J","interval_s":1e300,"pid":7,"time":"t","times":{"never_returned":\#(most),"outermost":\#(latency),"returned":\#(most),"self_ns":\#(most)}}"#,
            ] { _ = try table.add(line, of: hosts[0]) }
        }
        for line in [
            row("x\u{1b}[2J", 1), row("y", .max, interval: 1e-300), row("z", .max, interval: 1e300), row("n", 1, interval: -1), "{", "{}", "plain \u{1b}[2J",
            #"{"calls":18446744073709551615,"command":"GET","count":18446744073709551615,"errors":0,"interval_s":0,"max_ns":18446744073709551615,"phase":"service","pid":1,"slots":[],"sum_ns":0,"time":"t"}"#,
        ] { _ = try table.add(line, of: hosts[0]) }
        let printed = try table.add(end(#"{"a":18446744073709551615}"#), of: hosts[0]) + table.end(hosts[1], directory: nil)
        #expect(text(printed).contains("… 1 more") && !text(printed).contains("\u{1b}"))
    }
}

struct GivenOutputTests {
    @Test(
        arguments: [
            (["redis", "-o", "a", "-d", "1"], "a", ["redis", "-d", "1"]), (["redis", "--output=a b"], "a b", ["redis"]),
            (["redis", "--output", "a", "--", "sh", "-o", "b"], "a", ["redis", "--", "sh", "-o", "b"]), (["redis"], nil, ["redis"]),
        ] as [([String], String?, [String])])
    func theOutputIsTakenOut(_ words: [String], _ output: String?, _ others: [String]) {
        let given = GivenOutput(words)
        #expect(given.output == output && given.others == others)
    }

    @Test func optionsStandBeforeTheCommand() {
        #expect(["redis", "--", "sleep"].inserting(["--json"]) == ["redis", "--json", "--", "sleep"] && ["redis"].inserting(["-x"]) == ["redis", "-x"])
    }
}

struct MisspellingTests {
    @Test(arguments: [
        (["rediss"], "`kiln` has no subcommand `rediss`. Did you mean `redis`?"),
        (["trace", "sycalls"], "`kiln trace` has no subcommand `sycalls`. Did you mean `syscalls`?"),
        (["redis", "--max-cots", "3"], "`kiln redis` has no option `--max-cots`. Did you mean `--max-cost`?"),
        (["redis", "--max-cots=3"], "`kiln redis` has no option `--max-cots`. Did you mean `--max-cost`?"),
        (["redis", "--xyzzy"], "`kiln redis` has no option `--xyzzy`."),
        (["xyzzy"], "`kiln` has no subcommand `xyzzy`."),
        (["redsi"], "`kiln` has no subcommand `redsi`. Did you mean `redis`?"), (["rec"], "`kiln` has no subcommand `rec`. Did you mean `record`?"),
    ])
    func theNearestNamesAreTold(_ arguments: [String], _ words: String) { #expect(Misspelling(in: arguments, of: Kiln.self)?.description == words) }

    @Test(arguments: [["redis", "--max-cost", "--x"], ["redis", "--", "--xyzzy"], ["help", "redis"], ["redis", "--help"], ["--version"], []] as [[String]])
    func whatExistsIsNotMisspelled(_ arguments: [String]) { #expect(Misspelling(in: arguments, of: Kiln.self) == nil) }
}
