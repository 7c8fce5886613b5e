import Foundation
import TestSupport
import Testing
@testable import Flamegraph

/// The folded lines of a text in a format, or in the one that is found in it.
func read(_ input: [UInt8], as format: CollapseFormat? = nil, _ options: CollapseOptions, piece: Int = .max) -> (lines: [String], collapser: any Collapser)? {
    guard let format = format ?? CollapseFormat.guess(input) else { return nil }
    let collapser = format.collapser(options, nil)
    var start = 0
    while start < input.count {
        let end = piece < input.count - start ? start + piece : input.count
        Array(input[start..<end]).withUnsafeBytes { collapser.read($0) }
        start = end
    }
    collapser.endInput()
    collapser.finish()
    var folded: [UInt8] = []
    try? collapser.writeFolded { folded += $0 }
    return (text(folded).split(separator: "\n").map(String.init), collapser)
}

/// The options that `kiln collapse` has without flags.
var collapseDefaults: CollapseOptions {
    var options = CollapseOptions()
    (options.marksKernel, options.marksJIT, options.marksInlined) = (true, true, true)
    return options
}

extension CollapseReport {
    /// Lines of all kinds, which are all lines.
    var accountedLines: Int { sampleLines + frameLines + blankLines + commentLines + fieldLines + otherRecords + unreadLines }
}

@Suite struct FormatTests {
    static let fixtures = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Fixtures/formats")

    /// What the tools wrote, and the format that it is.
    static let recorded = [
        ("gdb.txt", "gdb"), ("gdb-without-debug-info.txt", "gdb"), ("eu-stack.txt", "eu-stack"), ("jstack.txt", "jstack"), ("node.cpuprofile", "cpuprofile"),
        ("callgrind.out", "callgrind"), ("bpftrace.txt", "bpftrace"), ("bpftrace-json.txt", "bpftrace"), ("bpftrace-perf.txt", "bpftrace"),
        ("bpftrace-probes.txt", "bpftrace"),
    ]

    static func bytes(_ name: String) throws -> [UInt8] { Array(try Data(contentsOf: fixtures.appendingPathComponent(name))) }

    private func lines(_ text: String, _ name: String, _ options: CollapseOptions = collapseDefaults) throws -> [String] {
        let format = try #require(CollapseFormat.all.first { $0.name == name })
        return try #require(read(Array(text.utf8), as: format, options)).lines
    }

