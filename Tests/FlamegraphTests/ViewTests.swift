import Testing
@testable import Flamegraph

/// Views that the page makes of one picture, in a real browser.
extension BrowserTests {
    private static let profile = """
        main;read;parse 100
        main;write;parse;copy_[k] 150
        main;wait_[k] 150
        """

    @Test func callersAreMergedAtRunTime() throws {
        try open(Self.profile)
        try pushButton("Merge stacks from their leaves: who calls a function")
        #expect(try labels() == "all copy parse wait parse read main write main main")
        #expect(try fragment() == "#frame=&view=callers")
        try clickLabel("copy")
        #expect(try fragment() == "#frame=copy_%5Bk%5D&view=callers")
        #expect(try labels() == "all copy parse write main")
        _ = try browser.value("history.back()")
        try browser.wait(for: "location.hash === '#frame=&view=callers'")
        _ = try browser.value("history.back()")
        try browser.wait(for: "document.querySelectorAll('.labels text').length === 8")
        #expect(try labels() == "all main read wait write parse parse copy")
        expectNoComplaints()
    }

    @Test func callersOfNarrowFramesAreGatheredUnderOneName() throws {
        var options = FlamegraphOptions()
        options.minWidth = 20
        try open("a;b;x 10\na;b;y 10\na;c 80\n", options: options, fragment: "#view=callers")
        #expect(try labels() == "all (narrower frames) c b a a")
        expectNoComplaints()
    }

    @Test func callersBeyondTwoToThe53AreExact() throws {
        try open("a;f 9007199254740993\nb;f 18000000000000000000\n", fragment: "#frame=f&view=callers")
        #expect(try status() == "Zoomed to f, 18,009,007,199,254,740,993 samples, 100 % of all")
        expectNoComplaints()
    }

    @Test func buttonsWalkThroughTheMatches() throws {
        try open(Self.profile)
        #expect(try browser.value("document.querySelector('[aria-label=\"Next match (n)\"]').disabled") == "true")
        try browser.press("/")
        try browser.type("parse")
        try pushButton("Next match (n)")
        #expect(try focused() == "parse, 100 samples, 25.00 % of all")
        try pushButton("Next match (n)")
        #expect(try focused() == "parse, 150 samples, 37.50 % of all")
        try pushButton("Previous match (N)")
        #expect(try focused() == "parse, 100 samples, 25.00 % of all")
        expectNoComplaints()
    }

    @Test func aGivenWidthIsKept() throws {
        var options = FlamegraphOptions()
        options.width = 700
        options.isFluid = false
        try open(Self.profile, options: options)
        #expect(try browser.value("document.documentElement.getBoundingClientRect().width") == "700")
        #expect(try browser.value("document.documentElement.getAttribute('viewBox').startsWith('0 0 700 ')") == "true")
        expectNoComplaints()
    }

    @Test func coloursOfTheirOwnAreTheSameByNight() throws {
        var options = FlamegraphOptions()
        options.palette = .hot
        options.background = Background("#ffffff")
        try browser.prefer("dark")
        try open(Self.profile, options: options)
        #expect(try browser.value("getComputedStyle(document.querySelector('.labels text')).fill") == "rgb(31, 35, 40)")
        #expect(try browser.value("getComputedStyle(document.querySelector('.headline')).fill") == "rgb(31, 35, 40)")
        #expect(try browser.value("[...document.querySelectorAll('.boxes .own')].every((x) => x.getAttribute('fill').startsWith('#'))") == "true")
        try open(Self.profile)
        #expect(try browser.value("getComputedStyle(document.querySelector('.headline')).fill") == "rgb(240, 238, 233)")
        expectNoComplaints()
    }

    @Test func onPaperThereAreNoControlsAndTheColoursOfDay() throws {
        try browser.prefer("dark", media: "print")
        try open(Self.profile)
        #expect(try browser.value("getComputedStyle(document.querySelector('.controls')).display") == "none")
        #expect(try browser.value("getComputedStyle(document.querySelector('.paper')).fill") == "rgb(255, 255, 255)")
        #expect(try browser.value("getComputedStyle(document.querySelector('.boxes')).printColorAdjust") == "exact")
        expectNoComplaints()
    }

    @Test func aTallPictureIsPrintedOnOnePage() throws {
        try open("main;" + (0..<90).map { "f\($0)" }.joined(separator: ";") + " 1\n")
        for landscape in [true, false] { #expect(try browser.printedPages(landscape: landscape) == 1) }
        expectNoComplaints()
    }

    @Test func twoProfilesShowWhatChanged() throws {
        var reading = FoldedReading()
        reading.columns = .two
        let stacks = FoldedStacks(parsing: Array("m;grown 100 300\nm;gone 200 0\nm;fresh 0 150\nm;same 400 405\n".utf8), reading)
        let picture = try drawn(stacks, FlamegraphOptions())
        for sign in ["▲ grown<", "✕ gone<", "✚ fresh<", ">same<"] { #expect(text(picture).contains(sign)) }
        let file = try directory.write(picture, as: "difference.svg")
        try browser.open(file.absoluteString)
        try browser.wait(for: "document.querySelector('.controls') !== null")
        #expect(try labels() == "all ▲ m ✚ fresh ✕ gone ▲ grown same")
        #expect(try browser.value(rectangles(of: "bands")) == "4")
        try clickLabel("▲ grown") { try $0.move(x: $1, y: $2) }
        let said = try browser.value(
            "[...document.querySelectorAll('.tip .name, .tip tr')].map((x) => [...x.childNodes].map((y) => y.textContent).join(' ')).join('|')")
        #expect(said == "grown|100 samples before, 14.29 %|300 samples after, 35.09 %|+20.80 points of share")
        try pushButton("Merge stacks from their leaves: who calls a function")
        #expect(try labels() == "all ✚ fresh ✕ gone ▲ grown same ✚ m ✕ m ▲ m m")
        expectNoComplaints()
    }
}
