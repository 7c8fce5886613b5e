import KilnModel
import Testing

/// kiln's counts held against the server's, and each term of the identity by itself.
struct AuditTests {
    @Test func theServersWordIsRead() {
        let statistics = ServerStatistics(parsing: """
            # Commandstats\r
            cmdstat_get:calls=10,usec=25,usec_per_call=2.50,rejected_calls=1,failed_calls=0\r
            cmdstat_config|get:calls=2,usec=9,usec_per_call=4.50,rejected_calls=0,failed_calls=0\r
            cmdstat_config|set:calls=1,usec=3,usec_per_call=3.00,rejected_calls=0,failed_calls=0\r
            errorstat_WRONGTYPE:count=3\r
            latency_percentiles_usec_get:p50=1.003,p99=5.023,p99.9=7.007\r
            role:slave\r
            nonsense\r
            cmdstat_:calls=\r
            """)
        #expect(statistics.commands["GET"]?.calls == 10)
        #expect(statistics.commands["GET"]?.rejectedCalls == 1)
        #expect(statistics.commands["GET"]?.p99Microseconds == 5.023)
        #expect(statistics.commands["CONFIG"]?.calls == 3)
        #expect(statistics.commands["CONFIG"]?.microseconds == 12)
        #expect(statistics.errors == ["WRONGTYPE": 3])
        #expect(statistics.isReplica)
    }

    @Test func anyNumberOfTheServersIsTaken() throws {
        let statistics = ServerStatistics(parsing: "cmdstat_a|x:calls=18446744073709551615,usec=18446744073709551615\ncmdstat_a|y:calls=18446744073709551615,usec=9\nprocess_id:x\n")
        let nothing = Snapshot(time: .zero)
        let audit = try #require(Audit(
            process: 0, from: Audit.Moment(before: nothing, server: ServerStatistics(), after: nothing),
            to: Audit.Moment(before: nothing, server: statistics, after: nothing)
        ))
        #expect(audit.record.commands.count == 1)
        #expect(UInt64(saturating: 1e300) == .max && UInt64(saturating: .nan) == 0 && UInt64(saturating: -5) == 0 && UInt64(saturating: 2.6) == 3)
    }

    @Test func aResetIsNoticed() {
        var before = ServerStatistics(), after = ServerStatistics()
        before.commands["GET"] = counts(10)
        after.commands["GET"] = counts(3)
        #expect(after.since(before) == nil)
    }

    @Test(arguments: [
        (["GET": 7], ["GET": 7], nil),
        (["GET": 7, "EVAL": 1], ["GET": 9, "EVAL": 1], "the server has 2 more: calls made by scripts"),
        (["GET": 7], ["GET": 9], "the server has 2 more: unexplained"),
        (["GET": 7, "MULTI": 1], ["GET": 6, "MULTI": 1], "the server has 1 fewer: queued and discarded, or not yet executed"),
        (["GET": 7], [:], "the server has 7 fewer: unknown to it"),
    ] as [([String: UInt64], [String: UInt64], String?)])
    func differencesAreExplained(kiln: [String: UInt64], server: [String: UInt64], explanation: String?) throws {
        var snapshot = Snapshot(time: .zero), statistics = ServerStatistics()
        for (name, calls) in kiln { snapshot.commands[CommandKey(process: 0, name: CommandName(bytes: Array(name.utf8)))] = CommandCounts(calls: calls) }
        for (name, calls) in server { statistics.commands[name] = counts(calls) }
        let nothing = Snapshot(time: .zero)
        let audit = try #require(Audit(
            process: 0, from: Audit.Moment(before: nothing, server: ServerStatistics(), after: nothing),
            to: Audit.Moment(before: snapshot, server: statistics, after: snapshot)
        ))
        let row = try #require(audit.record.commands.first { $0.command == "GET" })
        #expect(row.difference == explanation)
    }

    @Test func whatGoesOnWhileTheServerIsAskedIsNoDifference() throws {
        func snapshot(_ calls: UInt64) -> Snapshot {
            var snapshot = Snapshot(time: .zero)
            snapshot.commands[CommandKey(process: 0, name: CommandName(bytes: Array("GET".utf8)))] = CommandCounts(calls: calls)
            return snapshot
        }
        func said(_ calls: UInt64) -> ServerStatistics {
            var statistics = ServerStatistics()
            statistics.commands["GET"] = counts(calls)
            return statistics
        }
        func row(_ server: UInt64) throws -> Audit.Row? {
            Audit(
                process: 0, from: Audit.Moment(before: snapshot(10), server: said(1000), after: snapshot(14)),
                to: Audit.Moment(before: snapshot(100), server: said(server), after: snapshot(109))
            )?.record.commands.first
        }
        #expect(try row(1086)?.difference == nil)
        #expect(try row(1099)?.difference == nil)
        #expect(try row(1085)?.difference != nil)
        #expect(try row(1100)?.difference != nil)
    }

    private func counts(_ calls: UInt64) -> ServerStatistics.Command {
        var command = ServerStatistics.Command()
        command.calls = calls
        return command
    }
}
