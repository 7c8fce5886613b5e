import Testing

@testable import KilnHosts

struct HostNameTests {
    @Test(arguments: ["", "-oProxyCommand=x", "a b", "a\tb", "a\nb", "a\u{1b}b", "a\u{202e}b"]) func othersAreRefused(_ text: String) {
        #expect(HostName(text) == nil)
    }

    @Test(arguments: [
        ("web1", "web1"), ("me@web1.example.org", "web1.example.org"), ("ssh://me@web1:2222", "web1_2222"), ("ssh://[::1]:22", "___1__22"),
        ("a/../b", "a_.._b"),
        ("me@..", "_."),
    ])
    func shortNamesAreNamesOfFiles(_ text: String, _ short: String) { #expect(HostName(text)?.short == short) }
}
