import Foundation
import Testing
@testable import Flamegraph

@Suite struct BPFTraceTests {
    private func collapse(_ text: String, _ options: CollapseOptions = collapseDefaults) throws -> (lines: [String], collapser: any Collapser) {
        try #require(read(Array(text.utf8), as: .bpftrace, options))
    }

    private func lines(_ text: String, keys: [String] = [], _ change: (inout CollapseOptions) -> Void = { _ in }) throws -> [String] {
        var options = collapseDefaults
        options.keys = keys
        change(&options)
        return try collapse(text, options).lines
    }

    private static let kernel = "@[\n    vfs_read+187\n    do_syscall_64+113\n, \n    read+13\n    main+36\n, server]: 5\n"

    // MARK: Recordings

    @Test func aMapOfTheTextIsCountedAndTheOthersAreNamed() throws {
        let result = try #require(read(try FormatTests.bytes("bpftrace.txt"), as: .bpftrace, collapseDefaults))
        #expect(
            result.lines.contains(
                "shop_[1],_x;__libc_start_call_main;main;shop::turn;__libc_read;entry_SYSCALL_64_after_hwframe_[k];do_syscall_64_[k];ksys_read_[k];vfs_read_[k];read_zero_[k] 2"
            ))
        // Offsets +25, +35 and +42 are one function.
        #expect(result.lines.contains("shop;__libc_start_call_main;main;shop::Order::check 25"))
        #expect(result.lines.contains("shop_[1],_x;__libc_start_call_main;main;shop::Order::check 17"))
        #expect(
            result.collapser.report.events.map(\.name)
                == [
                    "@", "@avg (no stacks)", "@big (its values are no counts)", "@last (its values are no counts)", "@less", "@lin (its values are no counts)",
                    "@pair (its values are no counts)", "@stats (its values are no counts)", "@three", "@total (no stacks)",
                    "@user (its values are no counts)",
                ].map { $0 == "@less" ? "@less (no value above 0)" : $0 })
        #expect(result.collapser.report.events.filter(\.isCounted).map(\.name) == ["@"])
        #expect(result.collapser.notes.isEmpty)
        #expect(result.collapser.measure.rootsAreProcesses)
    }

    @Test func anotherMapIsCountedWhereItIsAskedFor() throws {
        let input = try FormatTests.bytes("bpftrace.txt")
        func counted(_ names: [String]) throws -> (lines: [String], collapser: any Collapser) {
            var options = collapseDefaults
            options.events = names
            return try #require(read(input, as: .bpftrace, options))
        }
        let three = try counted(["three"])
        #expect(three.lines == (try counted(["@three"])).lines)
        #expect(three.lines.contains("main;shop::turn;__libc_read;ksys_read_[k];vfs_read_[k];read_zero_[k] 3"))
        #expect(three.collapser.measure.event == "@three")
        #expect(!three.collapser.measure.rootsAreProcesses)
        #expect(three.collapser.notes.isEmpty)
        // Values below zero are rejected, each with its line.
        let less = try counted(["@less"])
        #expect(less.lines.isEmpty)
        #expect(Set(less.collapser.report.rejectedLines.map(\.reason)) == [.negativeValue])
        let written = text(input).split(separator: "\n", omittingEmptySubsequences: false)
        #expect(less.collapser.report.rejectedLines.allSatisfy { written[$0.number - 1] == "@less[" })
        #expect(try counted(["@user"]).lines.isEmpty)
        #expect(try counted(["@nothing"]).collapser.report.events.allSatisfy { !$0.isCounted })
        #expect(try counted(["@avg"]).lines == ["shop;[4711] 4", "shop_[1],_x;[4712] 4"])
    }

    @Test func probesOfAllKindsHaveStacks() throws {
        var options = collapseDefaults
        let input = try FormatTests.bytes("bpftrace-probes.txt")
        let switches = try #require(read(input, as: .bpftrace, options))
        #expect(!switches.lines.isEmpty && switches.lines.allSatisfy { $0.contains("_[k];__schedule_[k] ") })
        options.events = ["@opens"]
        let opens = try #require(read(input, as: .bpftrace, options))
        #expect(opens.lines.allSatisfy { $0.contains(";__GI___libc_open;syscall_trace_enter_[k];perf_syscall_enter_[k] ") }, "\(opens.lines)")
        options.events = ["@turns"]
        // Two processes; the C++ name in the probe's name is left as it is.
        let turns = try #require(read(input, as: .bpftrace, options))
        #expect(turns.lines.count == 1)
        #expect(turns.lines.first?.hasPrefix("uprobe:/srv/shop:_ZN4shop4turnEi;__libc_start_call_main;main;shop::turn ") == true, "\(turns.lines)")
    }

    @Test func numbersInKeysStandInBracketsOrBesideTheName() throws {
        let input = text(try FormatTests.bytes("bpftrace-perf.txt"))
        let plain = try lines(input)
        #expect(plain.allSatisfy { $0.hasPrefix("shop;[4711];[4711];") || $0.hasPrefix("shop_[1],_x;[4712];[4712];") }, "\(plain)")
        let pids = try lines(input) { $0.showsProcess = true }
        #expect(pids.allSatisfy { $0.hasPrefix("shop-4711;[4711];") || $0.hasPrefix("shop_[1],_x-4712;[4712];") }, "\(pids)")
        let threads = try lines(input) { $0.showsThread = true }
        #expect(threads.allSatisfy { $0.hasPrefix("shop-4711/4711;__libc") || $0.hasPrefix("shop_[1],_x-4712/4712;__libc") }, "\(threads)")
        let named = try lines(input, keys: ["comm", "pid", "tid", "ustack(perf)", "kstack(perf)"])
        #expect(named.allSatisfy { $0.hasPrefix("shop;__libc") || $0.hasPrefix("shop_[1],_x;__libc") }, "\(named)")
        #expect(named.contains { $0.contains(";shop::Order::check ") })
    }

    @Test func theSameNameSeveralTimesInJSONAddsUp() throws {
        // As bpftrace 0.17 prints two processes of one program.
        let object = #"{"type": "map", "data": {"@": {"\n    step+8\n,dup": 98, "\n    step+8\n,dup": 105}}}"#
        #expect(try lines(object + "\n") == ["dup;step 203"])
    }

    // MARK: Keys

    @Test func keysOfEveryOrderAreRead() throws {
        #expect(try lines(Self.kernel) == ["server;main;read;do_syscall_64_[k];vfs_read_[k] 5"])
        let (k, u) = ("\n    vfs_read+187\n    do_syscall_64+113\n", "\n    read+13\n    main+36\n")
        let stack = "main;read;do_syscall_64_[k];vfs_read_[k]"
        for (key, line) in [
            ("\(k), \(u)", "\(stack) 2"), ("\(u), \(k)", "\(stack) 2"), ("a, \(k), \(u)", "a;\(stack) 2"), ("\(u), a, \(k)", "a;\(stack) 2"),
            ("a, 7, \(u), \(k)", "a;[7];\(stack) 2"), ("\(u), a, 7", "a;[7];main;read 2"), ("7, \(k)", "[7];do_syscall_64_[k];vfs_read_[k] 2"),
            ("\(k), b, c", "b;[c];do_syscall_64_[k];vfs_read_[k] 2"), ("\(u)", "main;read 2"),
        ] {
            #expect(try lines("@[\(key)]: 2\n") == [line], "\(key)")
            let json = key.replacing(", ", with: ",").replacing("\n", with: "\\n")
            #expect(try lines("{\"type\": \"map\", \"data\": {\"@\": {\"\(json)\": 2}}}\n") == [line], "\(json)")
        }
    }

    @Test func aStackWithoutFramesIsNothing() throws {
        let text = "@[, \n    main+64\n, a]: 1\n@[\n    do_idle+2\n, , swapper/0]: 4\n@[, , b]: 3\n" + Self.kernel
        #expect(try lines(text) == ["a;main 1", "b 3", "server;main;read;do_syscall_64_[k];vfs_read_[k] 5", "swapper/0;do_idle_[k] 4"])
        // The entries without commas in their names tell what the others have.
        #expect(
            try lines("@[, \n    main+64\n, a]: 1\n" + Self.kernel.replacing("server", with: "b, c")) == [
                "a;main 1", "b,_c;main;read;do_syscall_64_[k];vfs_read_[k] 5",
            ])
        // Two keys, of which one is never there.
        #expect(try lines("@[, \n    main+64\n, a]: 1\n@[, , b]: 3\n") == ["a;main 1", "b 3"])
        let one = try collapse("@[]: 2\n@[\n    main+64\n]: 1\n")
        #expect(one.lines == ["[unknown] 2", "main 1"])
        #expect(one.collapser.report.samplesWithoutStack == 1)
    }

    @Test func commasInNamesBelongToThem() throws {
        let text = "@[x, y, 7, \n    main+1\n]: 1\n@[a, 7, \n    main+1\n]: 1\n@[q]: 3, z, 7, ]: 2\n"
        #expect(try lines(text) == ["a;[7];main 1", "q]:_3,_z;[7] 2", "x,_y;[7];main 1"])
        // Where every name has one, the keys have to be named.
        let all = "@[x, y, \n    main+1\n]: 1\n"
        #expect(try lines(all) == ["x;[y];main 1"])
        #expect(try lines(all, keys: ["comm", "ustack"]) == ["x,_y;main 1"])
        #expect(
            try collapse(
                all,
                {
                    var options = collapseDefaults; options.keys = ["pid", "ustack"]; return options
                }()
            ).collapser.report.rejectedLines.map(\.reason) == [.otherKeys])
    }

    @Test func numbersAreThoseThatAreAskedFor() throws {
        let text = "@[a, 7, 8, \n    main+1\n]: 1\n@[b, 9, 8, \n    main+1\n]: 1\n"
        #expect(try lines(text) { $0.showsProcess = true } == ["a-7;[8];main 1", "b-9;[8];main 1"])
        #expect(try lines(text) { $0.showsThread = true } == ["a-7/8;main 1", "b-9/8;main 1"])
        #expect(try lines(text, keys: ["comm", "tid", "cpu", "ustack"]) { $0.showsThread = true } == ["a-?/7;[8];main 1", "b-?/9;[8];main 1"])
        #expect(try lines("@[a, 7, \n    main+1\n]: 1\n") { $0.showsThread = true } == ["a-?/7;main 1"])
        #expect(try lines("@[\n    main+1\n, 7]: 1\n") { $0.showsProcess = true } == ["[unknown]-7;main 1"])
        #expect(try lines("@[\n    main+1\n, w-1]: 1\n@[\n    main+1\n, w-2]: 1\n") { $0.mergesThreads = true } == ["w;main 2"])
    }

    // MARK: Frames

    @Test func stacksOfTheKernelAreMarked() throws {
        func marked(_ frames: String) throws -> Bool { try lines("@[\n\(frames)\n]: 1\n")[0].contains("_[k]") }
        for frames in [
            "    f+1\n    entry_SYSCALL_64_after_hwframe+118", "    f+1\n    ret_from_fork_asm+26", "    f+1\n    asm_sysvec_apic_timer_interrupt+22",
            "    0xffffffffc0123456", "\tffffffff816bac2b vfs_read+187", "ffffffff816bac2b\nffffffff81000130", "    f+1\n    common_startup_64+318",
        ] { #expect(try marked(frames), "\(frames)") }
        for frames in ["    f+1\n    main+2", "    0x7f3eba854680", "\t7f07c60082ad read+13 (/lib/libc.so.6)", "7f07c60082ad\n401136", "    f(int)+2"] {
            #expect(try !marked(frames), "\(frames)")
        }
        #expect(try lines(Self.kernel) { $0.marksKernel = false } == ["server;main;read;do_syscall_64;vfs_read 5"])
    }

    @Test func aGuessIsSaidToBeOne() throws {
        let text = "@s[\n    f+1\n    g+2\n, a]: 1\n"
        let result = try collapse(text)
        #expect(result.lines == ["a;g;f 1"])
        #expect(result.collapser.notes.count == 1 && result.collapser.notes[0].hasPrefix("guess: "))
        var options = collapseDefaults
        options.keys = ["kstack(2)", "comm"]
        let named = try collapse(text, options)
        #expect(named.lines == ["a;g_[k];f_[k] 1"])
        #expect(named.collapser.notes.isEmpty)
        // What one entry tells holds for all, and the other stack is the other one.
        let both = "@[\n    f+1\n, \n    g+1\n]: 1\n@[\n    h+1\n, \n    main+1\n]: 1\n"
        #expect(try lines(both) == ["g;f_[k] 1", "main;h_[k] 1"])
    }

    @Test func framesOfAllModesAreNames() {
        for (line, name) in [
            ("    vfs_read+187", "vfs_read"), ("    shop::Order::check(int, char const*)+25", "shop::Order::check"), ("    0x7f3eba854680", "[unknown]"),
            ("\t7f07c60082ad __libc_read+13 (/usr/lib/libc.so.6)", "__libc_read"), ("\t5b20706f6873006f 0x5b20706f6873006f ([unknown])", "[unknown]"),
            ("\tffffffff816bac2b vfs_read+187", "vfs_read"), ("\tffffffff816bac2b", "[unknown]"), ("ffffffff816bac2b", "[unknown]"),
            ("\t55a886e02222 shop::check(int)+42 (/srv/a (deleted))", "shop::check"), ("\t7f07c60082ad 0x7f07c60082ad (/usr/lib/libx.so)", "[libx.so]"),
            ("    f+12@/src/a.c:34", "f"), ("    [inlined] g@/src/a.c:34", "g"), ("    read@@GLIBC_2.2+3", "read@@GLIBC_2.2"), ("    a;b+1", "a:b"),
            ("    operator+(A, A)+5", "operator+"), ("    f", "f"), ("\tffffffff816bac2bvfs_read+187", "vfs_read"),
            ("\t7f07c60082adread+13(/lib/c.so)", "read"),
            ("    core::ops::call::h0123456789abcdef+9", "core::ops::call"),
        ] { #expect(text(BPFTraceFrame(Array(line.utf8)[...], collapseDefaults).name) == name, "\(line)") }
        var options = collapseDefaults
        options.showsAddresses = true
        #expect(text(BPFTraceFrame(Array("    0x7f3e".utf8)[...], options).name) == "[unknown <7f3e>]")
    }

    @Test func inlinedAndCompiledFramesAreMarked() throws {
        #expect(try lines("@[\n    [inlined] in@a.c:1\n    out+3@a.c:9\n    main+1\n]: 1\n") == ["main;out;in_[i] 1"])
        #expect(try lines("@[\n\t7f1 in (inlined)\n\t7f1 out+3 (/bin/a)\n\t7f2 run+3 (/tmp/perf-7.map)\n]: 1\n") == ["run_[j];out;in_[i] 1"])
    }

    @Test func compilersNamesAreTranslated() throws {
        #expect(try lines("@[\n    _RNvC1a4main+1\n]: 1\n") { $0.demangle = { $0 == "_RNvC1a4main" ? "a::main" : nil } } == ["a::main 1"])
    }

    // MARK: Values

    @Test func printingsOfAMapAddUp() throws {
        #expect(try lines(Self.kernel + "\n\n" + Self.kernel + Self.kernel) == ["server;main;read;do_syscall_64_[k];vfs_read_[k] 15"])
        #expect(try lines("@[\n    main+1\n]: 0\n@[\n    f(int)+1\n]: 2\n") == ["f 2"])
    }

    @Test func valuesThatDoNotFitAreNamed() throws {
        let result = try collapse(
            "@[\n    main+1\n]: 18446744073709551616\n@[\n    main+1\n]: 18446744073709551615\n@[\n    main+1\n]: 1\n@[\n    main+1\n]: -1\n")
        #expect(result.lines == ["main 18446744073709551615"])
        #expect(result.collapser.report.rejectedLines.map(\.reason) == [.weightTooLarge, .negativeValue, .weightTooLarge])
        #expect(result.collapser.report.rejectedLines.prefix(2).map(\.number) == [1, 10])
        let json = #"{"type": "map", "data": {"@": {"\nmain+1\n": "9007199254740993"}}}"#
        #expect(try lines(json + "\n") == ["main 9007199254740993"])
    }

    @Test func averagesInJSONAreNoCounts() throws {
        let json = #"{"type": "stats", "data": {"@a": {"\n    main+1\n": 3}}}"# + "\n" + #"{"type": "map", "data": {"@b": {"\n    main+1\n": 4}}}"# + "\n"
        let result = try collapse(json)
        #expect(result.lines == ["main 4"])
        #expect(result.collapser.report.events.map(\.name) == ["@a (its values are no counts)", "@b"])
    }

    // MARK: What is not understood

    @Test func damagedEntriesAreNamed() throws {
        for (input, reasons, expected) in [
            ("@[\n    main+1\n" + Self.kernel, [CollapseReport.Line.Reason.incompleteEntry], 1), ("    vfs_read+3\n" + Self.kernel, [.frameWithoutSample], 1),
            (", server]: 5\n" + Self.kernel, [.unknown], 1), ("]: 5\n" + Self.kernel, [.unknown], 1), (Self.kernel + "@[\n    main+1", [.incompleteEntry], 1),
            ("@[a\nb]: 3\n" + Self.kernel, [.unknown], 1), ("{\"type\": \"map\", \"da\n" + Self.kernel, [.brokenJSON], 1),
            ("@[\n    main+1\nthe script prints\n]: 3\n" + Self.kernel, [.unknown, .incompleteEntry], 1),
            ("the script prints\n   this, too\n" + Self.kernel, [], 1),
        ] {
            let result = try collapse(input)
            #expect(Set(result.collapser.report.rejectedLines.map(\.reason)) == Set(reasons), "\(input)")
            #expect(result.lines.count == expected)
            #expect(result.collapser.report.accountedLines == result.collapser.report.lines)
        }
    }

    @Test func whatEditorsDoToTextDoesNoHarm() throws {
        let trimmed = Self.kernel.replacing(", \n", with: ",\n")
        #expect(try lines(trimmed) == lines(Self.kernel))
        #expect(try lines(Self.kernel.replacing("\n", with: "\r\n")) == lines(Self.kernel))
        #expect(CollapseFormat.guess(Array(trimmed.utf8))?.name == "bpftrace")
    }

    @Test func theFormatIsFound() {
        for text in [
            Self.kernel, "Attaching 2 probes...\n\n\n" + Self.kernel, "@x[comm, 1]: 3\n", #"{"type": "attached_probes", "data": {"probes": 2}}"#,
            "@[\nffffffff816bac2b\n]: 1\n", "@[a, \n\t401136 f+1 (a)\n]: 1\n", "WARNING: Addrspace is not set\n" + #"{"type": "map", "data": {}}"#,
        ] { #expect(CollapseFormat.guess(Array(text.utf8))?.name == "bpftrace", "\(text)") }
        for text in ["@[\n", "@\n", "@[a] 5\n", "a;@[b]: c 5\n", "@x: 5\n", "{\"nodes\": []}"] {
            #expect(CollapseFormat.guess(Array(text.utf8))?.name != "bpftrace", "\(text)")
        }
    }

    @Test func JSONIsReadWhole() throws {
        for text in [#"{"a": 1, "a": -2.5e3, "b": [1, {"c": null}], "d": "\u00e9\ud83d\ude00\n\/", "e": {}}"#, "  {}  ", "[]", "true"] {
            #expect(BPFTraceJSON.value(Array(text.utf8)[...]) != nil, "\(text)")
        }
        for text in ["", "{", "{\"a\"}", "{\"a\": }", "{\"a\": 1,}", "[1", "\"a", "\"\\", "\"\\u12", "x", "{} {}", String(repeating: "[", count: 100_000)] {
            #expect(BPFTraceJSON.value(Array(text.utf8)[...]) == nil, "\(text.prefix(20))")
        }
        guard case .string(let text) = BPFTraceJSON.value(Array(#""\u00e9\ud83d\ude00\t\ud800x""#.utf8)[...]) else { throw CancellationError() }
        #expect(String(decoding: text, as: UTF8.self) == "é😀\t\u{fffd}x")
    }

    /// Twenty thousand damaged recordings: every line is counted or named.
    @Test func damagedRecordingsAreReadToTheEnd() throws {
        let names = ["bpftrace.txt", "bpftrace-json.txt", "bpftrace-perf.txt", "bpftrace-probes.txt"]
        let recordings = try names.map { try FormatTests.bytes($0) }
        let special = Array("\n\n\t    @[]{}(),:\"\\-+019af_|".utf8) + [0, 0x1b, 0x80, 0xff]
        for seed in 0..<20_000 {
            var generator = SeededGenerator(seed: UInt64(seed))
            var input = recordings[seed % recordings.count]
            // Short ones are quicker; entries are short.
            let start = Int.random(in: 0..<input.count, using: &generator)
            input = Array(input[start..<min(start + 500, input.count)])
            for _ in 0..<Int.random(in: 1...10, using: &generator) where !input.isEmpty {
                let place = Int.random(in: 0..<input.count, using: &generator)
                switch Int.random(in: 0...4, using: &generator) {
                case 0: input[place] = UInt8.random(in: 0...255, using: &generator)
                case 1: input.insert(special.randomElement(using: &generator) ?? 0, at: place)
                case 2: input.removeSubrange(place..<min(place + Int.random(in: 1...60, using: &generator), input.count))
                case 3: input.insert(contentsOf: input[place..<min(place + Int.random(in: 1...90, using: &generator), input.count)], at: 0)
                default: input[place] = special.randomElement(using: &generator) ?? 0
                }
            }
            _ = CollapseFormat.guess(input)
            var options = collapseDefaults
            options.showsThread = seed % 3 == 0
            if seed % 5 == 0 { options.keys = ["kstack", "ustack", "comm"] }
            if seed % 7 == 0 { options.events = ["@three", "@"] }
            let (lines, collapser) = try #require(read(input, as: .bpftrace, options))
            #expect(collapser.report.accountedLines == collapser.report.lines, "seed \(seed)")
            let stacks = FoldedStacks(parsing: Array(lines.joined(separator: "\n").utf8))
            #expect(stacks.acceptedLines == lines.count && stacks.rejectedCount == 0, "seed \(seed)")
        }
    }
}
