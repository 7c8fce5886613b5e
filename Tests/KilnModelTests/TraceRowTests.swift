import KilnModel
import Testing

/// A traced request as it is shown, from bytes as the kernel tells them.
struct TraceRowTests {
    private func row(
        _ request: String, _ reply: String, flags: TracedRequest.Flags = [.answered], requestBytes: UInt64? = nil, replyBytes: UInt64? = nil,
        command: String? = "GET", withoutArguments: Bool = false
    ) -> TraceRow {
        let traced = TracedRequest(
            process: 0, tid: 12, fd: 8, sequence: 3, client: "127.0.0.1", clientPort: 40_000, command: command.map { CommandName(bytes: $0.utf8) },
            received: Nanoseconds(10_000), arrived: Nanoseconds(9_000), executed: Nanoseconds(13_000),
            sent: flags.contains(.answered) ? Nanoseconds(14_849) : nil, requestBytes: requestBytes ?? UInt64(request.utf8.count),
            replyBytes: replyBytes ?? UInt64(reply.utf8.count), request: Array(request.utf8), reply: Array(reply.utf8), flags: flags
        )
        return TraceRow(traced, time: "", pid: 11, withoutArguments: withoutArguments, RESPPayload())
    }

    @Test func aLineHasEverything() {
        let row = row("*2\r\n$3\r\nget\r\n$4\r\nname\r\n", "$5\r\nvalue\r\n")
        #expect(row.brief == "get name, Latency: 4849 ns")
        #expect(
            row.line == "pid 11 tid 12 fd 8 127.0.0.1:40000 #3 COMMAND get name -> bulk string value"
                + " | ok 4.85 us (queue 1.00 us, exec 3.00 us, reply 1.85 us, total 5.85 us) | no TLS | complete")
        #expect(row.complete && row.words == ["get", "name"] && row.wordsMissing == 0)
    }

    @Test func whatIsMissingIsSaid() {
        let cut = row("*4\r\n$3\r\nSET\r\n$9\r\nab", "+OK\r\n", requestBytes: 60)
        #expect(cut.request == "SET ab...(9 bytes) ...(2 more)")
        #expect(!cut.complete)
        #expect(
            row("*2\r\n$4\r\nAUTH\r\n", "-ERR", flags: [.answered, .secret, .replyWithheld, .error], requestBytes: 30, command: "AUTH").request
                == "AUTH (withheld)")
        #expect(row("", "+OK\r\n", flags: [.answered, .requestLost], requestBytes: 30).request == "GET ...(arguments not captured)")
        let reply = row("get a\r\n", "*3\r\n$1\r\na\r\n$500\r\nxy", replyBytes: 600)
        #expect(reply.replyKind == "array" && reply.replySize == 3 && reply.reply == "[a, xy...(500 bytes), ...]" && !reply.complete)
    }

    @Test(arguments: [
        ("+", "simple string", "(withheld)"), (":", "integer", "(withheld)"), ("$5", "bulk string", "(withheld)"), ("%7", "map", "(withheld)"),
        ("-WRONGPASS", "error", "WRONGPASS"), ("_", "null", "null"), ("$-1", "null", "null"), ("#", "boolean", "(withheld)"),
    ])
    func repliesHeldBackAreKnownByTheirKind(kept: String, kind: String, shown: String) {
        let row = row("", kept, flags: [.answered, .replyWithheld], withoutArguments: true)
        #expect(row.replyKind == kind && row.reply == shown)
    }

    @Test(
        arguments: [
            ("$1\r\na\r\n", "bulk string", "a"), ("$-1\r\n", "null", "null"), ("*2\r\n:1\r\n_\r\n", "array", "[1, null]"),
            ("%1\r\n+a\r\n,1.5\r\n", "map", "{a: 1.5}"),
            ("~2\r\n#t\r\n#f\r\n", "set", "[true, false]"), ("(123\r\n", "big number", "123"), ("=7\r\ntxt:a b\r\n", "verbatim string", "\"a b\""),
            ("|1\r\n+ttl\r\n:1\r\n:5\r\n", "integer", "5"), ("!5\r\nERR x\r\n", "error", "\"ERR x\""), ("?", nil, "\"?\""),
        ] as [(String, String?, String)])
    func repliesOfEveryKindAreShown(bytes: String, kind: String?, shown: String) {
        let row = row("PING\r\n", bytes, command: "PING")
        #expect(row.class == "PING" && row.replyKind == kind)
        #expect(row.reply == (kind == nil ? "?" : shown))
    }

    @Test func requestsToldTogetherAreTakenApart() {
        var told = TracedRequest(
            process: 0, tid: 12, fd: 8, sequence: .max, client: "127.0.0.1", command: CommandName(bytes: "GET".utf8), received: Nanoseconds(10_000),
            sent: Nanoseconds(14_849), requestBytes: nil, replyBytes: nil, request: Array("get a\r\n*2\r\n$3\r\nGET\r\n$1\r\nb\r\nget no".utf8),
            reply: Array("$1\r\nA\r\n-WRONGTYPE x\r\n".utf8), flags: [.answered, .coalesced]
        )
        let rows = told.split(2, requestBytes: 512, RESPPayload()).map { TraceRow($0, time: "", pid: 11, withoutArguments: false, RESPPayload()) }
        #expect(rows.map(\.request) == ["get a", "GET b"] && rows.map(\.sequence) == [.max, 0])
        #expect(rows.map(\.status) == ["ok", "error"] && rows.map(\.replyBytes) == [7, 14])
        #expect(rows.allSatisfy { $0.complete && $0.latencyNs == 4849 })
        let cut = told.split(2, requestBytes: 13, RESPPayload()).map { TraceRow($0, time: "", pid: 11, withoutArguments: false, RESPPayload()) }
        #expect(cut.map(\.request) == ["get a", "GET ...(1 more)"] && cut.map(\.complete) == [true, false])
        // What can't be taken apart is told all the same.
        told.reply.removeLast()
        let lost = told.split(3, requestBytes: 512, RESPPayload())
        #expect(lost.map(\.flags) == [[.answered], [.answered, .replyLost], [.answered, .requestLost, .replyLost]])
        #expect(lost.map(\.request.count) == [7, 20, 0] && lost.map(\.reply.count) == [7, 0, 0])
    }

    @Test func pushesAreNoRequests() {
        let row = row("", ">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n", flags: [.push], requestBytes: 0, command: nil)
        #expect(row.class == "PUSHED_EVENT" && row.sequence == nil && row.status == "ok")
        #expect(row.brief.hasPrefix("PUSHED_EVENT [message, a, hi]"))
    }

    @Test func noByteIsObeyed() {
        #expect(shownText([0x1b, 0x5b, 0x32, 0x4a]) == "\"\\x1b[2J\"")
        #expect(shownText("a\"b\\c\n\r\t".utf8) == "\"a\\\"b\\\\c\\n\\r\\t\"")
        #expect(shownText("größe日本".utf8) == "größe日本")
        #expect(shownText([0xc2, 0x9b, 0x41]) == "\"\\xc2\\x9bA\"")
        #expect(shownText("\u{202e}\u{200b}".utf8) == "\"\\xe2\\x80\\xae\\xe2\\x80\\x8b\"")
        #expect(shownText([]) == "\"\"" && shownText([0xff]) == "\"\\xff\"")
        for first in 0...255 as ClosedRange<UInt8> {
            for second in 0...255 as ClosedRange<UInt8> {
                let shown = shownText([first, second, 0x80])
                if shown.unicodeScalars.contains(where: { $0.value < 0x20 || (0x7f...0x9f).contains($0.value) }) {
                    Issue.record("\(first) \(second): \(shown)")
                }
            }
        }
    }
}
