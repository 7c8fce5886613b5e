import KilnModel
import Testing
@testable import KilnReport
@testable import KilnSessions

struct ReadingTests {
    @Test func theScannerReadsWhatJSONIs() throws {
        var seen: [String] = []
        try scanned(#" {"a" : [1, 2.5e1 ,-3], "b":{"c":null}, "text":"x\"\\\u00e9\ud83d\ude00\n", "skipped":[{"d":[true,false]}]} "#) { scanner in
            try scanner.object { scanner, key in
                switch key {
                case "a":
                    try scanner.array { seen.append("\(try $0.number())") }
                case "b":
                    try scanner.object { scanner, key in
                        #expect(key == "c")
                        if scanner.takeNull() { seen.append("null") }
                    }
                case "text": seen.append(try scanner.string())
                default: try scanner.skip()
                }
            }
        }
        #expect(seen == ["1.0", "25.0", "-3.0", "null", "x\"\\é😀\n"])
    }

    @Test(arguments: [
        "", "{", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,}", "{\"a\" 1}", "[1,]", "{\"a\":tru}", "{\"a\":\"x", "{\"a\":\"\\", "{\"a\":\"\u{1}\"}", "{} x",
        "{\"a\":-}", "nul",
    ])
    func whatIsNoJSONIsRefused(_ text: String) {
        #expect(throws: JSONScanner.Damage.self) { try scanned(text) { try $0.skip() } }
    }

    @Test func nestingHasABound() {
        let deep = String(repeating: "[", count: 100_000)
        #expect(throws: JSONScanner.Damage.self) { try scanned(deep) { try $0.skip() } }
    }

    @Test func numbersHaveBounds() throws {
        let most = try scanned("18446744073709551615") { try $0.unsigned() }, least = try scanned("-9007199254740992") { try $0.integer() }
        #expect(most == .max && least == -(1 << 53))
        #expect(throws: JSONScanner.Damage.self) { try scanned("1e999") { try $0.number() } }
        for text in ["18446744073709551616", "-1", "1.5", "1e3", ""] {
            #expect(throws: JSONScanner.Damage.self, "\(text)") { try scanned(text) { try $0.unsigned() } }
        }
        #expect(throws: JSONScanner.Damage.self) { try scanned("9007199254740993") { try $0.integer() } }
    }

    @Test func timesAreReadAsRFC3339HasThem() {
        #expect(WallClock.seconds("1970-01-01T00:00:00Z") == 0)
        #expect(WallClock.seconds("2026-11-30T12:04:31.250Z") == 1_796_040_271.25)
        #expect(WallClock.seconds("2026-11-30T14:04:31.25+02:00") == 1_796_040_271.25)
        #expect(WallClock.seconds("2024-02-29T23:59:59Z") == 1_709_251_199)
        for text in [
            "", "2026-11-30", "2026-13-30T12:04:31Z", "2026-11-30T12:04:31", "2026-11-30T12:04:31.Z", "20261130T120431Z-------", "2026-11-30T12:04:31+0200",
        ] {
            #expect(WallClock.seconds(text) == nil, "\(text)")
        }
    }

    @Test func cellsAreThoseOfTheRows() throws {
        let rows =
            row(1, calls: 7, errors: 2, slots: "[1024,1088,5],[68719476736,68719476736,1]") + row(1, phase: "exec", calls: 7, errors: 2)
            + row(3, calls: 1, slots: "[5,6,9]")
        let session = try MemoryFiles(texts: ["session.json": emptyRecord, "commands.jsonl": rows]).report().session
        #expect(session.timeline.ticks.count == 2)
        #expect(session.timeline.ticks[1].start == session.timeline.ticks[0].end + 1)
        let get = try #require(session.commands.first)
        #expect(get.calls == [7, 1])
        #expect(get.errors == [2, 0])
        let service = try #require(get.phases["service"])
        #expect(service.ticks == [[.init(slot: 112, count: 5), .init(slot: 528, count: 1)], [.init(slot: 5, count: 9)]])
        #expect(service.lowest == 5 && service.highest == 528 && service.largest == 9)
        #expect(session.missing.count == 1)
    }

    @Test func neighboursAreMergedBeyondAThousandColumns() throws {
        let seconds = 2_500
        let rows = (1...seconds).map { row($0, slots: "[\($0 % 2 == 0 ? "1024,1088" : "4096,4352"),\($0)]") }.joined()
        let session = try MemoryFiles(texts: ["session.json": emptyRecord, "commands.jsonl": rows], pieceLength: 1 << 16).report().session
        #expect(session.timeline.intervalsPerTick == 3)
        #expect(session.timeline.ticks.count == 834)
        let get = try #require(session.commands.first)
        #expect(get.calls.dropLast().allSatisfy { $0 == 3 } && get.calls.last == 1)
        let cells = try #require(get.phases["service"]).ticks
        #expect(cells[0] == [.init(slot: 112, count: 2), .init(slot: 144, count: 4)])
        #expect(cells.joined().reduce(0) { $0 + $1.count } == UInt64(seconds * (seconds + 1) / 2))
    }

