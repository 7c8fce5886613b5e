import Foundation
import Testing
@testable import Flamegraph

/// Collapses `perf script` text and gives the folded lines.
private func collapsed(_ text: String, _ options: CollapseOptions = CollapseOptions()) -> [String] {
    collapse(Array(text.utf8), options).lines
}

func collapse(
    _ input: [UInt8], _ options: CollapseOptions = CollapseOptions(), inlines: InlineResolver? = nil, piece: Int = .max
) -> (lines: [String], report: CollapseReport) {
    var collapser = PerfScriptCollapser(options, inlines: inlines)
    var start = 0
    while start < input.count {
        let end = piece < input.count - start ? start + piece : input.count
        // A copy of its own, so that a load past the piece would leave its memory.
        Array(input[start..<end]).withUnsafeBytes { collapser.read($0) }
        start = end
    }
    collapser.endInput()
    var folded: [UInt8] = []
    try? collapser.writeFolded { folded += $0 }
    return (text(folded).split(separator: "\n").map(String.init), collapser.report)
}

@Suite struct PerfScriptTests {
    static let fixtures = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("Fixtures/perf-script")

    private static let optionsByName: [(String, CollapseOptions)] = ["default", "pid", "tid", "kernel", "all"].map { name in
        var options = CollapseOptions()
        options.showsProcess = name == "pid"
        options.showsThread = name == "tid"
        options.marksKernel = name == "kernel" || name == "all"
        options.marksJIT = name == "all"
        return (name, options)
    }

    @Test(arguments: ["cycles-instructions-01", "dd-stacks-01", "java-stacks-01", "js-stacks-01"])
    func realRecordingsGiveTheStacksThatAreKnownForThem(name: String) throws {
        let input = try Data(contentsOf: Self.fixtures.appendingPathComponent("\(name).perf"))
        for (option, options) in Self.optionsByName {
            let file = Self.fixtures.appendingPathComponent("\(name).\(option).folded")
            guard let known = try? String(contentsOf: file, encoding: .utf8) else { continue }
            let result = collapse(Array(input), options)
            #expect(Set(result.lines) == Set(known.split(separator: "\n").map(String.init)), "\(name) \(option)")
            #expect(result.report.rejectedCount == 0)
        }
    }

    @Test(arguments: [1, 7, 64, 4096])
    func cuttingTheTextAnywhereChangesNothing(piece: Int) throws {
        let input = Array(try Data(contentsOf: Self.fixtures.appendingPathComponent("dd-stacks-01.perf")))
        #expect(collapse(input, piece: piece).lines == collapse(input).lines)
    }

    static func sample(_ header: String, _ frames: String...) -> String {
        header + "\n" + frames.map { "\t  \($0)\n" }.joined()
    }

    @Test func theLastSampleNeedsNothingAfterIt() {
        #expect(collapsed("a 1 1.0: cycles: \n\t 1f f (/bin/a)\n\na 1 2.0: cycles: \n\t 1f f (/bin/a)") == ["a;f 2"])
    }

    @Test func namesKeepTheirParenthesesAndBlanks() {
        let cases = [
            ("(anonymous namespace)::f(int)", "(anonymous namespace)::f"), ("operator new(unsigned long)", "operator new"),
            ("a::operator()(int) const", "a::operator()"), ("a::operator()", "a::operator()"),
            ("std::function<void (int)>::call(int)", "std::function<void (int)>::call"),
            ("net/http.(*Client).Do", "net/http.(*Client).Do"), ("f(int) [clone .isra.0]", "f"),
            ("g [clone .cold]", "g [clone .cold]"), ("Builtin:a (b)", "Builtin:a (b)"), ("<T as U>::f", "<T as U>::f"),
            ("f(int)::{lambda(char)#1}::operator()(char) const", "f(int)::{lambda(char)#1}::operator()"),
            ("x::operator->() const", "x::operator->"), ("(bash)", "(bash)"), ("main+0x1f", "main"), ("a;b", "a:b"),
            ("void (*f(int))(char)", "void (*f(int))"),
        ]
        for (symbol, name) in cases {
            #expect(collapsed(Self.sample("c 1 1.0: cycles:", "1f \(symbol) (/bin/c)")) == ["c;\(name) 1"], "\(symbol)")
        }
    }