    @Test(arguments: recorded)
    func realOutputIsFoundAndGivesTheStacksThatAreKnownForIt(name: String, format: String) throws {
        let input = try Self.bytes(name)
        #expect(CollapseFormat.guess(input)?.name == format)
        let result = try #require(read(input, collapseDefaults))
        let known = text(try Self.bytes(name.split(separator: ".")[0] + ".folded"))
        let comments = result.collapser.measure.comments + result.collapser.notes.map { "# \($0)\n" }.joined()
        #expect(comments + result.lines.map { "\($0)\n" }.joined() == known)
        let report = result.collapser.report
        #expect(report.rejectedCount == 0, "\(report.rejectedLines)")
        #expect(report.accountedLines == report.lines)
        for piece in [1, 13, 4096] { #expect(read(input, collapseDefaults, piece: piece)?.lines == result.lines) }
    }

    @Test func theFormatOfEveryTextIsFound() throws {
        let directory = PerfScriptTests.fixtures.deletingLastPathComponent()
        for folder in ["perf-script", "collapse", ""] {
            let place = directory.appendingPathComponent(folder)
            for name in try FileManager.default.contentsOfDirectory(atPath: place.path) {
                let expected = name.hasSuffix(".perf") ? "perf" : name.hasSuffix(".folded") ? "folded" : nil
                guard let expected else { continue }
                let input = Array(try Data(contentsOf: place.appendingPathComponent(name)))
                #expect(CollapseFormat.guess(input)?.name == expected, "\(name)")
            }
        }
        for text in ["", "hello\n", "\n\n\n", "The quick brown fox\njumps over 12 dogs.\n", "#include <stdio.h>\nint main() { return 0; }\n", "a,b,c\n1,2,3\n"]
        {
            #expect(CollapseFormat.guess(Array(text.utf8)) == nil, "\(text)")
        }
    }

    @Test func foldedTextPassesThrough() throws {
        let text = "# unit: ns\na;b 1.5\nc 2\na;b 2\n\nbad\n"
        let result = try #require(read(Array(text.utf8), collapseDefaults))
        #expect(result.lines == ["a;b 3.5", "c 2"])
        #expect(result.collapser.measure.unit == "ns")
        let report = result.collapser.report
        #expect(report.rejectedLines.map(\.number) == [6])
        #expect(report.accountedLines == report.lines)
    }

    // MARK: Options

    @Test func recursionIsMerged() throws {
        var options = collapseDefaults
        options.mergesRecursion = true
        #expect(try lines("Thread 1 (LWP 7):\n#0  0x1 in f ()\n#1  0x2 in f ()\n#2  0x3 in g ()\n#3  0x4 in f ()\n", "gdb", options) == ["[unknown];f;g;f 1"])
        #expect(try lines("f;f;f;g;g 1\nf;f;g 2\n", "folded", options) == ["f;f;g 3"])
        let perf = "f 1 [000] 1.000000: e:\n\t 1 f+0x1 (m)\n\t 2 f+0x9 (m)\n\t 3 g (m)\n\n"
        #expect(try lines(perf, "perf", options) == ["f;g;f 1"])
    }

    @Test func threadsOfAKindAreMerged() throws {
        var options = collapseDefaults
        options.mergesThreads = true
        for (name, merged) in [
            ("worker-7", "worker"), ("worker 7", "worker"), ("C2 CompilerThre0", "C2_CompilerThre"), ("kworker/0:1", "kworker"), ("GC Thread#12", "GC_Thread"),
            ("7", "7"), ("12 34", "12_34"), ("a1b", "a1b"), ("pool-1-thread-2", "pool-1-thread"),
        ] {
            #expect(try lines("Thread 1 (Thread 0x7f (LWP 7) \"\(name)\"):\n#0  f () at a.c:1\n", "gdb", options) == ["\(merged);f 1"], "\(name)")
            #expect(try lines("\(name)  7 [000] 1.000000: e:\n\t 1 f (m)\n\n", "perf", options) == ["\(merged);f 1"], "\(name)")
        }
        #expect(try lines("worker-1;f 1\nworker-2;f 2\n", "folded", options) == ["worker;f 3"])
        options.showsThread = true
        #expect(try lines("PID 3 - process\nTID 4:\n#0  0x01 f\n", "eu-stack", options) == ["[unknown]-3/4;f 1"])
    }

    @Test func noStackIsAComment() throws {
        #expect(try lines(graph("fn=# unit: x\n1 5\n"), "callgrind") == ["#_unit: x 5"])
    }

    @Test func theWeightOfAllStacksFitsIn64Bits() throws {
        let result = try #require(read(Array(graph("fn=a\n1 18446744073709551615\nfn=b\n1 1\n").utf8), collapseDefaults))
        #expect(result.collapser.report.rejectedLines.contains { $0.reason == .weightTooLarge })
        let perf = { (name: String) in "a 1 [000] 1.000000: 18446744073709551615 e:\n\t 1 \(name) (m)\n\n" }
        let samples = try #require(read(Array((perf("f") + perf("g")).utf8), collapseDefaults))
        #expect(samples.lines == ["a;f 18446744073709551615"])
        #expect(samples.collapser.report.rejectedLines.map(\.reason) == [.weightTooLarge])
    }

    // MARK: gdb, eu-stack

    @Test func namesOfGDBAreWhole() throws {
        let cases = [
            ("0x1 in main () at a.c:3", "main"), ("main (argc=1, argv=0x7f) at a.c:3", "main"), ("0x1 in ?? () from /lib/libx.so (deleted)", "[libx.so]"),
            ("0x1 in ?? ()", "[unknown]"), ("<signal handler called>", "<signal handler called>"), ("0x1 in operator new (sz=5) at n.cc:3", "operator new"),
            ("0x1 in a::operator<< <int> (x=\"y (z\") at b.h:1", "a::operator<< <int>"), ("0x1 in f(int, char const*) () from /lib/b.so", "f"),
            ("0x1 in A::operator()(int) const (this=0x1, x=2) at a.h:4", "A::operator()"), ("0x1 in x::y<x::F> (f=0x1 <g()>) at a.c:1", "x::y<x::F>"),
            ("0x1 in <T as U>::f () at a.rs:1", "<T as U>::f"), ("0x1 in call<fn() -> i32> (f=0x3) at a.rs:1", "call<fn() -> i32>"),
            ("0x1 in main.(*T).Do (t=0xc000) at m.go:1", "main.(*T).Do"), ("0x1 in f (s=\"a;b\\n\") at x.c:1", "f"), ("f (a=1,", "f"),
            ("0x1 in std::f[abi:cxx11] (x=1) at a.c:1", "std::f[abi:cxx11]"), ("0x1 in a;b () at c.c:1", "a:b"),
        ]
        for (frame, name) in cases { #expect(try lines("#0  \(frame)\n", "gdb") == ["[unknown];\(name) 1"], "\(frame)") }
    }

    @Test func aCallerWithoutAddressHoldsTheFunctionInlinedIntoIt() throws {
        let header = "Thread 1 (Thread 0x7f (LWP 7) \"a\"):\n"
        #expect(try lines(header + "#0  0x1 in in () at a.c:1\n#1  out () at a.c:2\n#2  0x3 in main () at a.c:3\n", "gdb") == ["a;main;out;in_[i] 1"])
        // The first frame is at the beginning of a line; a signal interrupted another at the beginning of one.
        #expect(
            try lines(header + "#0  f () at a.c:1\n#1  <signal handler called>\n#2  g () at a.c:2\n#3  0x3 in main () at a.c:3\n", "gdb")
                == ["a;main;g;<signal handler called>;f 1"])
        // `set print address off`
        #expect(try lines(header + "#0  f () at a.c:1\n#1  g () at a.c:2\n", "gdb") == ["a;g;f 1"])
        let eu = "TID 7:\n#0  0x0010 in\n#1  0x0010 out\n#2  0x0020 - 1 fib - /bin/a\n#3  0x0020 - 1 fib - /bin/a\n#4  0x30 - 1 - /lib/b.so\n#5  0x40\n"
        #expect(try lines(eu, "eu-stack") == ["[unknown];[unknown];[b.so];fib;fib;out;in_[i] 1"])
    }

    @Test func severalDumpsAddUp() throws {
        let one =
            "[New LWP 8]\n0x1 in f () from /lib/x.so\n\nThread 1 (Thread 0x7f (LWP 7) \"a\"):\n#0  0x1 in f () at a.c:1\n[Inferior 1 (process 7) detached]\n"
        #expect(try lines(one + one + one, "gdb") == ["a;f 3"])
        #expect(try lines("#0  0x1 in f ()\n#1  0x2 in g ()\n#0  0x1 in f ()\n#1  0x2 in g ()\n", "gdb") == ["[unknown];g;f 2"])
        let eu = "PID 7 - process\nTID 7:\n#0  0x1 f\n"
        #expect(try lines(eu + eu, "eu-stack") == ["[unknown];f 2"])
    }

    @Test func aMissingFrameIsNamed() throws {
        let result = try #require(read(Array("#0  0x1 in f ()\n#2  0x2 in g ()\nnonsense\n".utf8), as: .gdb, collapseDefaults))
        #expect(result.lines == ["[unknown];g;f 1"])
        #expect(result.collapser.report.rejectedLines.map(\.reason) == [.gap, .unknown])
    }

    @Test func whatGDBDidNotPrintWholeIsNamed() throws {
        func reasons(_ text: String, _ lines: [String]) throws -> [CollapseReport.Line.Reason] {
            let result = try #require(read(Array(text.utf8), as: .gdb, collapseDefaults))
            #expect(result.lines == lines, "\(text)")
            #expect(result.collapser.report.accountedLines == result.collapser.report.lines)
            return result.collapser.report.rejectedLines.map(\.reason)
        }
        let stack = "Thread 1 (Thread 0x7f (LWP 7) \"a\"):\n#0  0x1 in f () at a.c:1\n"
        #expect(try reasons(stack + "#1  0x00007fe539f2", ["a;f 1"]) == [.incompleteFrame])
        #expect(try reasons(stack + "#1  0x2 in ma", ["a;f 1"]) == [.incompleteFrame])
        #expect(try reasons(stack + "#1  0x2 in main (argc=1, ar", ["a;main;f 1"]) == [.incompleteFrame])
        #expect(try reasons(stack + "(More stack frames follow...)\n", ["a;f 1"]) == [.moreFrames])
        #expect(try reasons(stack + "        n = 3\nNo locals.\n", ["a;f 1"]) == [])
        let perf = "w 7 1.0: e:\n\t 1f f (m)\n\n"
        #expect(
            try reasons(perf + "[New LWP 7]\n0x1 in f () from /lib/x.so\n10\tin a.c\n\n" + stack + "[Inferior 1 (process 7) detached]\n" + perf, ["a;f 1"])
                == [.unknown, .unknown, .unknown, .unknown])
        // eu-stack prints frames that look alike.
        #expect(try reasons("TID 7:\n#0  0x1 f\n#1  0x2 g(int)\n", []) == [.unknown, .incompleteFrame, .incompleteFrame])
    }

