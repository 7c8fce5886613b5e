import Foundation
import Testing
@testable import Flamegraph

/// The choice of a command in a real browser.
extension BrowserTests {
    private func openByCommand(_ folded: String = stacksByCommand, _ options: FlamegraphOptions = FlamegraphOptions(), fragment: String = "") throws {
        let file = try directory.write(drawn(byCommand(folded), options), as: "commands.svg")
        try browser.open(file.absoluteString + fragment)
        try browser.wait(for: "document.querySelector('.controls') !== null")
    }

    private func options(_ choice: Int) throws -> String {
        try browser.value("[...document.querySelectorAll('.choices select')[\(choice)].options].map((x) => x.textContent).join('|')")
    }

    /// Chooses as a keyboard does: the control has the focus and gets arrow keys.
    private func choose(_ choice: Int = 0, _ keys: String...) throws {
        _ = try browser.value("document.querySelectorAll('.choices select')[\(choice)].focus()")
        for key in keys { try browser.press(key) }
    }

    private func chosen() throws -> String {
        try browser.value("[...document.querySelectorAll('.choices select')].filter((x) => !x.hidden).map((x) => x.selectedOptions[0].textContent).join('|')")
    }

    private func tip(of label: String) throws -> String {
        try clickLabel(label) { try $0.move(x: $1, y: $2) }
        return try browser.value("[...document.querySelectorAll('.tip tr')].map((x) => [...x.childNodes].map((y) => y.textContent).join(' ')).join('|')")
    }

