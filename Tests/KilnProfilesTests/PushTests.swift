import Testing

@testable import KilnProfiles

struct PushURLTests {
    @Test(
        arguments: [
            ("http://localhost:4040/ingest?name=a%7Bb%3Dc%7D", "localhost", 4040, "/ingest", "name=a%7Bb%3Dc%7D", true),
            ("HTTPS://example.com", "example.com", nil, "", nil, false), ("http://[::1]:4318/", "[::1]", 4318, "/", nil, true),
            ("http://127.1.2.3/a", "127.1.2.3", nil, "/a", nil, true), ("http://127.0.0.1.example.com?x", "127.0.0.1.example.com", nil, "", "x", false),
            ("http://[::2]", "[::2]", nil, "", nil, false), ("http://127.0.0.256", "127.0.0.256", nil, "", nil, false),
            ("http://127.0.1", "127.0.1", nil, "", nil, false),
        ] as [(String, String, UInt16?, String, String?, Bool)])
    func aURLHasItsParts(text: String, host: String, port: UInt16?, path: String, query: String?, isLoopback: Bool) throws {
        let url = try PushURL(text)
        #expect((url.host, url.port, url.path, url.query, url.isLoopback) == (host, port, path, query, isLoopback))
        #expect(url.text.lowercased() == text.lowercased() && url.isEncrypted == text.hasPrefix("HTTPS"))
    }

    @Test(arguments: [
        "", "localhost:4040", "ftp://a/ingest", "http://", "http:///ingest", "http://user:secret@a/ingest", "http://a:0/", "http://a:65536/", "http://a:+1/",
        "http://a:/",
        "http://a b/", "http://a\n/", "http://a/\"x", "http://a/\\x", "http://ä/", "http://a/#x", "http://[::1/", "http://[]/", "http://[::1]x/",
        "http://a{b}/",
        "http://127.0.0.1\\@example.com/", "http://a/" + String(repeating: "x", count: 5000),
    ])
    func whatCouldBeReadInTwoWaysIsRefused(text: String) { #expect(throws: PushError.self) { try PushURL(text) } }

    @Test(arguments: [
        ("http://a/ingest", "http://a/ingest", 0), ("http://a/pyroscope/ingest?name=x", "http://a/pyroscope/ingest?name=x", 0),
        ("http://a", "http://a/v1development/profiles", 1), ("http://a:4318/", "http://a:4318/v1development/profiles", 1),
        ("https://a/otlp/v1development/profiles", "https://a/otlp/v1development/profiles", 1),
    ])
    func aDestinationIsChosenByThePath(text: String, endpoint: String, place: Int) throws {
        let found = try PushDestination.of(PushURL(text))
        #expect(found.endpoint.text == endpoint)
        #expect(found.destination.title == PushDestination.all[place].title)
    }

    @Test(arguments: ["http://a/other", "http://a/noingest", "http://a/ingest/"]) func otherPathsAreRefused(text: String) throws {
        let url = try PushURL(text)
        #expect(throws: PushError.self) { try PushDestination.of(url) }
    }
}

struct PushRequestTests {
    private static var profile: Profile {
        var profile = Profile(version: "1", program: "/usr/bin/my server{}", pid: 1, start: 1_700_000_000_900_000_000, duration: 10_200_000_000)
        profile.frames = [.init(function: FunctionName(name: "main"), module: nil)]
        profile.stacks = [.init(caller: -1, frame: 0)]
        profile.labels = [.init(process: "server")]
        profile.intervals = [.init(start: profile.start, end: profile.start + 1)]
        let sample = Profile.Sample(stack: 0, labels: 0, interval: 0, weight: 3)
        profile.series = [
            .init(name: "on-cpu", unit: .samples(period: 10_101_010), dropped: 0, samples: [sample]),
            .init(name: "off-cpu", unit: .nanoseconds, dropped: 0, samples: [sample]),
        ]
        return profile
    }

    private func parameters(_ request: PushRequest) -> [String: String] {
        Dictionary(uniqueKeysWithValues: request.url.parameters.map { (String($0.name), String($0.value)) })
    }