    /// A line without a field has nothing of the line before.
    @Test func missingFieldsAreNothing() throws {
        let rows = row(1, calls: 7, errors: 2) + row(2).replacing("\"calls\":1,", with: "").replacing("\"errors\":0,", with: "")
        let session = try MemoryFiles(texts: ["session.json": emptyRecord, "commands.jsonl": rows]).report().session
        #expect(session.commands[0].calls == [7, 0] && session.commands[0].errors == [2, 0])
    }

    /// Silent intervals have no rows: what is far apart is not merged.
    @Test func gapsStayGaps() throws {
        let rows = [1, 2, 3, 1000, 1001].map { row($0) }.joined()
        let session = try MemoryFiles(texts: ["session.json": emptyRecord, "commands.jsonl": rows]).report().session
        #expect(session.timeline.ticks.count == 5)
        let many = (0..<1_500).map { row(1 + 2 * $0) }.joined()
        let sparse = try MemoryFiles(texts: ["session.json": emptyRecord, "commands.jsonl": many], pieceLength: 1 << 16).report().session
        #expect(sparse.timeline.ticks.count <= 1_000)
        #expect(sparse.commands.first?.calls.reduce(0, +) == 1_500)
    }

    /// What was written when the session was killed.
    @Test func anIncompleteLastLineIsLeftOut() throws {
        let whole = row(1) + row(2)
        let session = try MemoryFiles(texts: ["session.json": emptyRecord, "commands.jsonl": String(whole.dropLast(20))]).report().session
        #expect(session.commands.first?.calls == [1])
    }

    @Test(arguments: [
        ("{\"calls\":1,\"time\":\"2026-11-30T12:00:01Z\",\"interval_s\":1}\n", "line 1: it has no command"),
        (row(1) + "[]\n" + row(2), "line 2: an object is expected"),
        (row(1).replacing("\"calls\":1", with: "\"calls\":-1"), "line 1: a whole number is expected"),
        (row(1).replacing("2026-11-30T", with: "yesterday "), "line 1: the time \"yesterday"), (row(1, slots: "[5,6]"), "line 1: its slots are not in order"),
        (row(1, slots: "[6,7,1],[5,6,1]"), "line 1: its slots are not in order"), (row(1).replacing("\"GET\"", with: "17"), "line 1: a string is expected"),
        (row(1).replacing("\"interval_s\":1.0", with: "\"interval_s\":-1"), "line 1: interval_s is -1"),
    ])
    func aDamagedLineIsNamedWithItsReason(_ rows: String, _ reason: String) throws {
        let error = try #require(throws: ReportError.self) { try MemoryFiles(texts: ["session.json": emptyRecord, "commands.jsonl": rows]).report() }
        #expect(error.description.hasPrefix("cannot read session/commands.jsonl, \(reason)"), "\(error)")
        #expect(error.description.hasSuffix("Give a directory that this version of kiln wrote."))
    }

    static let tables = """
        {"samples":1,"slots_per_band":8,"kinds":[{"kind":"on-cpu","unit":"samples","dropped":3},{"kind":"off-cpu","unit":"nanoseconds","dropped":0}]}
        {"frame":"main"}
        {"frame":"work"}
        {"caller":-1,"in":0}
        {"caller":0,"in":1}
        {"group":{"kind":"on-cpu","process":"redis-server","command":"GET","phase":"exec","band_ns":[1024,1536]}}
        {"group":{"kind":"off-cpu","process":"redis-server","command":"GET","phase":"exec","state":"sleeping","band_ns":[68719476736,null]}}

        """

    static func interval(_ second: Int, _ samples: String) -> String {
        "{\"time\":\"2026-11-30T12:00:0\(second).000Z\",\"interval_s\":1,\"samples\":[\(samples)]}\n"
    }

