import TestSupport
import Testing
@testable import Flamegraph

@Suite struct FrameAttributesTests {
    private func parse(_ text: String) -> (byName: [String: FrameAttributes], ignored: [String]) {
        let (byName, ignored) = FrameAttributes.parse(Array(text.utf8))
        return (byName, ignored.map { "\($0.line): \($0.what)" })
    }

    @Test func titlesAndLinksAreTakenOver() {
        let (byName, ignored) = parse("main\ttitle=Where = it begins\thref=https://example.org/a?b=c#d\ttarget=_blank\r\nread\thref=HTTP://x\n\n")
        #expect(byName["main"]?.title == "Where = it begins")
        #expect(byName["main"]?.link == "https://example.org/a?b=c#d")
        #expect(byName["main"]?.target == "_blank")
        #expect(byName["read"]?.link == "HTTP://x")
        #expect(byName["read"]?.target == "_top")
        #expect(ignored.isEmpty)
    }

    @Test func whatCouldRunAScriptIsIgnoredAndSaid() {
        let (byName, ignored) = parse(
            "f\tonclick=alert(1)\tclass=x\tg_extra=onload=y\tid=z\nf\thref=javascript:alert(1)\nf\thref=data:text/html,x\nf\thref= https://x\n"
                + "f\thref=https://\nf\thref=http://a b\nf\ttarget=evil\nnothing\nf\tword\n")
        #expect(byName.isEmpty)
        #expect(ignored.count == 12)
        #expect(ignored[0] == "1: attribute `onclick` is not used: title, href and target are")
        #expect(ignored[4] == "2: href `javascript:alert(1)` is no http:// or https:// address")
        #expect(ignored.last == "9: `word` is no attribute=value")
    }

    @Test func hostileAttributesStayText() throws {
        let hostile = "\"><script>alert(1)</script>&']]>\u{1}\u{202e}"
        var options = FlamegraphOptions()
        options.attributes =
            FrameAttributes.parse(Array("main\ttitle=\(hostile)\thref=https://x/\(hostile.replacing("\u{1}", with: ""))\nf_[k]\thref=http://k\n".utf8)).byName
        let picture = try drawn(folded("main;f_[k] 1\n"), options)
        #expect(text(picture).components(separatedBy: "<script").count == 2)
        #expect(text(picture).contains("<a href=\"http://k\" target=\"_top\" rel=\"noopener\">f</a>"))
        let directory = try TemporaryDirectory()
        let file = try directory.write(picture, as: "picture.svg").path
        let links = try xmllint(["--xpath", "string((//*[local-name()='a']/@href)[1])", file])
        #expect(links.output == "https://x/\"><script>alert(1)</script>&']]>\\u{202e}\n")
    }
}
