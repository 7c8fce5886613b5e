import Foundation
import KilnModel
import TestSupport
import Testing
@testable import KilnReport
@testable import KilnSessions

/// The page in a real browser, used as a person uses it.
@Suite(.serialized, .timeLimit(.minutes(3)), .enabled(if: Browser.executable != nil, "chromium is not installed"))
struct PageBrowserTests {
    let directory: TemporaryDirectory
    let browser: Browser

    init() throws {
        directory = try TemporaryDirectory()
        browser = try Browser(width: 1400, height: 1000)
    }

    /// A session, 60 s, in which EVAL is slow in seconds 20 to 24.
    func open(fragment: String = "", _ change: (inout GeneratedSession) -> Void = { _ in }) throws {
        var session = GeneratedSession()
        session.slowSeconds = 20...24
        session.hasOffCPU = true
        change(&session)
        let place = directory.url.appendingPathComponent("session")
        try? FileManager.default.removeItem(at: place)
        try session.write(to: place)
        try show(try page(of: DiskFiles(url: place)), fragment: fragment)
    }

    func show(_ page: [UInt8], fragment: String = "") throws {
        let file = directory.url.appendingPathComponent("report.html")
        try Data(page).write(to: file)
        try browser.open(file.absoluteString + fragment)
        try browser.wait(for: "window.kilnReport !== undefined && kilnReport.isReady")
    }

    func expectNoComplaints() {
        #expect(browser.complaints.isEmpty, "\(browser.complaints)")
        #expect(browser.requests.isEmpty, "\(browser.requests)")
    }

    static func map(_ command: String, _ session: Int = 0) -> String {
        "[...document.querySelectorAll('.report-map')].filter((map) => map.map.panel.title === '\(command)')[\(session)]"
    }

    /// A point in a command's heatmap, in shares of its width from the left and of its height from the bottom.
    func point(_ command: String, _ across: Double, _ up: Double, session: Int = 0) throws -> (x: Double, y: Double) {
        let place = try browser.value(
            """
            (() => { const map = \(Self.map(command, session)); map.scrollIntoView({ block: 'center' }); const box = map.getBoundingClientRect();
              return [box.x + box.width * \(across), box.y + box.height * (1 - \(up))].join(' '); })()
            """
        ).split(separator: " ").compactMap { Double($0) }
        try #require(place.count == 2)
        // Scrolling draws what comes into view.
        try browser.wait(for: "\(Self.map(command, session)).map.grid !== null")
        return (place[0], place[1])
    }

    func drag(_ command: String, across: ClosedRange<Double>, up: ClosedRange<Double>, control: Bool = false, session: Int = 0) throws {
        let from = try point(command, across.lowerBound, up.lowerBound, session: session),
            to = try point(command, across.upperBound, up.upperBound, session: session)
        let before = try words()
        try browser.drag(from: from, to: to, control: control)
        let said = before.replacing("'", with: "\\'")
        try browser.wait(for: "document.querySelector('.report-words').textContent !== '\(said)'")
    }

    func words() throws -> String { try browser.value("document.querySelector('.report-words').textContent") }
    /// The names that the flamegraph shows, once it is painted.
    func labels() throws -> [String] { try browser.flamegraphLabels() }

    func fragment() throws -> String { try browser.value("location.hash") }
    func push(_ selector: String) throws {
        let place = try browser.value(
            "(() => { const one = document.querySelector(\"\(selector)\"); one.scrollIntoView({ block: 'center' }); const box = one.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2].join(' '); })()"
        ).split(separator: " ").compactMap { Double($0) }
        try #require(place.count == 2)
        try browser.click(x: place[0], y: place[1])
    }