    @Test func stacksAreThoseOfTheFile() throws {
        let samples = Self.tables + Self.interval(1, "[0,1,2,0,1],[1,1,5000]") + Self.interval(3, "[0,1,4]")
        let (session, trie) = try MemoryFiles(texts: ["session.json": emptyRecord, "commands.jsonl": row(1) + row(3), "samples.jsonl": samples]).report()
        let stacks = try #require(session.stacks)
        #expect(session.missing.isEmpty && stacks.kinds[0].dropped == 3 && stacks.kinds[0].frequency == 99)
        #expect(
            stacks.groups[0] == StackGroup(kind: 0, process: "redis-server", thread: nil, command: "GET", phase: "exec", verdict: nil, state: nil, band: 14))
        #expect(stacks.groups[1].band == 66)
        #expect(trie.frames == ["main", "work", "redis-server"] && trie.isProcess == [false, false, true])
        #expect(trie.callers == [-1, 0, 1])
        #expect(stacks.entries[0].map { [Int($0.stack), Int($0.tick), Int($0.weight)] } == [[2, 0, 2], [1, 0, 1], [2, 1, 4]])
        #expect(stacks.entries[1].map(\.weight) == [5000])
    }

    @Test(arguments: [
        ("{\"frame\":\"main\"}\n", "line 1: the first line does not say `samples`"), ("{\"samples\":2}\n", "line 1: its format is not known"),
        (tables + "{\"caller\":2,\"in\":0}\n", "line 8: a stack names a caller"), (tables + "{\"caller\":-1,\"in\":2}\n", "line 8: a stack names a caller"),
        (tables + "{\"group\":{\"kind\":\"heat\",\"process\":\"x\"}}\n", "line 8: the kind \"heat\""),
        (tables + interval(1, "[2,0,1]"), "line 8: samples name a group"),
        (tables + interval(1, "[0,2,1]"), "line 8: samples name a stack"), (tables + interval(1, "[0,1]"), "line 8: samples name a group"),
        (tables + interval(1, "[0,0,9007199254740993]"), "line 8: a weight is larger"),
    ])
    func damagedStacksAreNamedWithTheReason(_ samples: String, _ reason: String) throws {
        let error = try #require(throws: ReportError.self) { try MemoryFiles(texts: ["session.json": emptyRecord, "samples.jsonl": samples]).report() }
        #expect(error.description.hasPrefix("cannot read session/samples.jsonl, \(reason)"), "\(error)")
    }

    /// `kiln record`: columns of a second, with a row for each fraction.
    @Test func shortIntervalsWithoutCommandsAreFractionsOfASecond() throws {
        let record = emptyRecord.replacing("\"socket\"", with: "\"none\"")
        let samples = recordedSamples(intervals: 30, of: 100) { ($0, 0) }
        let session = try MemoryFiles(texts: ["session.json": record, "samples.jsonl": samples]).report().session
        #expect(session.timeline.rows == 10 && session.timeline.ticks.count == 30)
        #expect(session.stacks?.entries[0].map { Int($0.tick) } == Array(0..<30))
        #expect(session.missing.isEmpty)
    }

    @Test func sessionsWithoutSamplesHaveTheStacksOfTheWhole() throws {
        let folded = "redis-server;GET;exec;main;call 7\nredis-server;[event loop];main;poll_[k] 3\nno stack\n"
        let (session, trie) = try MemoryFiles(texts: [
            "session.json": emptyRecord, "commands.jsonl": row(1), "stacks.by-command.folded": folded, "stacks.folded": "x 1\n",
        ]).report()
        let stacks = try #require(session.stacks)
        #expect(!stacks.haveTime)
        #expect(stacks.groups.map(\.command) == ["GET", "[event loop]"] && stacks.groups[0].phase == "exec")
        #expect(trie.frames == ["redis-server", "main", "call", "poll_[k]"])
        #expect(session.missing.first?.hasPrefix("There is no samples.jsonl") == true)
        let plain = try MemoryFiles(texts: ["session.json": emptyRecord, "stacks.folded": "burn;main 5\n"]).report().session
        #expect(plain.stacks?.groups == [StackGroup(kind: 0, process: "burn")])
        #expect(try MemoryFiles(texts: ["session.json": emptyRecord]).report().session.stacks == nil)
    }

    @Test func namesAreMadeSafeToShow() throws {
        let (session, _) = try MemoryFiles(texts: ["session.json": emptyRecord, "commands.jsonl": row(1, "a\\u202eb\\u0007")]).report()
        #expect(session.commands.first?.name == "a\\u{202e}b\\x07")
    }

    @Test func twoSessionsShareTheirStacks() throws {
        var trie = StackTrie()
        let samples = Self.tables + Self.interval(1, "[0,1,2]")
        let files = MemoryFiles(texts: ["session.json": emptyRecord, "samples.jsonl": samples])
        let sessions = try (0..<2).map { _ in try ReportSession(files, into: &trie, keepsRows: true) }
        #expect(trie.callers.count == 3)
        #expect(sessions[0].stacks?.entries[0].first?.stack == sessions[1].stacks?.entries[0].first?.stack)
    }
}