    @Test func pyroscopeGetsARequestForEachKind() throws {
        let requests = try PushDestination.pyroscope.requests(Self.profile, PushURL("http://a/ingest"))
        #expect(requests.count == 2)
        #expect(
            parameters(requests[0]) == [
                "name": "my_server__", "from": "1700000000", "until": "1700000012", "format": "pprof", "spyName": "kiln", "units": "samples",
                "sampleRate": "99",
                "aggregationType": "sum",
            ])
        #expect(parameters(requests[1])["units"] == "nanoseconds" && parameters(requests[1])["sampleRate"] == nil)
        let sent = try Pprof_Profile(serializedBytes: Gzip.inflated(requests[1].body))
        #expect(sent.sampleType.map { sent.stringTable[Int($0.type)] } == ["off_cpu"])
        #expect(sent.timeNanos == 1_700_000_000_900_000_000)
    }

    @Test func whatAPersonWroteInTheURLIsKept() throws {
        let url = try PushURL("http://a/ingest?name=app%7Benv%3Dtest%7D&spyName=mine&from=0&x=1")
        let parameters = parameters(try PushDestination.pyroscope.requests(Self.profile, url)[0])
        #expect(parameters["name"] == "app%7Benv%3Dtest%7D" && parameters["spyName"] == "mine" && parameters["x"] == "1")
        #expect(parameters["from"] == "1700000000")
    }

    @Test func receiversOfOTLPGetOneRequest() throws {
        let requests = try PushDestination.otlp.requests(Self.profile, PushURL("http://a/v1development/profiles"))
        #expect(requests.map(\.headers) == [["Content-Type: application/x-protobuf", "Content-Encoding: gzip"]])
        let sent = try OTLP_ProfilesData(serializedBytes: Gzip.inflated(requests[0].body))
        #expect(sent.resourceProfiles[0].scopeProfiles[0].profiles.map { $0.samples.map(\.values) } == [[[3]], [[3]]])
    }