    /// The cells are where the session has them, each one.
    @Test func cellsAreThoseOfTheSession() throws {
        try open()
        for (command, phase) in [("EVAL", "service"), ("GET", "queue")] {
            let found = try browser.value("(async () => JSON.stringify(await kilnReport.cellsOf('\(command)', '\(phase)')))()")
            var expected: Set<[Int]> = []
            let rows = try String(contentsOf: directory.url.appendingPathComponent("session/commands.jsonl"), encoding: .utf8)
            for line in rows.split(separator: "\n") {
                let row = try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
                guard row["command"] as? String == command, row["phase"] as? String == phase, let time = row["time"] as? String else { continue }
                let second = Int((ISO8601DateFormatter.milliseconds(time) / 1000).rounded()) - GeneratedSession.start - 1
                for slot in row["slots"] as? [[Int]] ?? [] { expected.insert([second, GeneratedSession.slot(UInt64(slot[0])), slot[2]]) }
            }
            let cells = try #require(try JSONSerialization.jsonObject(with: Data(found.utf8)) as? [[Int]])
            #expect(Set(cells) == expected && cells.count == expected.count)
        }
        expectNoComplaints()
    }

    /// The slow seconds of EVAL are seen, and selecting them shows the slow function; others don't.
    @Test func theSlowSecondsShowTheSlowFunction() throws {
        try open()
        #expect(try labels().contains("main"))
        // Seconds 20 to 24 of 60, above the usual latency.
        try drag("EVAL", across: (20.3 / 60)...(24.7 / 60), up: 0.55...0.97)
        #expect(try words().hasPrefix("EVAL, 12:00:20 to 12:00:25, service "))
        #expect(try labels().contains(GeneratedSession.slowFunction))
        #expect(try fragment().hasPrefix("#command=EVAL&from=2026-11-30T12:00:20.000Z&to=2026-11-30T12:00:25.000Z&low="))
        try drag("EVAL", across: (30.3 / 60)...(50.7 / 60), up: 0.02...0.5)
        #expect(try labels().contains("evalCommand"))
        #expect(try !labels().contains(GeneratedSession.slowFunction))
        try drag("GET", across: (20.3 / 60)...(24.7 / 60), up: 0.01...0.99)
        #expect(try words().hasPrefix("GET, 12:00:20 to 12:00:25: "))
        #expect(try !labels().contains(GeneratedSession.slowFunction))
        expectNoComplaints()
    }

    @Test func backForwardAndLinksWork() throws {
        try open()
        try drag("EVAL", across: (20.3 / 60)...(24.7 / 60), up: 0.55...0.97)
        let first = try words(), link = try fragment()
        try drag("GET", across: 0.1...0.2, up: 0.01...0.99)
        let second = try words()
        #expect(first != second)
        _ = try browser.value("history.back()")
        try browser.wait(for: "document.querySelector('.report-words').textContent.startsWith('EVAL')")
        #expect(try words() == first)
        _ = try browser.value("history.forward()")
        try browser.wait(for: "document.querySelector('.report-words').textContent.startsWith('GET')")
        #expect(try words() == second)
        // The link holds in a page of the same session that was made anew, here with other columns.
        try open(fragment: link) { $0.seconds = 90 }
        #expect(try words().hasPrefix("EVAL, 12:00:20 to 12:00:25, service "))
        #expect(try labels().contains(GeneratedSession.slowFunction))
        try open(fragment: "#command=NOSUCH&from=x&low=y")
        #expect(try words().hasPrefix("all work, the whole session"))
        expectNoComplaints()
    }

    @Test func aSecondSelectionIsCompared() throws {
        try open()
        try drag("EVAL", across: (20.3 / 60)...(24.7 / 60), up: 0.01...0.99)
        try drag("EVAL", across: (30.3 / 60)...(44.7 / 60), up: 0.01...0.99, control: true)
        #expect(try words().contains("compared with EVAL, 12:00:30 to 12:00:45: "))
        #expect(try words().hasSuffix("scaled to as many calls"))
        #expect(try browser.value("document.querySelectorAll('.flamegraph .bands').length > 0") == "true")
        #expect(try labels().contains { $0 == "✚" || $0 == "▲" })
        #expect(try fragment().contains("&compare=1&with-command=EVAL&with-from=2026-11-30T12:00:30.000Z"))
        try push(".report-actions button:nth-child(2)")
        try browser.wait(for: "document.querySelector('.report-words').textContent.startsWith('EVAL, 12:00:30')")
        try push(".report-actions button:nth-child(3)")
        try browser.wait(for: "document.querySelector('.report-words').textContent.startsWith('all work')")
        #expect(try fragment() == "")
        expectNoComplaints()
    }

