import Foundation
import Testing
@testable import Flamegraph

/// Options as `kiln collapse perf` has them without flags.
private var marked: CollapseOptions {
    var options = CollapseOptions()
    (options.marksKernel, options.marksJIT, options.marksInlined) = (true, true, true)
    return options
}

private func frame(_ symbol: String, _ module: String = "/bin/a", _ options: CollapseOptions = marked) -> String {
    let text = "a 1 [000] 1.000000: e:\n\t 7f001f \(symbol) (\(module))\n\n"
    return collapse(Array(text.utf8), options).lines.joined(separator: "\n")
}

@Suite struct CollapseTests {
    static let cases = [
        "arrow-in-rust-type", "arrow-in-swift-type", "bpf-program-kind", "empty-symbol", "frames-without-indentation", "hexadecimal-comm",
        "number-at-end-of-comm", "one-line-without-module", "record-lines", "time-of-day",
    ]

    @Test(arguments: cases)
    func textThatWasReadWronglyIsReadRight(name: String) throws {
        let directory = PerfScriptTests.fixtures.deletingLastPathComponent().appendingPathComponent("collapse")
        let result = collapse(Array(try Data(contentsOf: directory.appendingPathComponent("\(name).perf"))), marked)
        let known = try String(contentsOf: directory.appendingPathComponent("\(name).folded"), encoding: .utf8)
        #expect(Set(result.lines) == Set(known.split(separator: "\n").map(String.init)))
        #expect(result.report.rejectedCount == 0)
    }

