import PrintableText
import Testing

struct PrintableTextTests {
    @Test(arguments: [
        ("redis-server", "redis-server"), ("größe 日本 é", "größe 日本 é"), ("", ""), ("a\\b", "a\\b"),
        ("a\u{1b}[2Jb", "a\\x1b[2Jb"), ("a\nb\rc\td", "a\\nb\\rc\\td"), ("\u{0}\u{7f}", "\\x00\\x7f"), ("\u{9b}31m", "\\u{9b}31m"),
        ("\u{202e}evil\u{2066}\u{2069}", "\\u{202e}evil\\u{2066}\\u{2069}"), ("a\u{200b}b\u{feff}", "a\\u{200b}b\\u{feff}"),
        ("a\u{2028}b\u{2029}c\u{85}d", "a\\u{2028}b\\u{2029}c\\u{85}d"), ("\u{e000}\u{e0041}", "\\u{e000}\\u{e0041}"),
        // A letter and what hides behind it are one Character.
        ("a\u{200d}", "a\\u{200d}"), ("a\r\nb", "a\\r\\nb"),
    ])
    func whatATerminalWouldObeyIsShown(text: String, shown: String) {
        #expect(text.printable == shown)
        #expect(shown.printable == shown)
    }

    @Test func noControlCharacterRemains() {
        for value in UInt32(0)..<0x300 {
            guard let scalar = Unicode.Scalar(value) else { continue }
            let shown = String(scalar).printable
            #expect(shown.unicodeScalars.allSatisfy { $0.value >= 0x20 && !(0x7f...0x9f).contains($0.value) }, "\(value)")
        }
    }
}
