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

    /// A stack higher than the window, and its narrow twin.
    private static let tall =
        "main;" + (0..<90).map { "f\($0)" }.joined(separator: ";") + " 99990\nmain;" + (0..<70).map { "g\($0)" }.joined(separator: ";") + " 10\n"

    private func isSeen(_ selector: String) throws -> Bool {
        try browser.value(
            """
            (() => { const box = \(selector).getBoundingClientRect();
              return box.height > 0 && box.top >= 0 && box.bottom <= innerHeight && box.right > 0 && box.left < innerWidth; })()
            """) == "true"
    }

    private var rootLabel: String { "[...document.querySelectorAll('.labels text')].find((text) => text.textContent === 'all')" }

    @Test func aPictureTallerThanItsWindowOpensAtItsRoot() throws {
        try open(Self.tall)
        #expect(try isSeen(rootLabel))
        #expect(try browser.value("scrollY > 500") == "true")
        var options = FlamegraphOptions()
        options.inverted = true
        try open(Self.tall, options: options)
        #expect(try isSeen(rootLabel))
        #expect(try browser.value("scrollY") == "0")
        try open(Self.tall, fragment: "#frame=&flip=1")
        #expect(try isSeen(rootLabel))
        try open(Self.profile)
        #expect(try browser.value("scrollY") == "0")
        expectNoComplaints()
    }

    @Test func aLinkIntoATallPictureShowsItsFrame() throws {
        try open(Self.tall, fragment: "#frame=main;" + (0...85).map { "f\($0)" }.joined(separator: ";"))
        #expect(try isSeen("[...document.querySelectorAll('.labels text')].find((text) => text.textContent === 'f85')"))
        expectNoComplaints()
    }

    @Test func enterBringsTheMatchIntoView() throws {
        try open(Self.tall)
        for (term, count) in [("f88", 1), ("main", 1), ("g66", 1)] {
            try browser.press("Escape", "/")
            try browser.type(term)
            try browser.press("Enter")
            #expect(try focused().hasPrefix("\(term), "), "\(term)")
            #expect(try isSeen("document.querySelector('.outline.keyboard')"), "\(term)")
            #expect(try browser.value("Number(document.querySelector('.outline.keyboard').getAttribute('width')) >= 1") == "true")
            #expect(try browser.value("document.querySelector('input').value") == term)
            #expect(try browser.value("[...document.querySelectorAll('.labels .found')].length") == "\(count)", "\(term)")
        }
        expectNoComplaints()
    }

    @Test func picturesOfOnePageDontFollowEachOther() throws {
        let page = """
            <!doctype html><meta charset="utf-8"><title>page</title><body>\(text(try drawn(folded(Self.profile))))\(text(try drawn(folded(Self.profile))))
            """
        let file = try directory.write(Array(page.utf8), as: "two.html")
        try browser.open(file.absoluteString)
        try browser.wait(for: "document.querySelectorAll('.controls').length === 2")
        let texts = { (picture: Int) in
            "[...document.querySelectorAll('.flamegraph')[\(picture)].querySelectorAll('.labels text')].map((x) => x.textContent).sort().join(' ')"
        }
        let all = try browser.value(texts(1))
        try clickLabel("write")
        #expect(try browser.value(texts(1)) == all)
        #expect(try browser.value(texts(0)) == "all copy main parse write")
        _ = try browser.value("document.querySelectorAll('.flamegraph')[1].querySelector('[aria-label^=Root]').click()")
        #expect(try fragment() == "#frame=main;write&frame2=&flip=1")
        #expect(try browser.value(texts(0)) == "all copy main parse write")
        _ = try browser.value("history.back()")
        try browser.wait(for: "location.hash === '#frame=main;write'")
        #expect(try browser.value(texts(0)) == "all copy main parse write")
        // A key meant for the one is none for the other.
        try browser.press("/")
        #expect(try browser.value("document.activeElement.closest('.flamegraph') === document.querySelectorAll('.flamegraph')[0]") == "true")
        // One address holds both pictures, each with a part of its own.
        try browser.open(file.absoluteString + "#frame=main;write&search=copy&frame2=main;read&flip=1&search=parse")
        try browser.wait(for: "document.querySelectorAll('.controls').length === 2")
        #expect(try browser.value("[...document.querySelectorAll('.flamegraph input')].map((x) => x.value).join(' ')") == "copy parse")
        #expect(try browser.value(texts(0)) == "all copy main parse write")
        #expect(try browser.value(texts(1)) == "all main parse read")
        _ = try browser.value("document.querySelectorAll('.flamegraph')[0].querySelector('[aria-label^=Show][aria-label*=Escape]').click()")
        #expect(try fragment() == "#frame2=main;read&flip=1&search=parse")
        #expect(try browser.value(texts(1)) == "all main parse read")
        expectNoComplaints()
    }

    @Test func flipCallersAndEndsAreInTheLinkAndResetLeavesThem() throws {
        try open(Self.profile)
        for button in ["Root at the top or at the bottom", "Merge stacks from their leaves: who calls a function", "Show the ends of names that don't fit"] {
            _ = try browser.value("document.querySelector(`[aria-label=\"\(button)\"]`).click()")
        }
        #expect(try fragment() == "#frame=&view=callers&flip=1&cut=left")
        try clickLabel("copy")
        #expect(try fragment() == "#frame=copy_%5Bk%5D&view=callers&flip=1&cut=left")
        try pushButton("Show everything, end the search (Escape)")
        #expect(try fragment() == "#frame=&view=callers&flip=1&cut=left")
        let pressed =
            "[...document.querySelectorAll('.bar button')].filter((x) => x.getAttribute('aria-pressed') === 'true').map((x) => x.textContent).join(' ')"
        #expect(try browser.value(pressed) == "Callers Ends")
        try open(Self.profile, fragment: "#frame=&view=callers&flip=1&cut=left")
        #expect(try browser.value(pressed) == "Callers Ends")
        #expect(
            try browser.value(
                "[...document.querySelectorAll('.labels text')].sort((a, b) => a.getAttribute('y') - b.getAttribute('y'))[0].textContent") == "all")
        expectNoComplaints()
    }

    @Test(arguments: NameCut.allCases)
    func thePageCutsNamesAsThePictureDoes(cut: NameCut) throws {
        let names = [
            "std::vector<int, std::allocator<int> >::push_back(int const&)", "/usr/lib/node_modules/express/lib/router/layer.js:handle_request",
            "readQueryFromClientWithAVeryLongName", "\u{95a2}\u{6570}::\u{95a2}\u{6570}\u{95a2}\u{6570}\u{95a2}\u{6570}", "\u{1d4b3}/a_long_name", "a::b",
        ]
        var options = FlamegraphOptions()
        options.nameCut = cut
        options.isFluid = false
        for width in [320, 500, 700, 1100, 1900] {
            options.width = width
            try open(names.map { "\($0) 1\n" }.joined(), options: options)
            let letter = try browser.value(
                "(() => { const x = [...document.querySelectorAll('.labels text')].find((x) => x.textContent === 'all'); return x.getComputedTextLength() / 3; })()"
            )
            let columns = try Int((Double(width - 40) / Double(names.count) - 8) / #require(Double(letter)))
            let expected = names.map { name in
                Array(name.utf8).withUnsafeBytes { bytes in cut.fit(bytes, columns: columns).map(String.init).joined() }
            }
            #expect(
                try Set(
                    browser.value("[...document.querySelectorAll('.labels text')].map((x) => x.textContent).join('|')").split(separator: "|").map(String.init))
                    == Set(expected + ["all"]))
        }
        expectNoComplaints()
    }

    @Test(arguments: [320, 360, 520, 800, 1000])
    func theControlsHaveRoomInNarrowWindows(width: Int) throws {
        try browser.resize(width: width, height: 700)
        try open(Self.profile)
        let problems = try browser.value(
            """
            (() => {
              const legend = Math.min(...[...document.querySelectorAll('.legend *')].map((x) => x.getBoundingClientRect().top));
              const boxes = [...document.querySelectorAll('.bar input, .bar button')].map((x) => x.getBoundingClientRect());
              const outside = boxes.filter((x) => x.left < 0 || x.right > \(width) || x.width < 20 || (\(width) < 900 && x.bottom > legend));
              const head = document.querySelector('.headline').getBoundingClientRect();
              const covered = boxes.filter((x) => x.left < head.right && x.top < head.bottom && x.bottom > head.top);
              return outside.length + covered.length;
            })()
            """)
        #expect(problems == "0")
        expectNoComplaints()
    }

    @Test func aNameLinksAndIsDescribedAsAFileSays() throws {
        var options = FlamegraphOptions()
        options.attributes = FrameAttributes.parse(Array("write\thref=https://example.org/w\ttitle=Writes <b>all</b>\ttarget=_blank\n".utf8)).byName
        try open(Self.profile, options: options)
        #expect(
            try browser.value("[...document.querySelectorAll('a')].map((x) => x.textContent + x.getAttribute('href') + x.getAttribute('target')).join()")
                == "writehttps://example.org/w_blank")
        try clickLabel("write") { try $0.move(x: $1, y: $2) }
        #expect(try browser.value("document.querySelector('.tip .said').textContent") == "Writes <b>all</b>")
        _ = try browser.value("(document.addEventListener('click', (event) => { window.followed = !event.defaultPrevented; event.preventDefault(); }), 0)")
        try clickLabel("write")
        #expect(try browser.value("window.followed") == "true")
        #expect(try fragment() == "")
        let place = try browser.value("(() => { const x = document.querySelector('a').getBoundingClientRect(); return [x.right + 20, x.y + 5].join(' '); })()")
            .split(separator: " ").compactMap { Double($0) }
        try #require(place.count == 2)
        try browser.click(x: place[0], y: place[1])
        #expect(try fragment() == "#frame=main;write")
        expectNoComplaints()
    }
}
