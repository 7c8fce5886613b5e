import KilnModel
import Testing

/// kiln's counts held against the server's, and each term of the identity by itself.
struct AuditTests {
    @Test func theServersWordIsRead() {
        let statistics = ServerStatistics(
            parsing: """
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
        let statistics = ServerStatistics(
            parsing: "cmdstat_a|x:calls=18446744073709551615,usec=18446744073709551615\ncmdstat_a|y:calls=18446744073709551615,usec=9\nprocess_id:x\n")
        let nothing = Snapshot(time: .zero)
        let audit = try #require(
            Audit(
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

    @Test func theServersWordsAreAsItCutsThem() {
        let statistics = ServerStatistics(
            parsing: """
                # Errorstats\r
                errorstat_a_b:count=2\r
                errorstat_tab\tx:count=3\r
                errorstat_\u{c4}RR:count=1\r
                errorstat_back\\slash:count=4\r
                redis_version:7.2.4\r
                valkey_version:8.1.1\r
                total_net_input_bytes:100\r
                total_net_repl_input_bytes:40\r
                total_error_replies:10\r
                cmdstat_graph.QUERY:calls=3,usec=7,usec_per_call=2.33,rejected_calls=0,failed_calls=1
                """)
        #expect(statistics.errors == ["a_b": 2, "tab": 3, "\\xc3\\x84RR": 1, "back\\x5cslash": 4])
        #expect(statistics.version == ServerStatistics.Version(7, 2) && statistics.isValkey)
        #expect(statistics.requestBytes == 60 && statistics.errorReplies == 10)
        #expect(statistics.commands["GRAPH.QUERY"]?.failedCalls == 1)
        for (shown, word) in [
            ("a:b#c", "a_b_c"), (String(repeating: "x", count: 30), String(repeating: "x", count: 30)), (String(repeating: "x", count: 31), "ERR"),
        ] {
            #expect(ServerStatistics.word(of: shown) == word)
        }
        #expect(ServerStatistics(parsing: "errorstat_ERRORSTATS_DISABLED:count=1").droppedErrors)
    }

    /// What both sides say, from nothing. Each command has been answered.
    private struct Said {
        var kiln = Snapshot(time: .zero)
        var before = ServerStatistics()
        var server = ServerStatistics()

        init(kiln: [String: UInt64], server: [String: UInt64]) {
            for (name, calls) in kiln {
                self[name].calls = calls
                self[name].phases[.service] = AuditTests.latencies(calls)
            }
            for (name, calls) in server { self.server.commands[name] = AuditTests.counts(calls) }
            self.server.countsRejectedCalls = true
            self.server.keepsErrors = true
            self.server.version = ServerStatistics.Version(7, 2)
        }

        subscript(_ name: String) -> CommandCounts {
            get { kiln.commands[CommandKey(process: 0, name: CommandName(bytes: Array(name.utf8)))] ?? CommandCounts() }
            set { kiln.commands[CommandKey(process: 0, name: CommandName(bytes: Array(name.utf8)))] = newValue }
        }

        /// Bytes of requests by both.
        mutating func bytes(kiln: UInt64, server: UInt64) {
            self.kiln.clients[ClientKey(process: 0, address: "127.0.0.1")] = ClientCounts(commands: 0, receivedBytes: kiln, sentBytes: 0)
            before.inputBytes = 0
            before.linkBytes = 0
            self.server.inputBytes = server
            self.server.linkBytes = 0
        }

        func audit() throws -> Audit.Record {
            let nothing = Snapshot(time: .zero)
            return try #require(
                Audit(
                    process: 0, from: Audit.Moment(before: nothing, server: before, after: nothing), to: Audit.Moment(before: kiln, server: server, after: kiln)
                )
            ).record
        }

        func reason(_ command: String) throws -> String? { try #require(try audit().commands.first { $0.command == command }).difference }

        func error(_ word: String) throws -> String? { try #require(try audit().errors.first { $0.word == word }).difference }
    }

    @Test(
        arguments: [
            (["GET": 7], ["GET": 7], nil),
            (["GET": 7, "EVAL": 3], ["GET": 9, "EVAL": 3], "the server has 2 more: calls made by scripts (3 ran)"),
            // Asked for by a connection that isn't followed.
            (["GET": 7], ["GET": 9, "EVAL": 1], "the server has 2 more: calls made by scripts (1 ran)"),
            // Each of the scripts took less than a microsecond.
            (["GET": 7], ["GET": 57, "EVAL": 2], "the server has 50 more: 40 can be calls made by scripts (2 ran), 10 unexplained"),
            (["GET": 7], ["GET": 9], "the server has 2 more: unexplained"),
            (["GET": 7, "EXEC": 2, "MULTI": 1], ["GET": 9, "EXEC": 2, "MULTI": 1], "the server has 2 more: queued before the audit began"),
            (["GET": 7, "EXEC": 1, "MULTI": 1], ["GET": 9, "EXEC": 1, "MULTI": 1], "the server has 2 more: unexplained"),
            (["GET": 7, "MULTI": 1, "EXEC": 1], ["GET": 6, "MULTI": 1, "EXEC": 1], "the server has 1 fewer: unexplained"),
            // Renamed: the server counts by the name that it was made with.
            (["GET": 7, "FETCH": 3], ["GET": 10], "the server has 3 more: called by another name (FETCH)"),
            (["GET": 7, "FETCH": 3], ["GET": 11], "the server has 4 more: 3 can be called by another name (FETCH), 1 unexplained"),
            (["GET": 7], [:], "the server has 7 fewer: unexplained"),
        ] as [([String: UInt64], [String: UInt64], String?)])
    func differencesAreExplained(kiln: [String: UInt64], server: [String: UInt64], explanation: String?) throws {
        #expect(try Said(kiln: kiln, server: server).reason("GET") == explanation)
    }

    @Test(
        arguments: [
            (["MULTI": 1, "DISCARD": 1], [], "queued and discarded"),
            (["MULTI": 2, "EXEC": 1], [], "queued and not executed"),
            (["MULTI": 1, "EXEC": 1, "WATCH": 1], [], "queued in a transaction whose watched keys changed"),
            (["MULTI": 1, "EXEC": 1], ["EXECABORT"], "queued in a transaction that was aborted (EXECABORT)"),
        ] as [([String: UInt64], [String], String)])
    func whatWasQueuedAndNotExecutedIsAsMuchAsWasQueued(others: [String: UInt64], words: [String], reason: String) throws {
        var said = Said(kiln: others.merging(["GET": 7]) { $1 }, server: others.merging(["GET": 5]) { $1 })
        for word in words { said["EXEC"].errorWords[word] = 1 }
        #expect(try said.reason("GET") == "the server has 2 fewer: unexplained")
        said["GET"].queued = 1
        #expect(try said.reason("GET") == "the server has 2 fewer: 1 can be \(reason), 1 unexplained")
        said["GET"].queued = 3
        #expect(try said.reason("GET") == "the server has 2 fewer: \(reason)")
    }

    @Test func whatWasQueuedIsNoOtherCommandsName() throws {
        var said = Said(kiln: ["GET": 7, "INCR": 1, "MULTI": 1, "DISCARD": 1], server: ["GET": 8, "MULTI": 1, "DISCARD": 1])
        said["INCR"].queued = 1
        #expect(try said.reason("GET") == "the server has 1 more: unexplained")
        #expect(try said.reason("INCR") == "the server has 1 fewer: queued and discarded")
    }

    @Test func scriptsDoNotExplainWhatTheyCanNotCall() throws {
        #expect(try Said(kiln: ["EVAL": 1, "CONFIG": 1], server: ["EVAL": 1, "CONFIG": 2]).reason("CONFIG") == "the server has 1 more: unexplained")
    }

    @Test func theTimeOfScriptsBoundsTheirCallsTogether() throws {
        var said = Said(kiln: ["EVAL": 1], server: ["GET": 300, "SET": 300])
        said.server.commands["EVAL"] = Self.counts(1)
        said.server.commands["EVAL"]?.microseconds = 29
        // 20 calls in each microsecond, and one for what was rounded off.
        #expect(try said.reason("GET") == "the server has 300 more: calls made by scripts (1 ran)")
        #expect(try said.reason("SET") == "the server has 300 more: calls made by scripts (1 ran)")
        said.server.commands["EVAL"]?.microseconds = 28
        #expect(try said.reason("SET") == "the server has 300 more: 280 can be calls made by scripts (1 ran), 20 unexplained")
    }

    @Test func unknownIsWhatGotErrors() throws {
        var said = Said(kiln: ["NOSUCH": 2, "CLIENT": 5], server: ["CLIENT": 3])
        said["NOSUCH"].errors = 2
        #expect(try said.reason("NOSUCH") == "the server has 2 fewer: unknown to it")
        said.server.countsRejectedCalls = false
        #expect(try said.reason("NOSUCH") == "the server has 2 fewer: unknown to it, or rejected")
        said["NOSUCH"].errors = 1
        #expect(try said.reason("NOSUCH") == "the server has 2 fewer: 1 can be unknown to it, or rejected, 1 unexplained")
        // CLIENT SETINFO and the like; an error that the server has counted is none of an unknown subcommand.
        said.server.containers = ["CLIENT"]
        said["CLIENT"].errors = 3
        said.server.commands["CLIENT"]?.failedCalls = 1
        #expect(try said.reason("CLIENT") == "the server has 2 fewer: subcommands unknown to it")
        said.server.commands["CLIENT"]?.failedCalls = 2
        #expect(try said.reason("CLIENT") == "the server has 2 fewer: 1 can be subcommands unknown to it, 1 unexplained")
        said.server.containers = []
        #expect(try said.reason("CLIENT") == "the server has 2 fewer: unexplained")
    }

    @Test func whatIsBlockedHasItsTerms() throws {
        var still = Said(kiln: ["BLPOP": 3, "GET": 5], server: ["BLPOP": 2, "GET": 4])
        still["BLPOP"].phases = [.wait: Self.latencies(2)]
        #expect(try still.reason("BLPOP") == "the server has 1 fewer: blocked until its client left")
        still.server.blockedClients = 1
        #expect(try still.reason("BLPOP") == "the server has 1 fewer: still blocked")
        // All GETs were answered.
        #expect(try still.reason("GET") == "the server has 1 fewer: unexplained")
        var before = Said(kiln: ["BLPOP": 3, "GET": 5, "EVAL": 1], server: ["BLPOP": 4, "GET": 6, "EVAL": 1])
        before.before.blockedClients = 1
        #expect(try before.reason("BLPOP") == "the server has 1 more: blocked since before the audit began")
        #expect(try before.reason("GET") == "the server has 1 more: calls made by scripts (1 ran)")
        // Redis 7.0 has counted it when it blocked.
        before.server.version = ServerStatistics.Version(7, 0)
        #expect(try before.reason("BLPOP") == "the server has 1 more: calls made by scripts (1 ran)")
    }

    @Test func whatNobodyAnsweredNeedNotHaveBeenExecuted() throws {
        var said = Said(kiln: ["QUIT": 1, "GET": 5], server: ["QUIT": 1, "GET": 3])
        said["GET"].phases[.service] = Self.latencies(3)
        #expect(try said.reason("GET") == "the server has 2 fewer: read after QUIT, so not executed")
        said["GET"].phases[.service] = Self.latencies(4)
        #expect(try said.reason("GET") == "the server has 2 fewer: 1 can be read after QUIT, so not executed, 1 unexplained")
        var old = Said(kiln: ["QUIT": 2], server: [:])
        #expect(try old.reason("QUIT") == "the server has 2 fewer: unexplained")
        old.server.version = ServerStatistics.Version(6, 2)
        #expect(try old.reason("QUIT") == "the server has 2 fewer: QUIT is not counted before Redis 7")
    }

    @Test func valkeyCountsTwiceWhatWasUnblockedWithAnError() throws {
        var said = Said(kiln: ["BLPOP": 3], server: ["BLPOP": 3])
        said["BLPOP"].errorWords = ["UNBLOCKED": 1]
        said.server.errors = ["UNBLOCKED": 1]
        said.server.commands["BLPOP"]?.rejectedCalls = 1
        #expect(try said.reason("BLPOP") == "the server has 1 more: unexplained")
        said.server.isValkey = true
        #expect(try said.reason("BLPOP") == "the server has 1 more: counted as a call and as a rejected one (CLIENT UNBLOCK with ERROR)")
        said.server.commands["BLPOP"]?.rejectedCalls = 2
        #expect(try #require(try said.reason("BLPOP")).hasSuffix("1 unexplained"))
    }

    @Test func valkeysLuaEngineAsksAsOftenAsItIsMadeAnew() throws {
        var said = Said(kiln: ["CONFIG": 1, "SCRIPT": 1], server: ["CONFIG": 3, "SCRIPT": 1])
        #expect(try said.reason("CONFIG") == "the server has 2 more: unexplained")
        said.server.modules = ["lua"]
        #expect(try #require(try said.reason("CONFIG")).hasSuffix("1 unexplained"))
        said.server.commands["CONFIG"] = Self.counts(2)
        #expect(try #require(try said.reason("CONFIG")).contains("called by its own Lua engine"))
    }

    /// A request that kiln has not counted is no other's fault: not a module's that is always there, the cluster bus's or a master's.
    @Test func aMissedRequestIsNotExcusedByWhatIsAlwaysThere() throws {
        var said = Said(kiln: ["GET": 6, "PING": 3], server: ["GET": 7, "PING": 3])
        said.server.modules = ["vectorset", "lua"]
        said.server.isReplica = true
        said.bytes(kiln: 200, server: 224)
        said.kiln.losses = ["not_resp_connections": 6, "displaced_connections": 1, "waits_without_name": 5]
        #expect(try said.reason("GET") == "the server has 1 more: unexplained")
        #expect(try said.audit().requestBytes?.difference == "the server has 24 more: unexplained")
        // Of the bus: the server has read no more from its clients than kiln has.
        said.kiln.losses["unsynchronised_bytes"] = 1_000_000
        said.bytes(kiln: 224, server: 224)
        #expect(try said.reason("GET") == "the server has 1 more: unexplained")
        // Where a script may have made the call, the bytes still tell of the request.
        said.kiln.losses = [:]
        said.server.commands["EVAL"] = Self.counts(1)
        said.bytes(kiln: 200, server: 224)
        #expect(try said.reason("GET") == "the server has 1 more: calls made by scripts (1 ran)")
        #expect(try said.audit().requestBytes?.difference == "the server has 24 more: unexplained")
    }

    @Test func hiddenRequestsAreAsManyAsTheHiddenBytesCanHold() throws {
        var said = Said(kiln: ["GET": 7, "HGETALL": 1], server: ["GET": 9, "HGETALL": 2])
        said.bytes(kiln: 200, server: 300)
        said.kiln.losses = ["unsynchronised_bytes": 16]
        // Two lines of four bytes, one of eight.
        #expect(try said.reason("GET") == "the server has 2 more: requests in 16 unsynchronised_bytes")
        #expect(try said.reason("HGETALL") == "the server has 1 more: requests in 16 unsynchronised_bytes")
        #expect(try said.audit().requestBytes?.difference == "the server has 100 more: 16 can be 16 unsynchronised_bytes, 84 unexplained")
        said.kiln.losses = ["unsynchronised_bytes": 15]
        #expect(try said.reason("HGETALL") == "the server has 1 more: unexplained")
        said.kiln.losses = ["unsynchronised_bytes": 15, "receive_gaps": 3]
        #expect(try said.reason("HGETALL") == "the server has 1 more: requests in 15 unsynchronised_bytes, or 3 receive_gaps")
        #expect(try said.audit().requestBytes?.difference == "the server has 100 more: 15 unsynchronised_bytes, or 3 receive_gaps")
        // It has read no more than kiln.
        said.bytes(kiln: 300, server: 300)
        #expect(try said.reason("HGETALL") == "the server has 1 more: unexplained")
    }

    @Test func modulesAndTheLinkExplainAsMuchAsTheyDid() throws {
        var said = Said(kiln: ["GET": 7], server: ["GET": 27, "GRAPH.QUERY": 1])
        said.server.modules = ["graph"]
        #expect(try said.reason("GET") == "the server has 20 more: calls made by commands of modules (GRAPH.QUERY)")
        said.server.commands["GET"] = Self.counts(28)
        #expect(try #require(try said.reason("GET")).hasSuffix(", 1 unexplained"))
        said = Said(kiln: ["GET": 7], server: ["GET": 9])
        said.bytes(kiln: 0, server: 26)
        said.server.isReplica = true
        said.server.linkBytes = 26
        // *1\r\n$3\r\nGET\r\n: 13 bytes.
        #expect(try said.reason("GET") == "the server has 2 more: calls of the replication link")
        said.server.linkBytes = 25
        #expect(try said.reason("GET") == "the server has 2 more: 1 can be calls of the replication link, 1 unexplained")
    }

    @Test func errorsHaveTheirTerms() throws {
        func reason(_ kiln: UInt64, _ server: UInt64, _ change: (inout Said) -> Void = { _ in }) throws -> String? {
            var said = Said(kiln: ["GET": 7], server: ["GET": 7])
            if kiln != 0 { said["GET"].errorWords = ["ERR": kiln] }
            if server != 0 { said.server.errors = ["ERR": server] }
            change(&said)
            return try said.error("ERR")
        }
        #expect(try reason(3, 3) == nil)
        #expect(try reason(3, 5) == "the server has 2 more: unexplained")
        func quiet(_ said: inout Said) { said["LPUSH"].calls = 2 }
        #expect(try reason(3, 5) { $0.server.clientReplyCalls = 1 } == "the server has 2 more: unexplained")
        #expect(
            try reason(3, 5) {
                $0.server.clientReplyCalls = 1; quiet(&$0)
            } == "the server has 2 more: errors to clients that turned replies off (CLIENT REPLY)")
        #expect(try reason(3, 5) { $0.kiln.losses = ["unpaired_connections": 1] } == "the server has 2 more: unexplained")
        #expect(
            try reason(3, 5) {
                $0.kiln.losses = ["unpaired_connections": 1]; quiet(&$0)
            } == "the server has 2 more: 1 unpaired_connections")
        #expect(
            try reason(3, 6) {
                $0.kiln.losses = ["unpaired_connections": 1]; quiet(&$0)
            }
                == "the server has 3 more: 2 can be 1 unpaired_connections, 1 unexplained")
        #expect(try reason(3, 5) { $0.kiln.losses = ["errors_without_name": 2] } == "the server has 2 more: 2 errors_without_name")
        #expect(try reason(3, 5) { $0.kiln.losses = ["errors_without_name": 1] } == "the server has 2 more: 1 can be 1 errors_without_name, 1 unexplained")
        #expect(try reason(3, 4) { $0.kiln.losses = ["protocol_errors": 1] } == "the server has 1 more: replies to input that is not RESP (1 protocol_errors)")
        #expect(try reason(3, 5) { $0.server.commands["EVAL"] = Self.counts(4) } == "the server has 2 more: errors inside scripts (4 ran)")
        #expect(
            try reason(3, 5) {
                $0.server.modules = ["vectorset"]; $0.server.isReplica = true
            } == "the server has 2 more: unexplained")
        #expect(try reason(3, 2) == "the server has 1 fewer: unexplained")
        #expect(try reason(3, 0) { $0.server.keepsErrors = false } == "the server has 3 fewer: it counts no errors (before Redis 6.2)")
    }

    @Test func wordsAreHeldAgainstEachOtherAsServersKeepThem() throws {
        var said = Said(kiln: ["GET": 7], server: ["GET": 7])
        said["GET"].errorWords = ["errMsg:": 2, "NOBLANK": 1, String(repeating: "x", count: 32): 1, "ERR": 1]
        said.server.errors = ["errMsg_": 2, "ERR": 3]
        #expect(try said.error("errMsg_") == nil)
        #expect(try said.error("ERR") == "the server has 1 more: errors of a single word, which it counts as ERR")
        #expect(try said.error("NOBLANK") == "the server has 1 fewer: errors of a single word, which it counts as ERR")
        // Valkey: 128 words, the others together.
        said["GET"].errorWords = ["W1": 2, "W2": 1, "W3": 4]
        said.server.errors = ["W1": 2, "ERRORSTATS_OVERFLOW": 5]
        #expect(try said.audit().errors.map(\.word) == ["ERRORSTATS_OVERFLOW", "W1"])
        #expect(try said.audit().errors.allSatisfy { $0.difference == nil })
        // Redis: none from the 129th on, but all together.
        said.server.errors = [:]
        said.server.droppedErrors = true
        said.before.errorReplies = 0
        said.server.errorReplies = 7
        #expect(try said.audit().errors.map(\.word) == ["(all words)"])
        #expect(try said.error("(all words)") == nil)
        said.server.errorReplies = 8
        #expect(try said.error("(all words)") == "the server has 1 more: unexplained")
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
        /// The server's bytes where kiln has seen none but those of the two questions.
        func bytes(_ server: UInt64) throws -> String? {
            func moment(_ before: UInt64, _ server: UInt64) -> Audit.Moment {
                var statistics = said(0), snapshots = [Snapshot(time: .zero), Snapshot(time: .zero)]
                statistics.inputBytes = server
                statistics.linkBytes = 0
                for (index, bytes) in [before, before + 31].enumerated() {
                    snapshots[index].clients[ClientKey(process: 0, address: "unix")] = ClientCounts(commands: 0, receivedBytes: bytes, sentBytes: 0)
                }
                return Audit.Moment(before: snapshots[0], server: statistics, after: snapshots[1], askedBytes: 31)
            }
            return try #require(Audit(process: 0, from: moment(0, 1031), to: moment(31, 1031 + server))).record.requestBytes?.difference
        }
        #expect(try bytes(31) == nil)
        #expect(try bytes(32) == "the server has 1 more: unexplained")
        #expect(try bytes(30) == "the server has 1 fewer: unexplained")
        #expect(try row(1086)?.difference == nil)
        #expect(try row(1099)?.difference == nil)
        #expect(try row(1085)?.difference != nil)
        #expect(try row(1100)?.difference != nil)
    }

    private static func latencies(_ count: UInt64) -> Histogram {
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