    @Test func aSearchMarksFramesAndCells() throws {
        try open()
        try browser.press("/")
        try browser.type(GeneratedSession.slowFunction)
        try browser.wait(for: "document.querySelector('.flamegraph .status').textContent.startsWith('Matched')")
        #expect(try browser.value("document.querySelectorAll('.flamegraph .match').length > 0") == "true")
        // Marks only in EVAL, and only where it was slow.
        let marked = """
            (() => { const marks = \(Self.map("EVAL")).querySelector('.report-marks'), all = marks.getContext('2d').getImageData(0, 0, marks.width, marks.height).data;
              let least = 1, most = 0;
              for (let at = 3; at < all.length; at += 4) if (all[at] > 0) { const x = (at >> 2) % marks.width / marks.width; least = Math.min(least, x); most = Math.max(most, x); }
              return [least, most].join(' '); })()
            """
        let range = try browser.value(marked).split(separator: " ").compactMap { Double($0) }
        #expect(range[0] >= 19.9 / 60 && range[1] <= 25.1 / 60 && range[1] > 20.0 / 60, "\(range)")
        #expect(
            try browser.value(
                "(() => { const marks = \(Self.map("GET")).querySelector('.report-marks'); return marks.getContext('2d').getImageData(0, 0, marks.width, marks.height).data.every((x) => x === 0); })()"
            ) == "true")
        #expect(try fragment().contains("search=\(GeneratedSession.slowFunction)"))
        expectNoComplaints()
    }

    @Test func theKeyboardSelects() throws {
        try open()
        _ = try browser.value("\(Self.map("GET")).focus()")
        try browser.press("ArrowRight", "ArrowRight", "ArrowRight")
        #expect(try browser.value("document.querySelector('.report-unseen[role=status]').textContent").hasPrefix("12:00:02 to 12:00:03, service "))
        try browser.press("ArrowRight", "ArrowRight", shift: true)
        try browser.press("Enter")
        try browser.wait(for: "document.querySelector('.report-words').textContent.startsWith('GET, 12:00:02 to 12:00:05, service')")
        try browser.press("Escape")
        try browser.wait(for: "document.querySelector('.report-words').textContent.startsWith('all work')")
        expectNoComplaints()
    }

    @Test func filtersAndPhasesWork() throws {
        try open()
        _ = try browser.value(
            "(() => { const select = document.querySelector('.report-filters select'); select.value = '=off-cpu'; select.dispatchEvent(new Event('change')); })()"
        )
        try browser.wait(for: "document.querySelector('.report-words').textContent.includes('off-cpu')")
        #expect(try fragment() == "#kind=off-cpu")
        try push("[data-show=queue]")
        try browser.wait(for: "document.querySelector('[data-show=queue]').getAttribute('aria-pressed') === 'true'")
        #expect(try browser.value("document.querySelector('.report-hint').textContent").contains("in the view of queue the height selects nothing"))
        try drag("GET", across: 0.2...0.3, up: 0.4...0.6)
        #expect(try !fragment().contains("low="))
        for show in ["rate", "errors"] {
            try push("[data-show=\(show)]")
            try browser.wait(for: "\(Self.map("EVAL")).map.grid?.series !== undefined")
        }
        expectNoComplaints()
    }

    @Test func everySelectionsSumIsThatOfTheFile() throws {
        try open {
            $0.hasThreads = true
            $0.seconds = 45
        }
        let file = try SampleFile(directory.url.appendingPathComponent("session"))
        var random = SeededGenerator(seed: 25)
        var filters: [[String: Any]] = []
        var expected: [UInt64] = []
        let start = Double(GeneratedSession.start) * 1000
        for _ in 0..<1_000 {
            var filter: [String: Any] = ["kind": Bool.random(using: &random) ? "on-cpu" : "off-cpu"]
            if Bool.random(using: &random) { filter["command"] = ["GET", "EVAL", "SET", "ZADD", "[event loop]"].randomElement(using: &random) }
            if Int.random(in: 0..<3, using: &random) > 0 {
                let from = Int.random(in: 0..<45, using: &random)
                filter["from"] = start + Double(from) * 1000
                filter["to"] = start + Double(Int.random(in: (from + 1)...46, using: &random)) * 1000
            }
            if Bool.random(using: &random) {
                let low = Int.random(in: 15..<36, using: &random)
                filter["low"] = GeneratedSession.lower(8 * low)
                filter["high"] = GeneratedSession.lower(8 * (low + Int.random(in: 1..<12, using: &random)))
            }
            if Int.random(in: 0..<3, using: &random) == 0 { filter["work"] = ["exec", "read", "reply"].randomElement(using: &random) }
            if Int.random(in: 0..<4, using: &random) == 0 { filter["thread"] = ["io_thd_1", "io_thd_2"].randomElement(using: &random) }
            if Int.random(in: 0..<4, using: &random) == 0 { filter["state"] = ["sleeping", "uninterruptible", "runnable"].randomElement(using: &random) }
            filters.append(filter)
            expected.append(
                file.samples.filter { sample in
                    func has(_ field: String, _ value: String?) -> Bool { filter[field].map { $0 as? String == value } ?? true }
                    let group = sample.group
                    guard has("kind", group.kind), has("command", group.command), has("work", group.phase), has("thread", group.thread),
                        has("state", group.state)
                    else {
                        return false
                    }
                    if let from = filter["from"] as? Double, let to = filter["to"] as? Double, sample.middle < from || sample.middle > to { return false }
                    guard let low = filter["low"] as? UInt64, let high = filter["high"] as? UInt64 else { return true }
                    return group.low.map { low <= $0 && $0 < high } ?? false
                }.reduce(0) { $0 + $1.weight })
        }
        let text = String(decoding: try JSONSerialization.data(withJSONObject: filters), as: UTF8.self)
        let sums = try browser.value(
            "(async () => { const sums = []; for (const filter of \(text)) sums.push((await kilnReport.sumOf(filter)).weight); return sums.join(' '); })()")
        #expect(sums.split(separator: " ").map { UInt64($0) } == expected)
        #expect(expected.filter { $0 > 0 }.count > 300)
        expectNoComplaints()
    }

    @Test func theNightIsDarkAndTheDayIsLight() throws {
        try open()
        let ground = "getComputedStyle(document.body).backgroundColor + getComputedStyle(document.querySelector('.flamegraph .ink')).fill"
        #expect(try browser.value(ground) == "rgb(253, 252, 250)rgb(31, 35, 40)")
        try push(".report-head button")
        #expect(try browser.value(ground) == "rgb(22, 24, 28)rgb(240, 238, 233)")
        try push(".report-head button")
        try browser.prefer("dark")
        #expect(try browser.value(ground) == "rgb(253, 252, 250)rgb(31, 35, 40)")
        try open()
        #expect(try browser.value(ground) == "rgb(22, 24, 28)rgb(240, 238, 233)")
        expectNoComplaints()
    }

    /// On paper it is day, all heatmaps are drawn, and controls are left out.
    @Test func thePageIsPrintedWhole() throws {
        try open { $0.commands = 12 }
        try browser.prefer("dark")
        let pdf = try browser.pdf(landscape: true)
        #expect(pdf.count > 50_000)
        try browser.prefer("light", media: "print")
        _ = try browser.value("window.dispatchEvent(new Event('beforeprint'))")
        #expect(
            try browser.value("[...document.querySelectorAll('.report-map')].every((map) => map.querySelector('canvas').width > 300 && map.map.grid !== null)")
                == "true")
        #expect(try browser.value("getComputedStyle(document.querySelector('.report-pane')).maxHeight") == "none")
        #expect(try browser.value("getComputedStyle(document.querySelector('.report-filters')).display") == "none")
        expectNoComplaints()
    }

    @Test func thePageTellsThoseWhoCannotSee() throws {
        try open()
        #expect(
            try browser.value("[...document.querySelectorAll('.report-map')].every((map) => map.getAttribute('role') && map.getAttribute('aria-label'))")
                == "true")
        #expect(
            try browser.value("[...document.querySelectorAll('button, select, input')].every((one) => one.textContent || one.getAttribute('aria-label'))")
                == "true")
        try push(".report-link")
        try browser.wait(for: "document.querySelectorAll('.report-panel-table tbody tr').length > 0")
        #expect(try browser.value("document.querySelector('.report-panel-table tbody tr').textContent").hasPrefix("12:00:0012:00:01"))
        expectNoComplaints()
    }

    @Test func tablesSort() throws {
        try open()
        let first = "document.querySelector('.report-card tbody th').textContent"
        try push(".report-card th:nth-child(2) .report-sort")
        #expect(try browser.value(first) == "GET")
        #expect(try browser.value("document.querySelector('.report-card th:nth-child(2)').getAttribute('aria-sort')") == "descending")
        try push(".report-card th:nth-child(2) .report-sort")
        #expect(try browser.value(first) != "GET")
        #expect(try browser.value("[...document.querySelectorAll('.report-sort')].every((one) => one.title.length > 5)") == "true")
        expectNoComplaints()
    }

    @Test func hostileNamesStayText() throws {
        let hostile = "</script><img src=x onerror=alert(1)><b>&\\\"';\\u202e\\u0000"
        let record = emptyRecord.replacing("\"redis-server\"", with: "\"\(hostile)\"").replacing("\"lost\":{}", with: "\"lost\":{\"\(hostile)\":3}")
            .replacing("\"clients\":{}", with: "\"clients\":{\"\(hostile)\":{\"commands\":1,\"received_bytes\":1,\"sent_bytes\":1}}")
        let samples = ReadingTests.tables.replacing("\"main\"", with: "\"\(hostile)\"").replacing("\"GET\"", with: "\"\(hostile)\"").replacing(
            "\"redis-server\"", with: "\"\(hostile)\"")
        let files = MemoryFiles(
            texts: [
                "session.json": record, "commands.jsonl": (1...5).map { row($0, hostile, phase: $0 % 2 == 0 ? "service" : "\(hostile)\($0)") }.joined(),
                "samples.jsonl": samples + ReadingTests.interval(1, "[0,1,2,0,1],[1,1,5000]"),
            ])
        try show(try page(of: files))
        #expect(try browser.value("document.images.length + document.querySelectorAll('b, [onerror]').length") == "0")
        #expect(
            try browser.value("document.querySelector('.report-name').textContent").hasPrefix("</script><img src=x onerror=alert(1)><b>&\"';\\u{202e}\\x00"))
        try push(".report-name")
        try browser.wait(for: "document.querySelector('.report-words').textContent.startsWith('</script>')")
        let link = try fragment()
        try show(try page(of: files), fragment: link)
        #expect(try words().hasPrefix("</script>"))
        expectNoComplaints()
    }

    @Test func sessionsThatHaveLittleStillHaveAPage() throws {
        try show(try page(of: MemoryFiles(texts: ["session.json": emptyRecord])))
        #expect(try browser.value("document.body.textContent").contains("There is no commands.jsonl"))
        #expect(try browser.value("document.querySelector('.report-empty').textContent") == "This session has no stacks.")
        let folded = "redis-server;GET;exec;main;call 7\nredis-server;[event loop];main;poll_[k] 3\n"
        try show(try page(of: MemoryFiles(texts: ["session.json": emptyRecord, "commands.jsonl": row(1) + row(2), "stacks.by-command.folded": folded])))
        #expect(try browser.value("document.querySelector('.report-missing').textContent").hasPrefix("There is no samples.jsonl"))
        #expect(try words().contains("10 samples"))
        try push(".report-name")
        try browser.wait(for: "document.querySelector('.report-words').textContent.includes(' 7 samples')")
        // A file of samples that has none is as good as no file.
        for (samples, folded, missing, empty) in [
            ("", "", "", "This session has no stacks."), ("", folded, "samples.jsonl has no samples: the flamegraph is that of the whole session", ""),
            ("{\"samples\":1,\"slots_per_band\":8,\"kinds\":[]}\n", "", "", "This session has no stacks."),
        ] {
            try show(
                try page(
                    of: MemoryFiles(texts: [
                        "session.json": emptyRecord, "commands.jsonl": row(1), "samples.jsonl": samples, "stacks.by-command.folded": folded,
                    ])))
            let said = try browser.value("[...document.querySelectorAll('.report-missing')].filter((one) => !one.hidden).map((one) => one.textContent).join()")
            #expect(missing.isEmpty ? said.isEmpty : said.hasPrefix(missing), "\(said)")
            let place = try browser.value("[...document.querySelectorAll('.report-empty')].filter((one) => !one.hidden).map((one) => one.textContent).join()")
            #expect(place == empty)
        }
        expectNoComplaints()
    }

    /// A link from another session.
    @Test func aLinkToWhatIsNotThereSaysSo() throws {
        let notice = "[...document.querySelectorAll('.report-missing')].filter((one) => !one.hidden).map((one) => one.textContent).join()"
        try open(fragment: "#command=NONE&thread=x&state=sleeping&work=exec")
        let said = try browser.value(notice)
        #expect(said.contains("a command that this session does not have: NONE") && said.contains("thread x") && !said.contains("sleeping"), "\(said)")
        #expect(try words().hasPrefix("all work, the whole session"))
        try open(fragment: "#command=EVAL")
        #expect(try browser.value(notice).isEmpty && words().hasPrefix("EVAL"))
        expectNoComplaints()
    }

    /// Time in which nothing happened is time, too.
    @Test func silentTimeCounts() throws {
        let record = emptyRecord.replacing("\"duration_s\":10", with: "\"duration_s\":40")
        try show(try page(of: MemoryFiles(texts: ["session.json": record, "commands.jsonl": [1, 2, 20, 30].map { row($0) }.joined()])))
        #expect(try browser.value("kilnReport.sumOf({}).then((sum) => sum.seconds)") == "40")
        let range = "from: Date.parse('2026-11-30T12:00:01Z'), to: Date.parse('2026-11-30T12:00:20Z')"
        #expect(try browser.value("kilnReport.sumOf({ \(range) }).then((sum) => [sum.seconds, sum.calls].join())") == "19,2")
        expectNoComplaints()
    }

    @Test func timesBeyondMidnightHaveTheirDay() throws {
        let night = row(1).replacing("2026-11-30T12:00:01", with: "2026-11-30T23:59:59"), morning = row(1).replacing("2026-11-30T12", with: "2026-12-01T00")
        try show(try page(of: MemoryFiles(texts: ["session.json": emptyRecord, "commands.jsonl": night + morning])))
        #expect(try browser.value("document.querySelector('.report-times').textContent").contains("12-01 00:00:0"))
        try show(try page(of: MemoryFiles(texts: ["session.json": emptyRecord, "commands.jsonl": row(1) + row(2)])))
        #expect(try !browser.value("document.querySelector('.report-times').textContent").contains("-"))
        expectNoComplaints()
    }

    /// Merged intervals add up beyond 32 bits.
    @Test func largeCountsStayWhole() throws {
        let rows = (1...1_001).map { row($0, slots: "[1024,1088,4000000000]") }.joined()
        try show(try page(of: MemoryFiles(texts: ["session.json": emptyRecord, "commands.jsonl": rows], pieceLength: 1 << 16)))
        #expect(try browser.value("kilnReport.cellsOf('GET', 'service').then((cells) => cells[0].join())") == "0,112,8000000000")
        expectNoComplaints()
    }

    /// Numbers of several units in one column sort as numbers, not as their texts.
    @Test func numbersWithUnitsSortAsNumbers() throws {
        let processes = [999, 1000, 20].map { "{\"pid\":\($0),\"comm\":\"worker\",\"samples\":\($0 + 1)}" }.joined(separator: ",")
        let record = emptyRecord.replacing("\"kernel_truncated\":0", with: "\"kernel_truncated\":0,\"processes\":[\(processes)]")
        try show(try page(of: MemoryFiles(texts: ["session.json": record])))
        let card = "[...document.querySelectorAll('.report-card')].find((card) => card.textContent.startsWith('Processes'))"
        _ = try browser.value("\(card).querySelectorAll('.report-sort')[1].click()")
        #expect(try browser.value("[...\(card).querySelectorAll('tbody tr')].map((row) => row.children[1].textContent).join()") == "1000,999,20")
        expectNoComplaints()
    }

    @Test func recordedProcessesHaveHeatmapsOfTheirSamples() throws {
        let record = emptyRecord.replacing("\"socket\"", with: "\"none\"")
        let samples = recordedSamples(intervals: 200, of: 50) { (1, $0 % 20 == 7 ? 30 : 0) }
        try show(try page(of: MemoryFiles(texts: ["session.json": record, "samples.jsonl": samples], pieceLength: 4_096)))
        #expect(try browser.value("document.querySelectorAll('.report-map').length") == "1")
        #expect(try labels().contains("burst"))
        // The bursts are in the seventh of twenty parts of each second.
        try drag("burn", across: 0.1...0.9, up: 0.6...0.9)
        #expect(try !labels().contains("burst"))
        try drag("burn", across: 0.1...0.9, up: 0.3...0.34)
        #expect(try labels().contains("burst"))
        #expect(try words().contains("of each second"))
        expectNoComplaints()
    }

    @Test func twoSessionsAreCompared() throws {
        var trie = StackTrie()
        var sessions: [ReportSession] = []
        for (name, slow) in [("a", nil), ("b", 10...50)] as [(String, ClosedRange<Int>?)] {
            var generated = GeneratedSession()
            generated.slowSeconds = slow
            let place = directory.url.appendingPathComponent(name)
            try generated.write(to: place)
            sessions.append(try ReportSession(DiskFiles(url: place), into: &trie, keepsRows: true))
        }
        let recorded = sessions.map { SessionComparison.Recorded(rows: $0.rows, duration: $0.record.durationS, interval: $0.record.intervalS) }
        let page = try ReportPage(before: sessions[0], after: sessions[1], SessionComparison(recorded[0], recorded[1]), trie: trie, version: "test") { _ in nil
        }.html
        try show(page)
        #expect(try browser.value("document.querySelector('.report-moved tbody tr').textContent").hasPrefix("EVAL"))
        #expect(try browser.value("document.querySelectorAll('.report-map').length") == "14")
        // Both of a command have the same scale.
        #expect(
            try browser.value(
                "[0, 1].map((at) => [...document.querySelectorAll('.report-map')].filter((map) => map.map.panel.title === 'EVAL')[at].map.grid.lowest).every((slot, at, all) => slot === all[0])"
            ) == "true")
        #expect(try words().hasPrefix("session B, all work, the whole session: "))
        #expect(try words().contains("compared with session A, all work, the whole session: "))
        #expect(try labels().contains("✚"))
        // A command, by its name; then a part of it in each session.
        _ = try browser.value("[...document.querySelectorAll('.report-name')].find((name) => name.textContent === 'EVAL').click()")
        try browser.wait(for: "document.querySelector('.report-words').textContent.startsWith('session B, EVAL, the whole session')")
        #expect(try words().contains("compared with session A, EVAL, the whole session"))
        try drag("EVAL", across: (20.3 / 60)...(24.7 / 60), up: 0.01...0.99, session: 0)
        try drag("EVAL", across: (30.3 / 60)...(44.7 / 60), up: 0.01...0.99, session: 1)
        #expect(try words().hasPrefix("session B, EVAL, 12:00:30 to 12:00:45: "))
        #expect(try words().contains("compared with session A, EVAL, 12:00:20 to 12:00:25: "))
        let link = try fragment(), said = try words()
        try show(page, fragment: link)
        #expect(try words() == said)
        expectNoComplaints()
    }
}