    @Test func aByteOrderMarkIsNoPartOfALine() throws {
        let texts = ["f 1 1.0: e:\n\t 1f g (m)\n", "Thread 1 (Thread 0x7f (LWP 7) \"f\"):\n#0  g () at a.c:1\n", "f;g 1\n"]
        for text in texts { #expect(read(Array("\u{feff}\(text)".utf8), collapseDefaults)?.lines == ["f;g 1"], "\(text)") }
        #expect(read(Array("\u{feff}TID 7:\n#0  0x1 g\n".utf8), collapseDefaults)?.lines == ["[unknown];g 1"])
    }

    @Test func noLineOfStacksIsAComment() throws {
        #expect(try lines("#                7 [000] 1.000000: e:\n", "perf") == ["#_ 1"])
        #expect(try lines("# a 7 [000] 1.000000: e:\n", "perf") == ["#_a 1"])
        #expect(try lines("#\ta 7 [000] 1.000000: e:\n", "perf") == ["#_a 1"])
    }

    // MARK: jstack

    @Test func stacksInADeadlockAreCountedOnce() throws {
        let stacks = try #require(read(try Self.bytes("jstack.txt"), collapseDefaults)).lines.filter { $0.hasPrefix("dead-") }
        #expect(stacks.allSatisfy { $0.hasSuffix(" 1") } && stacks.count == 2)
    }

    @Test func classesOfJavaAreShownWithoutModuleAndAddress() {
        let cases = [
            ("java.lang.Thread.run(java.base@17.0.15/Thread.java:840)", "java.lang.Thread.run"),
            ("java.base@21/java.lang.Thread.run(Thread.java:1)", "java.lang.Thread.run"),
            ("app//a.B.c(B.java:1)", "a.B.c"), ("J$$Lambda$2/0x00007fc2a0001800.run(Unknown Source)", "J$$Lambda$2.run"),
            ("java.base@21/a.F$$Lambda/0x01.apply(Unknown Source)", "a.F$$Lambda.apply"), ("A.<init>(A.java:3)", "A.<init>"), ("A.b(Native Method)", "A.b"),
        ]
        for (frame, name) in cases { #expect(text(JStackReader.frame(Array(frame.utf8)[...])) == name, "\(frame)") }
    }

    // MARK: cpuprofile

    private func profile(_ rest: String) -> String {
        let frame = { (name: String) in "{\"functionName\":\"\(name)\",\"url\":\"\",\"lineNumber\":-1}" }
        return
            "{\"nodes\":[{\"id\":1,\"callFrame\":\(frame("(root)")),\"children\":[2]},{\"id\":2,\"callFrame\":\(frame("f")),\"hitCount\":3,\"children\":[3]},"
            + "{\"id\":3,\"callFrame\":\(frame("g")),\"hitCount\":4}],\(rest)}"
    }

    @Test func aSampleLastsUntilTheNextOne() throws {
        #expect(
            try lines(profile("\"startTime\":100,\"endTime\":1000,\"samples\":[2,3,2],\"timeDeltas\":[10,20,300]"), "cpuprofile") == ["f 590", "f;g 300"])
        // Out of order: at 10, 40, 30.
        #expect(
            try lines(profile("\"startTime\":0,\"endTime\":100,\"samples\":[2,3,2],\"timeDeltas\":[10,30,-10]"), "cpuprofile") == ["f 30", "f;g 60"])
        #expect(try lines(profile("\"samples\":[]"), "cpuprofile") == ["f 3", "f;g 4"])
        var options = collapseDefaults
        options.countsSamples = true
        #expect(try lines(profile("\"startTime\":0,\"endTime\":100,\"samples\":[2,3,2],\"timeDeltas\":[10,30,10]"), "cpuprofile", options) == ["f 2", "f;g 1"])
    }