    @Test func arrowsOfTypesBelongToTheName() {
        for symbol in [
            "decltype ((a) -> (b))", "f<int (*)(int) -> void>", "closure #1 (Swift.Int) -> Swift.String in x.run() -> ()", "operator->",
        ] { #expect(!frame(symbol).dropFirst(2).contains(";"), "\(symbol)") }
        #expect(frame("RegExp:a->b(c|d)", "/tmp/perf-1.map") == "a;RegExp:a->b(c|d)_[j] 1")
        #expect(frame("La/B;::x->La/C;::y", "/tmp/perf-1.map") == "a;a/B:::x_[j];a/C:::y_[i] 1")
    }

    @Test func namesAreAsInTheirSource() {
        let jit = "/tmp/perf-1.map"
        let cases = [
            ("core::ptr::write::haabbb39ab969e5ac", "/bin/a", "core::ptr::write"),
            ("_$LT$core..option..Option$LT$T$GT$$GT$::map::h4d3efd64a17eb7e4", "/bin/a", "<core::option::Option<T>>::map"),
            ("Ljava/lang/String;::indexOf(Ljava/lang/String;I)I", jit, "java/lang/String:::indexOf_[j]"),
            ("void Foo.bar(java.lang.String, int)", jit, "Foo.bar_[j]"), ("Ljava/util/concurr", jit, "java/util/concurr_[j]"),
            ("LazyCompile:~f /home/a.js:1", jit, "LazyCompile:~f /home/a.js:1_[j]"), ("RegExp:(a|b)", jit, "RegExp:(a|b)_[j]"),
            ("it's \"quoted\"", "/bin/a", "it's \"quoted\""),
        ]
        for (symbol, module, name) in cases { #expect(frame(symbol, module) == "a;\(name) 1", "\(symbol)") }
        var options = marked
        options.demangle = { $0 == "_ZN1a1bEv" ? "a::b" : nil }
        #expect(frame("_ZN1a1bEv", "/bin/a", options) == "a;a::b 1")
        #expect(frame("f+0x12", "/lib/libc.so.6+0x1f2c") == "a;f 1")
        #expect(frame("", "/lib/libc.so.6+0x1f2c") == "a;[libc.so.6] 1")
    }

    @Test func kindsFollowFromModules() {
        let cases = [
            ("[vdso]", ""), ("[vsyscall]", ""), ("[kernel.kallsyms]", "_[k]"), ("[nf_tables]", "_[k]"), ("/proc/kcore", "_[k]"),
            ("/usr/lib/debug/lib/modules/6.1/kernel/fs/ext4.ko.debug", "_[k]"), ("/usr/lib/debug/boot/vmlinux.debug", "_[k]"),
            ("/lib/modules/6.1/kernel/fs/ext4.ko.zst", "_[k]"), ("bpf_prog_6deef7357e7b4530_count", "_[k]"), ("bpf_trampoline_123", "_[k]"),
            ("/tmp/perf-12.map", "_[j]"), ("/tmp/jitted-12-3.so", "_[j]"), ("//anon", "_[j]"), ("[anon:v8]", "_[j]"), ("/memfd:doublemapper (deleted)", "_[j]"),
            ("/tmp/perf-x.map", ""), ("/lib/libc.so.6", ""), ("[heap]", ""),
        ]
        for (module, mark) in cases { #expect(frame("f", module) == "a;f\(mark) 1", "\(module)") }
    }

    @Test func deferredCallChainsAreJoined() {
        let text = """
            pwd  2312 [001] 121.163435:  7 cycles:
            \t ffffffff845b78d8 k1 ([kernel.kallsyms])
            \t b00000006 (cookie) ([unknown])

            pwd  2312 [001] 121.163440:  5 cycles:
            \t ffffffff845b78d8 k2 ([kernel.kallsyms])
            \t b00000007 (cookie) ([unknown])

            pwd  2312 [001] 121.163447: DEFERRED CALLCHAIN [cookie: b00000006]
            \t 7f18fe337fa7 leaf (/lib/libc.so.6)
            \t 7f18fe331448 root (/lib/libc.so.6)

            """
        let result = collapse(Array(text.utf8))
        #expect(Set(result.lines) == ["pwd;root;leaf;k1 7", "pwd;k2 5"])
        #expect(result.report.samples == 2)
    }

    @Test func eventsOfAllKindsOfCoreAreOne() {
        func sample(_ event: String, _ weight: Int) -> String { "a 1 [000] 1.000000: \(weight) \(event):\n\t 1f f (/bin/a)\n\n" }
        let text = sample("cpu_core/cycles/P", 1) + sample("cpu_atom/cycles/P", 2) + sample("faults", 4) + sample("cs", 8)
        #expect(collapse(Array(text.utf8)).lines == ["a;f 3"])
        var options = CollapseOptions()
        options.events = ["faults", "cpu_atom/cycles/P"]
        #expect(collapse(Array(text.utf8), options).lines == ["a;f 7"])
        options.countsSamples = true
        #expect(collapse(Array(text.utf8), options).lines == ["a;f 3"])
    }

    @Test func theTextSaysWhatItsNumbersAre() {
        func measure(_ text: String, count: Bool = false) -> Measure {
            var options = CollapseOptions()
            options.countsSamples = count
            var collapser = PerfScriptCollapser(options)
            Array(text.utf8).withUnsafeBytes { collapser.read($0) }
            collapser.endInput()
            return collapser.measure
        }
        let text = "a 1 [000] 1.000000: 10 cpu-clock:u:\n\t 1f f (m)\n\na 1 [000] 1.000001: 30 cpu-clock:u:\n\t 1f f (m)\n\n"
        let periods = measure(text)
        #expect(periods.event == "cpu-clock:u" && periods.unit == "ns" && periods.sampleWeight == 25 && periods.rootsAreProcesses)
        #expect(measure(text, count: true).unit == "samples")
        let stacks = folded(periods.comments + "a;f 40\n")
        let read = stacks.measure
        #expect(read == periods)
        let (comments, rejected) = (stacks.commentLines, stacks.rejectedCount)
        #expect(comments == 4 && rejected == 0)
    }
}

@Suite struct MeasureTests {
    @Test func aByteOrderMarkAndCommentsAreNoStacks() {
        #expect(text(folded("\u{feff}main;a 1\nmain;b 2\n# interval: 100\n#\n").foldedText()) == "main;a 1\nmain;b 2\n")
        #expect(text(folded("#x;a 1\n").foldedText()) == "#x;a 1\n")
    }

    @Test func periodsAreNotCalledSamplesAndJudgedBySamples() {
        let before = Array("app;a;b 200400800\napp;a;c 400801600\n".utf8)
        let after = Array("app;a;b 220440880\napp;a;c 380761520\n".utf8)
        guard let pair = pair(before, after) else {
            Issue.record("the weights fit")
            return
        }
        let (unit, weight) = (pair.unit, pair.sampleWeight)
        #expect(unit == "units")
        #expect(weight == 20_040_080)
        let counts = folded("a;b 100\na;c 1\n")
        let (unitOfCounts, weightOfCounts) = (counts.unit, counts.sampleWeight)
        #expect(unitOfCounts == "samples" && weightOfCounts == 1)
        let unknown = folded("a;b 1234567\na;c 7654320\n").sampleWeight
        #expect(unknown == nil)
    }

    @Test func aDifferenceThatCantBeJudgedIsNotColoured() {
        var options = DifferenceOptions()
        #expect(Change(before: 1_000_000, after: 9_000_000, decimals: 0, options).level == 4)
        options.sampleWeight = nil
        #expect(Change(before: 1_000_000, after: 9_000_000, decimals: 0, options).level == 0)
    }

    @Test func textWithoutMarksClaimsNoKinds() throws {
        #expect(!text(try drawn(folded("main;f 1\n"))).contains(">user 100 %<"))
        #expect(text(try drawn(folded("main;f_[k] 1\nmain;g 1\n"))).contains(">user 50.00 %<"))
    }

    @Test func aProcessIsNoCode() throws {
        let picture = text(try drawn(folded("# roots: processes\nf;f_[k] 1\nf;f 2\nf 1\n")))
        #expect(picture.contains("\"kindOf\":\"apuk\"") || picture.contains("\"kindOf\":\"apku\""))
        #expect(picture.contains(">user 50.00 %<"))
    }

    @Test func aTotalMakesNoPictureOfNothing() throws {
        var stacks = FoldedStacks(parsing: [])
        let total = try #require(ExactNumber("100"))
        _ = stacks.widen(to: total)
        let isEmpty = stacks.isEmpty
        #expect(isEmpty)
    }

    @Test func framesBelowABaseAreLeftOut() {
        var reading = FoldedReading()
        reading.bases = [Array("run".utf8), Array("main".utf8)]
        let stacks = FoldedStacks(parsing: Array("start;main;run;f 1\nstart;main 2\nstart;g 4\n".utf8), reading)
        #expect(text(stacks.foldedText()) == "main 2\nrun;f 1\nstart;g 4\n")
    }

    @Test func numbersInNamesAreStrippedWhenAsked() {
        var reading = FoldedReading()
        reading.stripsNumbers = true
        let stacks = FoldedStacks(parsing: Array("a;0x1f2 1\na;0x3Fe 2\na;0xyz 4\n".utf8), reading)
        #expect(text(stacks.foldedText()) == "a;0x... 3\na;0xyz 4\n")
    }

    @Test func coloursAreKeptForNamesWithMarks() {
        var options = FlamegraphOptions()
        options.colorsByName = ["f_[k]": 0x010203, "g": 0x040506]
        let stacks = folded("main;f_[k] 1\nmain;g_[j] 1\n")
        let colors = Dictionary(stacks.colors(options).map { ($0.name, $0.color) }, uniquingKeysWith: { first, _ in first })
        #expect(colors["f"] == 0x010203 && colors["g"] == 0x040506)
    }
}