    @Test func theChoiceNamesCommandsWithSharesAndSamples() throws {
        var pictureOptions = FlamegraphOptions()
        pictureOptions.callsByCommand = ["GET": 12_345, "SET": 1]
        try openByCommand(stacksByCommand, pictureOptions)
        #expect(
            try options(0)
                == "all commands, 100 samples|GET 60 % (50 to 69), 60 samples, 12,345 calls|SET 30 % (22 to 40), 30 samples, 1 call|"
                + "[pipeline] 4 % (2 to 10), 4 samples|[event loop] 4 % (2 to 10), 4 samples|[unknown: io-threads] 2 % (1 to 7), 2 samples")
        #expect(try labels() == "all srv main call poll read write lookup store hash")
        #expect(try chosen() == "all commands, 100 samples")
        try choose(0, "ArrowDown")
        #expect(try status() == "GET 60 % (50 to 69) of 100 samples, 12,345 calls")
        #expect(try options(1) == "all phases|exec 50 % (38 to 62)|reply 50 % (38 to 62)")
        expectNoComplaints()
    }

    @Test func oneCommandIsDrawnAsIfItWereAlone() throws {
        try openByCommand()
        try choose(0, "ArrowDown")
        #expect(try labels() == "GET srv main call write lookup hash")
        #expect(try fragment() == "#frame=&command=GET")
        #expect(try tip(of: "lookup") == "30 samples|50.00 % of GET|100 % of parent|20 self, 33.33 % of GET")
        #expect(try browser.value("[...document.querySelectorAll('.legend text')].map((x) => x.textContent).join('|')") == "Self|user 50.00 %|kernel 50.00 %")
        try choose(1, "ArrowDown")
        #expect(try fragment() == "#frame=&command=GET&phase=exec")
        #expect(try labels() == "GET exec srv main call lookup hash")
        #expect(try status() == "GET exec 30 % (22 to 40) of 100 samples")
        #expect(try tip(of: "hash") == "10 samples|33.33 % of GET exec|33.33 % of parent|10 self, 33.33 % of GET exec")
        _ = try browser.value("history.back()")
        try browser.wait(for: "location.hash === '#frame=&command=GET'")
        try browser.wait(for: "document.querySelectorAll('.labels text').length === 7")
        #expect(try chosen() == "GET 60 % (50 to 69), 60 samples|all phases")
        _ = try browser.value("history.back()")
        try browser.wait(for: "document.querySelectorAll('.labels text').length === 10")
        #expect(try browser.value("[...document.querySelectorAll('.legend text')].map((x) => x.textContent).join('|')") == "Self|user 61.00 %|kernel 39.00 %")
        #expect(try chosen() == "all commands, 100 samples")
        expectNoComplaints()
    }

    /// The page against a picture of nothing but the command's stacks, read by other code.
    @Test func everyCommandIsDrawnAsItsStacksAlone() throws {
        let input = randomByCommand(seed: 21, lines: 250).byCommand
        // Each row's paths, by class.
        let boxes = """
            [...document.querySelectorAll('.boxes g')].map((row) => [...row.querySelectorAll('path')]
              .map((path) => path.getAttribute('class') + path.getAttribute('d')).filter((text) => text.includes('M')).sort().join()).join(' ')
            """
        for command in ["GET", "[event loop]", "[pipeline]", "FT.SEARCH"] {
            let alone = input.split(separator: "\n").filter { $0.hasPrefix("srv;\(command);") }.map { line in
                "srv;" + line.dropFirst("srv;\(command);".count).split(separator: ";").drop { ["exec", "reply", "read"].contains($0) }.joined(separator: ";")
            }
            var options = FlamegraphOptions()
            // Shades depend on neighbours, of which the whole profile has more.
            options.shadesByName = true
            try open(alone.joined(separator: "\n"), options: options)
            let expected = try (browser.value(boxes), labels())
            try openByCommand(input, options, fragment: "#command=" + (command.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? ""))
            #expect(try browser.value(boxes) == expected.0)
            #expect(try labels().dropFirst(command.count) == expected.1.dropFirst("all".count))
        }
        expectNoComplaints()
    }

    @Test func searchZoomCallersAndResetReferToTheCommand() throws {
        try openByCommand(fragment: "#command=SET")
        try browser.press("/")
        try browser.type("r")
        #expect(try status() == "Matched 100 % in 3 frames")
        try browser.press("Escape")
        #expect(try fragment() == "#frame=&command=SET")
        #expect(try status() == "SET 30 % (22 to 40) of 100 samples")
        try clickLabel("call")
        #expect(try status() == "Zoomed to call, 25 samples, 83.33 % of SET")
        #expect(try fragment() == "#frame=srv;main;call&command=SET")
        // The zoom stays where the other command has the frame, and ends where it has not.
        try choose(0, "ArrowUp")
        #expect(try labels() == "GET srv main call lookup hash")
        #expect(try fragment() == "#frame=srv;main;call&command=GET")
        try choose(0, "ArrowDown", "ArrowDown", "ArrowDown")
        #expect(try labels() == "[event loop] srv main poll")
        #expect(try fragment() == "#frame=srv;main&command=%5Bevent%20loop%5D")
        try pushButton("Show everything, end the search (Escape)")
        #expect(try fragment() == "#frame=&command=%5Bevent%20loop%5D")
        #expect(try browser.value("document.querySelectorAll('.choices select')[1].hidden") == "true")
        try choose(0, "Home", "ArrowDown")
        try pushButton("Merge stacks from their leaves: who calls a function")
        #expect(try labels() == "GET hash lookup write lookup call main call main srv main srv srv")
        #expect(try fragment() == "#frame=&view=callers&command=GET")
        try choose(1, "ArrowDown", "ArrowDown")
        #expect(try labels() == "GET reply write main srv")
        try choose(0, "Home")
        #expect(try fragment() == "#frame=&view=callers")
        #expect(try labels().hasPrefix("all hash lookup poll read"))
        expectNoComplaints()
    }

    @Test func aLinkHoldsTheCommandAndSaysWhatIsMissing() throws {
        try openByCommand(fragment: "#frame=srv;main&search=look&view=callers&command=GET&phase=reply")
        #expect(try chosen() == "GET 60 % (50 to 69), 60 samples|reply 50 % (38 to 62)")
        try openByCommand(fragment: "#frame=&command=NONE")
        #expect(try status() == "This profile has no such command: NONE")
        #expect(try labels().hasPrefix("all srv "))
        try openByCommand(fragment: "#frame=&command=SET&phase=reply")
        #expect(try chosen() == "SET 30 % (22 to 40), 30 samples|all phases")
        // A picture without commands has none to choose.
        try open(stacksMerged, fragment: "#frame=&command=GET")
        #expect(try status() == "This profile has no such command: GET")
        #expect(try browser.value("document.querySelector('.choices').offsetHeight") == "0")
        expectNoComplaints()
    }

    @Test func weightsOfFramesThatAreNotDrawnCount() throws {
        var options = FlamegraphOptions()
        options.minWidth = 15
        try openByCommand(stacksByCommand, options, fragment: "#command=SET")
        #expect(try labels() == "SET srv main call store")
        #expect(try tip(of: "main") == "30 samples|100 % of SET|100 % of parent|0 self, 0 % of SET")
        try pushButton("Merge stacks from their leaves: who calls a function")
        #expect(try labels() == "SET (narrower frames) store main call srv main srv")
        #expect(try browser.value("document.querySelectorAll('.legend text')[2].textContent") == "kernel 16.67 %")
        expectNoComplaints()
    }

    @Test func timesHaveNoIntervalsAndLargeWeightsAreExact() throws {
        let large = "srv;GET;exec;a 9007199254740993\nsrv;SET;exec;a 18000000000000000000\nsrv;GET;exec;a;b 2\n"
        try openByCommand(large, FlamegraphOptions(countName: "bytes"), fragment: "#command=GET")
        #expect(try options(0).hasSuffix("|GET 0.05 %, 9,007,199,254,740,995 bytes"))
        #expect(try tip(of: "a").hasPrefix("9,007,199,254,740,995 bytes|100 % of GET|"))
        try openByCommand("srv;GET;exec;a 3000000\nsrv;SET;exec;a 1000000\n", FlamegraphOptions(countName: "ns"))
        #expect(try options(0) == "all commands, 4 ms of time|GET 75.00 %, 3 ms of time|SET 25.00 %, 1 ms of time")
        expectNoComplaints()
    }

    @Test func theChoiceIsAControlLikeTheOthers() throws {
        try openByCommand()
        #expect(try browser.value("[...document.querySelectorAll('.choices select')].every((x) => x.getAttribute('aria-label'))") == "true")
        // Tab reaches it behind the last button; keys that walk through the graph do not leave it.
        _ = try browser.value("document.querySelector('[aria-label^=\"Show everything\"]').focus()")
        try browser.press("Tab")
        #expect(try browser.value("document.activeElement.getAttribute('aria-label')") == "Command whose stacks are shown")
        try browser.press("ArrowDown")
        #expect(try fragment() == "#frame=&command=GET")
        #expect(try browser.value("document.querySelector('.graph').hasAttribute('aria-activedescendant')") == "false")
        for width in [320, 520, 800, 1000, 1400] {
            try browser.resize(width: width, height: 700)
            try browser.wait(for: "document.documentElement.getAttribute('viewBox').startsWith('0 0 \(width) ')")
            let problems = try browser.value(
                """
                (() => { const boxes = [...document.querySelectorAll('.bar input, .bar button, .choices select')].map((x) => x.getBoundingClientRect());
                  const texts = [...document.querySelectorAll('.headline, .legend text, .status')].map((x) => x.getBoundingClientRect());
                  const meet = (a, b) => a !== b && a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
                  return boxes.filter((x) => x.left < 0 || x.right > \(width) || x.width < 20 || boxes.concat(texts).some((y) => meet(x, y))).length; })()
                """)
            #expect(problems == "0", "\(width)")
        }
        expectNoComplaints()
    }

    @Test func hostileCommandsStayText() throws {
        let names = ["<b>&amp\"x", "</script><script>alert(1)</script>", "__PROTO__", "A&command=GET#?%"]
        try openByCommand(names.map { "srv;\($0);exec;main 1\n" }.joined())
        for (index, name) in names.sorted().enumerated() {
            try choose(0, "Home")
            for _ in 0...index { try choose(0, "ArrowDown") }
            #expect(try status().hasPrefix(name))
            #expect(try chosen().hasPrefix(name))
            let link = try fragment()
            _ = try browser.value("history.back()")
            try openByCommand(names.map { "srv;\($0);exec;main 1\n" }.joined(), fragment: link)
            #expect(try status().hasPrefix(name))
        }
        #expect(try browser.value("document.querySelectorAll('script').length") == "1")
        expectNoComplaints()
    }
}
