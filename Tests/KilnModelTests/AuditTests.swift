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
            cmdstat_client|reply:calls=4,usec=1,usec_per_call=0.25,rejected_calls=0,failed_calls=0\r
            cmdstat_client|id:calls=2,usec=1,usec_per_call=0.50,rejected_calls=0,failed_calls=0\r
            module:name=search,ver=20811,api=1,filters=0,usedby=[],using=[ReJSON],options=[handle-io-errors]\r
            nonsense\r
            cmdstat_:calls=\r
            """)
        #expect(statistics.commands["GET"]?.calls == 10)
        #expect(statistics.commands["GET"]?.rejectedCalls == 1)
        #expect(statistics.commands["GET"]?.p99Microseconds == 5.023)
        #expect(statistics.commands["CONFIG"]?.calls == 3)
        #expect(statistics.commands["CONFIG"]?.microseconds == 12)
        #expect(statistics.errors == ["WRONGTYPE": 3])
        #expect(statistics.isReplica && statistics.keepsErrors && statistics.countsRejectedCalls)
        #expect(statistics.clientReplyCalls == 4 && statistics.commands["CLIENT"]?.calls == 6)
        #expect(statistics.modules == ["search"])
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
        before.commands["GET"] = Self.counts(10)
        after.commands["GET"] = Self.counts(3)
        #expect(after.since(before) == nil)
    }

    /// What both sides say, from nothing.
    private struct Said {
        var kiln = Snapshot(time: .zero)
        var before = ServerStatistics()
        var server = ServerStatistics()

        init(kiln: [String: UInt64], server: [String: UInt64]) {
            for (name, calls) in kiln { self[name].calls = calls }
            for (name, calls) in server { self.server.commands[name] = AuditTests.counts(calls) }
            self.server.countsRejectedCalls = true
            self.server.keepsErrors = true
        }

        subscript(_ name: String) -> CommandCounts {
            get { kiln.commands[CommandKey(process: 0, name: CommandName(bytes: Array(name.utf8)))] ?? CommandCounts() }
            set { kiln.commands[CommandKey(process: 0, name: CommandName(bytes: Array(name.utf8)))] = newValue }
        }

        func audit() throws -> Audit.Record {
            let nothing = Snapshot(time: .zero)
            return try #require(Audit(
                process: 0, from: Audit.Moment(before: nothing, server: before, after: nothing), to: Audit.Moment(before: kiln, server: server, after: kiln)
            )).record
        }

        func reason(_ command: String) throws -> String? { try #require(try audit().commands.first { $0.command == command }).difference }
    }

    @Test(arguments: [
        (["GET": 7], ["GET": 7], nil),
        (["GET": 7, "EVAL": 3], ["GET": 9, "EVAL": 3], "the server has 2 more: calls made by scripts (3 ran)"),
        // Asked for by a connection that isn't followed.
        (["GET": 7], ["GET": 9, "EVAL": 1], "the server has 2 more: calls made by scripts (1 ran)"),
        (["GET": 7], ["GET": 9], "the server has 2 more: unexplained"),
        (["GET": 7, "EXEC": 2, "MULTI": 1], ["GET": 9, "EXEC": 2, "MULTI": 1], "the server has 2 more: queued before the audit began"),
        (["GET": 7, "MULTI": 1, "DISCARD": 1], ["MULTI": 1, "DISCARD": 1], "the server has 7 fewer: queued and discarded"),
        (["GET": 7, "MULTI": 2, "EXEC": 1], ["GET": 6, "MULTI": 2, "EXEC": 1], "the server has 1 fewer: queued and not executed"),
        (["GET": 7, "MULTI": 1, "EXEC": 1], ["GET": 6, "MULTI": 1, "EXEC": 1], "the server has 1 fewer: unexplained"),
        (["GET": 7, "MULTI": 1, "EXEC": 1, "WATCH": 1], ["MULTI": 1, "EXEC": 1, "WATCH": 1], "the server has 7 fewer: queued in a transaction whose watched keys changed"),
        (["GET": 7], [:], "the server has 7 fewer: unknown to it by this name"),
    ] as [([String: UInt64], [String: UInt64], String?)])
    func differencesAreExplained(kiln: [String: UInt64], server: [String: UInt64], explanation: String?) throws {
        #expect(try Said(kiln: kiln, server: server).reason("GET") == explanation)
    }

    @Test func scriptsDoNotExplainWhatTheyCanNotCall() throws {
        #expect(try Said(kiln: ["EVAL": 1, "CONFIG": 1], server: ["EVAL": 1, "CONFIG": 2]).reason("CONFIG") == "the server has 1 more: unexplained")
    }

    @Test func unknownIsWhatGotErrors() throws {
        var said = Said(kiln: ["NOSUCH": 2, "INCR": 1, "MULTI": 1, "DISCARD": 1], server: ["MULTI": 1, "DISCARD": 1])
        said["NOSUCH"].errors = 2
        #expect(try said.reason("NOSUCH") == "the server has 2 fewer: unknown to it")
        #expect(try said.reason("INCR") == "the server has 1 fewer: queued and discarded")
        said["EXEC"].errorWords = ["EXECABORT": 1]
        #expect(try said.reason("INCR") == "the server has 1 fewer: queued and discarded, or queued in a transaction that was aborted (EXECABORT)")
        said.server.countsRejectedCalls = false
        #expect(try said.reason("NOSUCH") == "the server has 2 fewer: unknown to it, or rejected")
    }

    @Test func whatIsBlockedHasItsTerms() throws {
        var still = Said(kiln: ["BLPOP": 3, "GET": 5], server: ["BLPOP": 2, "GET": 4])
        still["BLPOP"].phases[.wait] = latencies(2)
        still["GET"].phases[.service] = latencies(5)
        #expect(try still.reason("BLPOP") == "the server has 1 fewer: blocked until its client left")
        still.server.blockedClients = 1
        #expect(try still.reason("BLPOP") == "the server has 1 fewer: still blocked")
        // All GETs were answered.
        #expect(try still.reason("GET") == "the server has 1 fewer: unexplained")
        var before = Said(kiln: ["BLPOP": 3, "GET": 5, "EVAL": 1], server: ["BLPOP": 4, "GET": 6, "EVAL": 1])
        before.before.blockedClients = 1
        #expect(try before.reason("BLPOP") == "the server has 1 more: blocked since before the audit began")
        #expect(try before.reason("GET") == "the server has 1 more: calls made by scripts (1 ran)")
    }

    @Test func modulesReplicasAndLossesHaveTheirTerms() throws {
        var said = Said(kiln: ["GET": 7], server: ["GET": 9])
        said.server.modules = ["search", "timeseries"]
        #expect(try said.reason("GET") == "the server has 2 more: calls made by modules (search, timeseries)")
        said.server.isReplica = true
        said.kiln.losses = ["unsynchronised_bytes": 40, "receive_gaps": 3, "waits_without_name": 5]
        #expect(try said.reason("GET") == "the server has 2 more: requests in 40 unsynchronised_bytes, or 3 receive_gaps, "
            + "or calls made by modules (search, timeseries), or calls of the replication link")
    }

    @Test func errorsHaveTheirTerms() throws {
        func reason(_ kiln: UInt64, _ server: UInt64, _ change: (inout Said) -> Void = { _ in }) throws -> String? {
            var said = Said(kiln: ["GET": 7], server: ["GET": 7])
            if kiln != 0 { said["GET"].errorWords = ["ERR": kiln] }
            if server != 0 { said.server.errors = ["ERR": server] }
            change(&said)
            return try #require(try said.audit().errors.first { $0.word == "ERR" }).difference
        }
        #expect(try reason(3, 3) == nil)
        #expect(try reason(3, 5) == "the server has 2 more: unexplained")
        #expect(try reason(3, 5) { $0.server.clientReplyCalls = 1 } == "the server has 2 more: errors to clients that turned replies off (CLIENT REPLY)")
        #expect(try reason(3, 5) { $0.kiln.losses = ["unpaired_connections": 1] } == "the server has 2 more: 1 unpaired_connections")
        #expect(try reason(3, 5) { $0.server.commands["EVAL"] = Self.counts(4) } == "the server has 2 more: errors inside of scripts (4 ran)")
        #expect(try reason(3, 2) == "the server has 1 fewer: unexplained")
        #expect(try reason(3, 0) { $0.server.keepsErrors = false } == "the server has 3 fewer: it counts no errors (before Redis 6.2)")
    }

    @Test func whatGoesOnWhileTheServerIsAskedIsNoDifference() throws {
        func snapshot(_ calls: UInt64) -> Snapshot {
            var snapshot = Snapshot(time: .zero)
            snapshot.commands[CommandKey(process: 0, name: CommandName(bytes: Array("GET".utf8)))] = CommandCounts(calls: calls)
            return snapshot
        }
        func said(_ calls: UInt64) -> ServerStatistics {
            var statistics = ServerStatistics()
            statistics.commands["GET"] = Self.counts(calls)
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

    private func latencies(_ count: UInt64) -> Histogram {
        var histogram = Histogram()
        histogram.record(Nanoseconds(1000), times: count)
        return histogram
    }

    private static func counts(_ calls: UInt64) -> ServerStatistics.Command {
        var command = ServerStatistics.Command()
        command.calls = calls
        return command
    }
}