    @Test func brokenProfilesAreNamed() throws {
        for text in ["{", "{}", "{\"nodes\":1}", profile("\"samples\":[9]"), "{\"nodes\":[{\"id\":1,\"callFrame\":{},\"children\":[1],\"hitCount\":1}]}"] {
            let report = try #require(read(Array(text.utf8), as: .cpuprofile, collapseDefaults)).collapser.report
            #expect(report.rejectedCount > 0, "\(text)")
        }
    }

    // MARK: callgrind

    private func graph(_ text: String) -> String { "# callgrind format\nevents: Ir Dr\n\n" + text }

    @Test func callsAreDividedByTheirCost() throws {
        let text = graph(
            """
            ob=(1) /bin/a
            fn=(1) main
            1 10 1
            cfn=(2) a
            calls=1 5
            2 130 0
            cfn=(3) b
            calls=3 7
            +1 330
            fn=(2)
            5 30
            cfn=(4) leaf
            calls=1 9
            5 100
            fn=(3)
            * 30
            cfn=(4)
            calls=1 9
            * 300
            fn=(4)
            9 400 7
            totals: 470 8
            """)
        #expect(try lines(text, "callgrind") == ["main 10", "main;a 30", "main;a;leaf 100", "main;b 30", "main;b;leaf 300"])
        var options = collapseDefaults
        options.events = ["Dr"]
        // The calls have no cost of this event, so its functions have no known callers.
        #expect(try lines(text, "callgrind", options) == ["leaf 7", "main 1"])
        let wrong = try #require(read(Array(text.replacing("totals: 470", with: "totals: 471").utf8), collapseDefaults))
        #expect(wrong.collapser.report.rejectedLines.map(\.reason) == [.otherTotal])
        let whole = text.replacing("events: Ir Dr\n", with: "events: Ir Dr\nsummary: 470 8\n")
        #expect(try #require(read(Array(whole.utf8), collapseDefaults)).collapser.report.rejectedLines.isEmpty)
        let cut = try #require(read(Array(whole.prefix(whole.count - 30).utf8), collapseDefaults))
        #expect(cut.collapser.report.rejectedLines.map(\.reason) == [.cutOff])
        options.events = ["Nope"]
        #expect(try #require(read(Array(text.utf8), options)).collapser.report.rejectedLines.map(\.reason) == [.unknownEvent])
    }