    @Test func valuesInAQueryAreEncoded() { #expect(PushURL.encoded("a{b=ü}&/~") == "a%7Bb%3D%C3%BC%7D%26%2F~") }
}

struct PushAnswerTests {
    private func answer(_ text: String) throws -> PushAnswer { try #require(PushAnswer(Array(text.utf8))) }

    @Test func headAndBodyAreApart() throws {
        let answer = try answer("HTTP/1.1 100 Continue\r\n\r\nHTTP/2 429\r\nRetry-AFTER:  7 \r\nno colon\r\n\r\nbody\n\n")
        #expect(answer.status == 429 && answer.header("retry-after") == "7" && answer.body == Array("body\n\n".utf8))
        #expect(answer.retryAfter(now: 0) == 7)
    }

    @Test(arguments: [
        "", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n", "nonsense\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 100 C\r\n\r\n", "\u{0}\u{1}",
    ])
    func whatHasNoWholeHeadIsNoAnswer(text: String) { #expect(PushAnswer(Array(text.utf8)) == nil) }

    @Test(
        arguments: [
            ("Sun, 06 Nov 1994 08:49:37 GMT", 17.0), ("12", 12), ("0", 0), ("-1", nil), ("soon", nil), ("Sun, 06 Foo 1994 08:49:37 GMT", nil), ("", nil),
            ("1e400", nil),
            ("Sun, 06 Nov 1994 08:49:10 GMT", -10),
        ] as [(String, Double?)])
    func retryAfterIsSecondsOrADate(text: String, seconds: Double?) throws {
        #expect(try answer("HTTP/1.1 503 x\r\nRetry-After: \(text)\r\n\r\n").retryAfter(now: 784_111_760) == seconds)
    }

    @Test(arguments: [429, 502, 503, 504]) func someFailuresPass(status: Int) throws {
        let verdict = PushDestination.pyroscope.verdict(on: try answer("HTTP/1.1 \(status) x\r\nRetry-After: 3\r\n\r\nbusy\n"), now: 0)
        #expect(verdict == .later(reason: "it answers \(status): busy", asked: 3))
    }

    @Test(arguments: [400, 401, 404, 413, 422, 500, 501]) func othersDoNot(status: Int) throws {
        guard case .refused(let reason) = PushDestination.pyroscope.verdict(on: try answer("HTTP/1.1 \(status) x\r\n\r\nno"), now: 0) else {
            Issue.record("it is tried again")
            return
        }
        #expect(reason.hasPrefix("it answers \(status): no"))
    }

    @Test func nothingIsFollowed() throws {
        let verdict = PushDestination.otlp.verdict(on: try answer("HTTP/1.1 307 x\r\nLocation: http://b/\u{1b}[2J\r\n\r\n"), now: 0)
        #expect(verdict == .refused(reason: "it answers 307, which leads to http://b/\\x1b[2J; kiln follows nothing, so give the right URL"))
    }

    @Test func hostileWordsAreEscapedAndCut() throws {
        let words = "\u{1b}]0;x\u{7}\n" + String(repeating: "\u{202e}", count: 5000)
        guard case .refused(let reason) = PushDestination.pyroscope.verdict(on: try answer("HTTP/1.1 400 x\r\n\r\n\(words)"), now: 0) else {
            Issue.record("it is tried again")
            return
        }
        #expect(reason.hasPrefix("it answers 400: \\x1b]0;x\\x07\\n\\u{202e}") && reason.count == 216 && reason.allSatisfy { $0.isASCII && !$0.isNewline })
    }

    @Test func otlpTellsOfAPartThatWasRejected() throws {
        var response = OTLP_ExportProfilesServiceResponse()
        func verdict() throws -> PushVerdict {
            let head = Array("HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n\r\n".utf8)
            let answer = try #require(PushAnswer(head + (try response.serializedBytes() as [UInt8])))
            return PushDestination.otlp.verdict(on: answer, now: 0)
        }
        #expect(try verdict() == .accepted(remark: nil))
        response.partialSuccess.errorMessage = "old\n"
        #expect(try verdict() == .accepted(remark: "old"))
        response.partialSuccess.rejectedProfiles = 2
        #expect(try verdict() == .accepted(remark: "2 profiles were rejected: old"))
        #expect(PushDestination.otlp.verdict(on: try answer("HTTP/1.1 200 OK\r\n\r\n{\"no\":1}"), now: 0) == .accepted(remark: nil))
    }

    @Test func theMessageOfAStatusIsTheServersWords() throws {
        let status = Array("HTTP/1.1 400 x\r\nContent-Type: application/x-protobuf\r\n\r\n".utf8) + [8, 3, 18, 3] + Array("bad".utf8)
        #expect(PushDestination.otlp.verdict(on: try #require(PushAnswer(status)), now: 0) == .refused(reason: "it answers 400: bad"))
    }
}

struct PushDelayTests {
    @Test func delaysDoubleUpToABound() {
        let delays = PushDelays()
        #expect([1, 2, 3, 4, 5, 6, 7, 1000].map { delays.delay(after: $0, jitter: 0) } == [1, 2, 4, 8, 16, 30, 30, 30])
        #expect(delays.delay(after: 1, jitter: 0.1) == 1.1)
        #expect(delays.delay(after: 9, jitter: 0.1) == 30)
    }

    @Test func whatAServerAsksForIsBounded() {
        #expect([-5, 0, 20, 60, 1e300].map { PushDelays().delay(after: 1, asked: $0) } == [1, 1, 20, 60, 60])
    }

    @Test func theOldestMakeRoom() throws {
        var backlog = PushBacklog(limit: 100)
        func add(_ count: Int) throws {
            backlog.add(PushRequest(url: try PushURL("http://a"), headers: [], body: [UInt8](repeating: UInt8(count), count: count)))
        }
        for count in [40, 50, 10] { try add(count) }
        #expect(backlog.requests.map(\.body.count) == [40, 50, 10] && backlog.dropped == 0)
        try add(30)
        #expect(backlog.requests.map(\.body.count) == [50, 10, 30] && backlog.dropped == 1 && backlog.bytes == 90)
        try add(101)
        #expect(backlog.requests.isEmpty && backlog.dropped == 5 && backlog.bytes == 0)
        backlog.removeFirst()
        #expect(backlog.bytes == 0)
    }
}