    @Test func modulesMayHoldParenthesesAndBlanks() {
        #expect(collapsed(Self.sample("c 1 1.0: e:", "1f [unknown] (/opt/my app/lib (x).so (deleted))")) == ["c;[lib (x).so] 1"])
        #expect(collapsed(Self.sample("c 1 1.0: e:", "1f [unknown] ([unknown])")) == ["c;[unknown] 1"])
        for name in ["f", "operator new[]", "std::vector<int>::operator[]"] {
            #expect(collapsed(Self.sample("c 1 1.0: e:", "1f \(name)")) == ["c;\(name) 1"])
        }
    }

    @Test func processNamesMayBeAnything() {
        let cases = [
            ("a 1 1.0: e:", "a 1"), ("   a 1 1.0: e:", "a 1"), ("tokio runtime w 12/13 [003] 1.0: e:", "tokio_runtime_w 1"),
            ("worker 7 12/13 [003] 1.0: e:", "worker_7 1"), ("  dd 12 [000] 1.0: e:", "dd 1"), ("#x 5 1.0: e:", "#x 1"),
            ("a;b 5 1.0: e:", "a:b 1"), (":-1 -1 [000] 1.0: e:", ":-1 1"), ("x [2] 5/6 [000] 1.0: e:", "x_[2] 1"),
            ("x 5/6 [000] d..2. 1.0: 77 e:", "x 77"), ("x     5 cpu-clock:", "x 1"), ("x     5", "x 1"), ("x 5/6 [001] e:u: ", "x 1"),
        ]
        for (line, folded) in cases { #expect(collapsed(line + "\n\n") == [folded], "\(line)") }
    }

    @Test func fieldsOfTracepointsAreNoFrames() {
        let text = """
                  dd  7 [000] 1.5: syscalls:sys_enter_read: fd: 0x3, buf: 0x1 (x)
                  dd  7 [000] 1.6: syscalls:sys_enter_read: fd: 0x3, buf: 0x1 (x)

            """
        #expect(collapsed(text) == ["dd 2"])
        #expect(collapsed(Self.sample("a 1 1.0: probe:f: (ffffffff81) x=1", "1f f (/bin/a)")) == ["a;f 1"])
    }

    @Test func aSymbolBehindTheEventIsAFrame() {
        #expect(collapsed("redis 1 [000] 1.0: 250 cycles:P:  ffff8fab do_x+0x1 ([kernel.kallsyms])\n") == ["redis;do_x 250"])
    }

    @Test func theReportNamesTheEventsThatWereLeftOut() {
        let text = "a 1 1.0: cycles: \n\t1f f (m)\n\na 1 1.1: faults: \n\t1f g (m)\n\na 1 1.2: cycles: \n\t1f f (m)\n\n"
        let result = collapse(Array(text.utf8))
        #expect(result.lines == ["a;f 2"])
        #expect(result.report.samples == 2)
        #expect(
            result.report.events == [
                .init(name: "cycles", samples: 2, isCounted: true), .init(name: "faults", samples: 1, isCounted: false),
            ])
        var options = CollapseOptions()
        options.events = ["faults"]
        #expect(collapsed(text, options) == ["a;g 1"])
        options.events = ["nothing"]
        #expect(collapse(Array(text.utf8), options).report.samples == 0)
    }

    @Test func whatIsNotUnderstoodIsNamedWithItsLine() {
        let result = collapse(Array("nonsense\na 1 1.0: e:\n\t1f f (m)\n  nonsense\n\n\t1f f (m)\n".utf8))
        #expect(result.lines == ["a;f 1"])
        #expect(result.report.rejectedLines.map(\.number) == [1, 4, 6])
        #expect(result.report.rejectedLines.last?.description == "line 6: a frame without a sample before it: \\x091f f (m)")
    }