    @Test func circlesHaveNoOrder() throws {
        let text = graph(
            "fn=main\n1 1\ncfn=a\ncalls=1 1\n1 50\nfn=a\n1 10\ncfn=b\ncalls=5 1\n1 40\nfn=b\n1 20\ncfn=a\ncalls=4 1\n1 30\ncfn=c\ncalls=1 1\n1 20\nfn=c'2\n1 0\nfn=c\n1 20\n"
        )
        let result = try #require(read(Array(text.utf8), collapseDefaults))
        #expect(result.lines == ["main 1", "main;[recursion];a 10", "main;[recursion];b 20", "main;[recursion];b;c 20"])
        #expect(result.collapser.notes.count == 1)
    }

    /// Random graphs, circles among them: the cost of each function is that of its frames at the ends of stacks, to a unit a stack.
    @Test(arguments: 1...30 as ClosedRange<UInt64>)
    func theCostOfEachFunctionIsKept(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let count = Int.random(in: 1...12, using: &generator)
        var text = graph("")
        var costs: [String: UInt64] = [:]
        for function in 0..<count {
            text += "fn=f\(function)\n"
            let cost = UInt64.random(in: 0...100_000, using: &generator)
            costs["f\(function)"] = cost
            text += "1 \(cost)\n"
            for _ in 0..<Int.random(in: 0...3, using: &generator) {
                text += "cfn=f\(Int.random(in: 0..<count, using: &generator))\ncalls=1 1\n1 \(UInt64.random(in: 0...100_000, using: &generator))\n"
            }
        }
        let result = try #require(read(Array(text.utf8), collapseDefaults)).lines
        #expect(sumOfWeights(Array(result.joined(separator: "\n").utf8)) == costs.values.reduce(0, +))
        if result.contains(where: { $0.contains("[small]") }) { return }
        var found: [String: UInt64] = [:]
        for line in result {
            let parts = line.split(separator: " ")
            found[String(parts[0].split(separator: ";").last ?? ""), default: 0] += UInt64(parts[1]) ?? 0
        }
        for (name, cost) in costs { #expect(abs(Int64(found[name] ?? 0) - Int64(cost)) <= Int64(result.count), "\(name)") }
    }
}
