import Testing

@testable import KilnHosts

struct HostTextTests {
    private func lines(_ text: String, hasBold: Bool = true) -> [String] {
        var printed = HostText(hasBold: hasBold)
        return printed.lines(adding: Array(text.utf8)) + printed.rest()
    }

    @Test func whatKilnPrintsPasses() {
        #expect(lines("COMMAND  calls\nGET ▁█ 1,000 µs\n") == ["COMMAND  calls", "GET ▁█ 1,000 µs"])
        #expect(lines("\u{1b}[1mCOMMAND\u{1b}[0m  x\n") == ["\u{1b}[1mCOMMAND\u{1b}[0m  x"])
        #expect(lines(#"{"a":"\u001b","b":"\\n"}"# + "\n") == [#"{"a":"\u001b","b":"\\n"}"#])
    }

    @Test(arguments: [
        ("\u{1b}]0;title\u{7}", #"\x1b]0;title\x07"#), ("\u{1b}[2J", #"\x1b[2J"#), ("a\rb", #"a\rb"#), ("a\u{9b}2J", #"a\u{9b}2J"#),
        ("\u{202e}x", #"\u{202e}x"#),
        // Bold only at the beginning, and only what is whole.
        ("a\u{1b}[1mb\u{1b}[0m", #"a\x1b[1mb\x1b[0m"#), ("\u{1b}[1mb", #"\x1b[1mb"#), ("\u{1b}[1m\u{1b}[2J\u{1b}[0m", "\u{1b}[1m\\x1b[2J\u{1b}[0m"),
        ("\u{1b}[1;31mb\u{1b}[0m", #"\x1b[1;31mb\x1b[0m"#),
    ])
    func escapesAreShown(_ sent: String, _ printed: String) { #expect(lines(sent + "\n") == [printed]) }

    @Test func withoutBoldNoEscapeStays() { #expect(lines("\u{1b}[1mx\u{1b}[0m\n", hasBold: false) == [#"\x1b[1mx\x1b[0m"#]) }

    @Test func invalidUTF8IsShown() {
        var printed = HostText(hasBold: false)
        #expect(printed.lines(adding: [0xff, 0x9b, 65, 10]) == ["\u{fffd}\u{fffd}A"])
    }

    @Test func progressComesBeforeItsEnd() {
        var printed = HostText(hasBold: false)
        #expect(printed.lines(adding: Array("\r12 s \u{1b}[K".utf8)) == [] && printed.progress() == "\r12 s \\x1b[K")
        #expect(printed.lines(adding: Array("no end".utf8)) == [] && printed.progress() == nil && printed.rest() == ["no end"])
    }

    @Test func pathsOfTheOtherHostAreThoseHere() {
        var printed = HostText(hasBold: false)
        printed.renamed = ("/tmp/kiln-session-a/session", "out")
        #expect(printed.lines(adding: Array("wrote /tmp/kiln-session-a/session/: session.json\n".utf8)) == ["wrote out/: session.json"])
    }

    @Test func linesThatNeverEndAreCut() {
        var printed = HostText(hasBold: false)
        #expect(printed.lines(adding: [UInt8](repeating: 65, count: 3 << 20)).count == 1)
    }

    /// With several hosts, a line can't pass for another host's.
    @Test func withoutProgressACarriageReturnIsShown() {
        var printed = HostText(hasBold: false, hasProgress: false)
        #expect(printed.lines(adding: Array("\rspoofed\nend of ssh's\r\n".utf8)) == ["\\rspoofed", "end of ssh's"])
        #expect(printed.lines(adding: Array("\rwaits".utf8)) == [] && printed.progress() == nil)
    }

    @Test func manyShortLinesTakeNoTime() {
        var printed = HostText(hasBold: false)
        #expect(printed.lines(adding: [UInt8](repeating: 10, count: 1 << 20)).count == 1 << 20)
    }
}