    /// `perf script -F ip,sym`, and with comm or event: an address of decimal digits is no thread's number.
    @Test(arguments: ["", "cpu-clock:ppp: ", "w "]) func framesAloneAreNoSamples(header: String) {
        let text = Self.sample(header, "           11f3 inner", "           1225 mid", "           130a main")
        let result = collapse(Array((text + "\n" + text).utf8))
        #expect(result.lines.isEmpty && result.report.sampleLines == 0)
        #expect(CollapseFormat.guess(Array(text.utf8))?.name == "perf")
    }

    @Test func addressesAndKindsAreShownWhenAskedFor() {
        var options = CollapseOptions()
        options.showsAddresses = true
        options.marksKernel = true
        options.marksInlined = true
        let text = Self.sample(
            "a 1/2 1.0: e:", "ffff1 k+0x1 ([kernel.kallsyms])", "ffff2 m ([nf_tables])", "7f1 [unknown] (/lib/libc.so.6)",
            "7f2 in (inlined)", "7f3 out (/bin/a)", "7f4 h ([heap])")
        #expect(collapsed(text, options) == ["a;h;out;in_[i];[libc.so.6 <7f1>];m_[k];k_[k] 1"])
    }

    @Test func functionsInlinedByJITCompilersAreApart() {
        #expect(collapsed(Self.sample("java 1 1.0: e:", "1f La/B;::x->La/C;::y (/tmp/perf-1.map)")) == ["java;a/B:::x;a/C:::y_[i] 1"])
    }

    @Test func weightsThatWouldOverflowAreRejected() {
        let sample = "a 1 1.0: 18446744073709551615 e:\n\t1f f (m)\n\n"
        let result = collapse(Array((sample + sample).utf8))
        #expect(result.lines == ["a;f 18446744073709551615"])
        #expect(result.report.rejectedLines.map(\.reason) == [.weightTooLarge])
    }

    private final class SomeInlines: InlineResolver {
        func functions(at place: CodePlace) -> [SourceFunction] {
            place.address % 3 == 0 ? [] : [SourceFunction(name: place.symbol), SourceFunction(name: "inlined", line: "a.c:1")]
        }
    }

    /// Text of broken samples: no crash, and every sample is counted or named.
    @Test(arguments: 1...40 as ClosedRange<UInt64>)
    func brokenTextGivesFoldedTextAllTheSame(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        var input = Array(
            try Data(
                contentsOf: Self.fixtures.appendingPathComponent(
                    seed % 4 == 0 ? "inlined-01.perf" : seed % 4 == 2 ? "js-stacks-01.perf" : "dd-stacks-01.perf")))
        let special = Array("\n\t ()[]:;/->0x-# \r".utf8) + [0, 0x80, 0xff]
        for _ in 0..<Int.random(in: 1...200, using: &generator) {
            let place = Int.random(in: 0..<input.count, using: &generator)
            switch Int.random(in: 0...3, using: &generator) {
            case 0: input[place] = UInt8.random(in: 0...255, using: &generator)
            case 1: input[place] = special.randomElement(using: &generator) ?? 0
            case 2: input.remove(at: place)
            default: input.insert(contentsOf: input[place..<min(place + 30, input.count)], at: input.indices.randomElement(using: &generator) ?? 0)
            }
        }
        var options = CollapseOptions()
        options.showsAddresses = seed % 3 == 0
        options.marksKernel = true
        let inlines = seed % 4 == 0 ? SomeInlines() : nil
        let whole = collapse(input, options, inlines: inlines)
        #expect(collapse(input, options, inlines: inlines, piece: 13).lines == whole.lines)
        let stacks = FoldedStacks(parsing: Array(whole.lines.joined(separator: "\n").utf8))
        #expect(stacks.rejectedCount == 0)
        #expect(stacks.acceptedLines == whole.lines.count)
    }
}
