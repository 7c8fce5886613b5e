import Foundation
import Glibc
import TestSupport
import Testing

/// The subcommands on files, as a shell runs them: what goes to which stream, and how they end. They need no privileges.
struct FoldedCommandTests {
    /// What a line of shell did. The variable k is the path of kiln.
    struct Result {
        var status: Int32
        var output: String
        var errors: String
    }

    private static let files = [
        "a.folded": "main;read 12\nmain;write 5\n", "b.folded": "main;read 2\nother;x 1\n", "empty.folded": "",
        "bad.folded": "good 1\nbad\nmain12\nx 1.2.3\n\ny 2\n",
        "two.folded": "main 1 2\nmain;f 3 4\n",
        "a.perf": "dd 7 [000] 1.0: 5 cycles: \n\t 1f read (/bin/dd)\n\nnonsense\ndd 7 [000] 2.0: 6 faults: \n\t 1f fault (/bin/dd)\n",
    ]

    private func shell(_ script: String, in directory: String = "", file: (name: String, text: String)? = nil) throws -> Result {
        let place = directory.isEmpty ? temporaryDirectory() : directory
        defer { if directory.isEmpty { try? FileManager.default.removeItem(atPath: place) } }
        for (name, text) in Self.files { try text.write(toFile: "\(place)/\(name)", atomically: true, encoding: .utf8) }
        if let file { try file.text.write(toFile: "\(place)/\(file.name)", atomically: true, encoding: .utf8) }
        let child = try Child(
            "bash", ["-c", "cd '\(place)' && k='\(KilnRun.binary)'; \(script)"], output: place + "/out", errors: place + "/err")
        if !eventually(within: 60, { !child.isRunning }) { kill(child.pid, SIGKILL) }
        for name in try FileManager.default.contentsOfDirectory(atPath: place) where name.hasSuffix(".svg") {
            let complaint = try xmllint("\(place)/\(name)")
            #expect(complaint == nil, "\(script)")
        }
        func text(_ name: String) -> String { (try? String(contentsOfFile: "\(place)/\(name)", encoding: .utf8)) ?? "" }
        return Result(status: child.wait(), output: text("out"), errors: text("err"))
    }

    private func expect(
        _ script: String, status: Int32 = 0, output: String? = nil, errors: String = "", sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let result = try shell(script)
        #expect(result.status == status, "\(script): \(result.errors)", sourceLocation: sourceLocation)
        if let output { #expect(result.output == output, "\(script)", sourceLocation: sourceLocation) }
        #expect(result.errors == errors, "\(script)", sourceLocation: sourceLocation)
    }

    private static let unreadable = """
        kiln: bad.folded: line 2: does not end in a number: bad
        kiln: bad.folded: line 3: no stack and blank before the number: main12
        kiln: bad.folded: line 4: malformed number: x 1.2.3

        """

    // MARK: Results

    @Test func inputsAreMergedFromFilesAndStandardInput() throws {
        let merged = "grep -o '20 samples in 4 stacks' | sort -u"
        let found = "20 samples in 4 stacks\n"
        try expect("$k flamegraph a.folded b.folded | \(merged)", output: found)
        try expect("$k flamegraph - b.folded < a.folded | \(merged)", output: found)
        try expect("cat a.folded b.folded | $k flamegraph | \(merged)", output: found)
        try expect("$k flamegraph a.folded b.folded -o x.svg && cat x.svg | \(merged)", output: found)
        try expect("$k flamegraph a.folded b.folded -o - | \(merged)", output: found)
    }

    @Test func standardInputIsReadByEachOfThem() throws {
        try expect("$k collapse perf - < b.perf", status: 1, errors: "bash: line 1: b.perf: No such file or directory\n")
        try expect("printf 'dd 7 1.0: e:\\n\\t1f read (/bin/dd)' | $k collapse perf --plain", output: "dd;read 1\n")
        try expect("$k diff a.folded - < a.folded", output: "main;read 12 12\nmain;write 5 5\n")
        try expect("$k diff - a.folded -o x.folded < a.folded && cat x.folded", output: "main;read 12 12\nmain;write 5 5\n")
    }

    @Test func theFormatOfATextIsFound() throws {
        let bt = "printf 'Thread 1 (Thread 0x7f (LWP 7) \"w-1\"):\\n#0  0x1 in f () at a.c:1\\n'"
        try expect("\(bt) | $k collapse --plain", output: "w-1;f 1\n")
        try expect("\(bt) > x.txt; \(bt) > y.txt; $k collapse x.txt y.txt --merge-threads | grep -v '^#'", output: "w;f 2\n")
        try expect("\(bt) | $k collapse gdb --tid - | grep -v '^#'", output: "w-1-?/7;f 1\n")
        let bpftrace = "printf '@n[comm]: 3\\n@[w, x, 7, \\n    f+1\\n    main+2\\n]: 2\\n'"
        try expect(
            "\(bpftrace) | $k collapse --tid --keys 'comm, tid, ustack(perf, 3)' --plain", output: "w,_x-?/7;main;f 2\n",
            errors: "kiln: -: counted @; left out @n (no stacks). Choose another with --event-filter.\n")
        try expect(
            "\(bpftrace) | $k collapse --keys comm,", status: 64, output: "",
            errors: "Error: --keys comm,: name each key of the map: --keys kstack,ustack,comm\n"
                + "Usage: kiln collapse auto [<options>] [<files> ...]\n  See 'kiln collapse auto --help' for more information.\n")
        try expect("$k collapse a.folded", output: "main;read 12\nmain;write 5\n")
        try expect("printf 'PID 1 - process\nTID 7:\n#0  0x1 f;g\n' | $k collapse --plain", output: "[unknown];f:g 1\n")
        let formats =
            "There are: a profile of pprof, profiles of OpenTelemetry (OTLP 1.10), maps of bpftrace, .cpuprofile of V8, callgrind.out of valgrind, "
            + "`jstack` of a JVM, `eu-stack` of elfutils, `thread apply all bt` of gdb, "
            + "`perf script` text, folded stacks.\n"
        try expect("echo hello | $k collapse", status: 1, output: "", errors: "kiln: -: no known format. \(formats)")
        try expect("$k collapse empty.folded", status: 1, output: "", errors: "kiln: empty.folded: nothing is in it. \(formats)")
        try expect(
            "\(bt) | $k collapse a.folded -", status: 1, output: "",
            errors: "kiln: -: `thread apply all bt` of gdb, but a.folded is folded stacks: collapse each by itself.\n")
        try expect(
            "$k collapse --kernel --tid a.folded", status: 1, output: "", errors: "kiln: --tid, --kernel: means nothing for folded stacks. Leave it out.\n")
        try expect(
            "$k collapse callgrind a.folded | wc -c", output: "0\n",
            errors: "kiln: a.folded: line 1: no line of this format: main;read 12\nkiln: a.folded: line 2: no line of this format: main;write 5\n"
                + "kiln: a.folded: no samples. Give a file that `valgrind --tool=callgrind` wrote.\n")
    }

    @Test func anEmptyFileAmongOthersIsNamed() throws {
        let output = "main;read 12\nmain;write 5\n"
        try expect("$k collapse empty.folded a.folded --plain", output: output, errors: "kiln: empty.folded: nothing is in it\n")
        try expect("$k collapse folded a.folded empty.folded --plain", output: output, errors: "kiln: empty.folded: nothing is in it\n")
        try expect(
            "$k collapse empty.folded empty.folded", status: 1, output: "",
            errors: "kiln: empty.folded, empty.folded: nothing is in them. Give text of one of the formats that `kiln collapse --help` lists.\n")
    }

    @Test func anInputIsNotOverwritten() throws {
        let errors = "kiln: same.folded: is read and can't be written at the same time. Give another file with --output.\n"
        try expect("cp a.folded same.folded; $k collapse same.folded -o same.folded", status: 1, output: "", errors: errors)
        try expect("cp a.folded same.folded; $k collapse - -o same.folded < same.folded; cmp a.folded same.folded", errors: errors)
        try expect("cp a.folded same.folded; $k collapse a.folded -o same.folded; cat same.folded", output: "main;read 12\nmain;write 5\n")
    }

    @Test func differencesAreTextOrAPicture() throws {
        let said = "kiln: the profiles differ in weight, b.folded has 0.18 times that of a.folded: -n compares shares\n"
        try expect("$k diff a.folded b.folded", output: "main;read 12 2\nmain;write 5 0\nother;x 0 1\n", errors: said)
        try expect("$k diff -n a.folded b.folded -o x.svg && grep -c 'by share</text>' x.svg", output: "1\n")
        try expect("$k diff --svg -n a.folded b.folded | head -c 5", output: "<?xml")
        try expect("$k flamegraph two.folded | grep -c 'class=\"bands\"'", output: "1\n")
        try expect("$k flamegraph --no-diff two.folded | grep -o '<text [^>]*>main [13]</text>' | sed 's/.*>m/m/'", output: "main 1</text>\n")
    }

    @Test func theTextOfADifferenceIsJudgedAsThePicture() throws {
        let inputs = "printf 'm;a 10\\nm;b 10\\n' > s1; printf 'm;a 350\\nm;b 650\\n' > s2"
        let signs = "grep -c '[▲▼] [ab]<' x.svg"
        try expect("\(inputs); $k diff -n s1 s2 -o x.svg; \(signs)", status: 1, output: "0\n")
        try expect("\(inputs); $k diff -n s1 s2 | $k flamegraph -o x.svg; \(signs)", status: 1, output: "0\n")
        try expect(
            "\(inputs); $k diff -n s1 s2",
            output: "# weight of a sample: 1\n# first profile multiplied by: 50\nm;a 500 350\nm;b 500 650\n")
    }

    private static let events = """
        printf '# event: cycles\\n# unit: cycles\\n# weight of a sample: 1000\\na;b 5000\\n' > ev1
        printf '# event: cpu-clock\\n# unit: ns\\n# weight of a sample: 10\\na;b 50\\n' > ev2
        printf 'a;b 5\\n' > plain1

        """

    @Test func differentUnitsAreNotAddedUpSilently() throws {
        try expect(
            Self.events + "$k flamegraph ev1 ev2", status: 1, output: "",
            errors: "kiln: ev1 counts cycles, ev2 counts ns: they can't be added up. Draw each by itself.\n")
        try expect(
            Self.events + "$k flamegraph ev1 plain1 | grep -o '5,005 units' | sort -u", output: "5,005 units\n",
            errors: "kiln: ev1 counts cycles, plain1 doesn't say what it counts: the numbers are added up as they are\n")
        try expect(
            Self.events + "$k diff ev1 ev2 | grep '^a'", output: "a;b 5000 50\n",
            errors: "kiln: ev1 counts cycles, ev2 counts ns; their weights can't be compared, -n compares shares\n")
        try expect(
            Self.events + "$k diff -n ev1 ev2 | grep '^a'", output: "a;b 50 50\n",
            errors: "kiln: ev1 counts cycles, ev2 counts ns; only shares can be compared\n")
        try expect(Self.events + "$k flamegraph ev1 ev1 | grep -o '10,000 cycles' | sort -u", output: "10,000 cycles\n")
    }

    @Test func textOfOtherProfilersIsToBeCollapsedFirst() throws {
        func said(_ name: String, _ title: String) -> String { "kiln: \(name): \(title), not folded stacks. Collapse it first: `kiln collapse \(name)`.\n" }
        let perf = "printf 'dd 7 1.0: e:\\n\\t1f read (/bin/dd)\\n\\n' > x.perf; "
        try expect(
            perf + "$k flamegraph a.folded x.perf -o x.svg; s=$?; test ! -e x.svg && exit $s", status: 1, errors: said("x.perf", "`perf script` text"))
        try expect(perf + "$k diff x.perf a.folded", status: 1, output: "", errors: said("x.perf", "`perf script` text"))
        let callgrind = "printf '# callgrind format\\nversion: 1\\nevents: Ir\\n\\nfn=(1) main\\n16 100\\n17 100\\n18 5\\n19 5\\n20 1\\n21 1\\n' > cg.out; "
        try expect(callgrind + "$k flamegraph cg.out", status: 1, output: "", errors: said("cg.out", "callgrind.out of valgrind"))
        let gdb = "printf 'Thread 1 (Thread 0x7f (LWP 7) \"w-1\"):\\n#0  0x1 in f () at a.c:1\\n'"
        try expect(
            "\(gdb) | $k flamegraph", status: 1, output: "",
            errors: "kiln: -: `thread apply all bt` of gdb, not folded stacks. Collapse it first: `kiln collapse`.\n")
    }

    @Test func aBaseThatNoStackHasIsSaid() throws {
        try expect(
            "$k flamegraph --base nope a.folded", status: 1, output: "",
            errors: "kiln: a.folded: no stack has a frame nope. Give --base a frame's whole name and its mark, like read_[k].\n")
        try expect("$k flamegraph --base nope --base read a.folded b.folded > x.svg")
    }

    /// A session's directory `s` with stacks by command, and one without, `t`.
    private static let sessions = """
        mkdir s t; printf 'srv;GET;exec;main;get 6\\nsrv;GET;reply;main;write 2\\nsrv;SET;exec;main;set 3\\nsrv;[event loop];main 1\\n' > s/stacks.by-command.folded
        printf 'srv;main;get 6\\nsrv;main;write 2\\nsrv;main;set 3\\nsrv;main 1\\n' | tee s/stacks.folded > t/stacks.folded

        """

    @Test func aSessionIsDrawnWithAChoiceOfCommandsWhereItHasThem() throws {
        let choice = "grep -o '12 samples in 4 stacks\\|\"commands\":{\\|^{\"name\":\"[^\"]*' | sort -u"
        let merged = "12 samples in 4 stacks\n"
        let all = "\"commands\":{\n" + merged + "{\"name\":\"GET\n{\"name\":\"SET\n{\"name\":\"[event loop]\n"
        try expect(Self.sessions + "$k flamegraph s | LC_ALL=C \(choice)", output: all)
        try expect(Self.sessions + "$k flamegraph s/stacks.by-command.folded | LC_ALL=C \(choice)", output: all)
        try expect(Self.sessions + "$k flamegraph t | \(choice)", output: merged)
        try expect(Self.sessions + "$k flamegraph s/stacks.folded | \(choice)", output: merged)
        // Together with stacks that name no commands, only the merged ones can be added up.
        try expect(
            Self.sessions + "$k flamegraph s t | grep -o '24 samples in 8 stacks\\|\"commands\":{' | sort -u", output: "24 samples in 8 stacks\n")
        try expect(Self.sessions + "$k flamegraph --reverse s | \(choice)", output: merged)
        try expect(Self.sessions + "$k flamegraph --flamechart s | \(choice)", output: merged)
        try expect(
            Self.sessions + "rm t/*; $k flamegraph t", status: 1, output: "",
            errors: "kiln: cannot read t: Is a directory without stacks.folded. Give the directory of a session that has it, or a file of folded stacks.\n")
    }

    // MARK: Profiles

    /// A session's directory `r`.
    private static let recorded = """
        mkdir -p r; printf '%s' '{"kiln":{"version":"1"},"kernel":"6.1","hook":"none","started":"2026-11-30T12:00:00.000Z","duration_s":10,"interval_s":1,\
        "ended":"duration","target":{"pid":7,"comm":"main","ports":[]},"commands":{},"phases_unknown":{},"waits":[],"clients":{},\
        "samples":{"on_cpu":{"frequency_hz":99,"unit":"samples","recorded":0,"complete":0,"ends":{},"kernel_truncated":0}},"lost":{},\
        "cost":{"own_cpu_s":0.1,"own_peak_rss_bytes":1048576,"target_cpu_s":1,"attach_s":0.1}}' > r/session.json
        printf 'main;f;read_[k] 3\nmain;f;g_[i] 2\n' > r/stacks.folded; printf 'main;f 5000000\n' > r/stacks.off-cpu.folded

        """

    @Test func aSessionIsExportedAndReadBack() throws {
        let stacks = "main;f;g_[i] 2\nmain;f;read_[k] 3\n", waits = "# event: off_cpu\n# unit: ns\n# roots: processes\nmain;f 5000000\n"
        let left = "kiln: r: wrote on-cpu; for off-cpu give --kind\n"
        try expect(Self.recorded + "$k export r -o a.pb.gz && $k collapse pprof a.pb.gz 2>/dev/null | grep -v '^#'", output: stacks, errors: left)
        try expect(Self.recorded + "$k export r --format pprof 2>/dev/null | $k collapse 2>/dev/null | grep -v '^#'", output: stacks)
        try expect(Self.recorded + "$k export r -o a.otlp && $k collapse a.otlp 2>/dev/null | grep -v '^#'", output: stacks)
        try expect(Self.recorded + "$k export r --kind off-cpu --format otlp | $k collapse otlp", output: waits)
        try expect(
            Self.recorded + "$k export r -o a.otlp.gz && $k collapse a.otlp.gz --event-filter off_cpu", output: waits,
            errors: "kiln: a.otlp.gz: counted off_cpu; left out samples. Choose another with --event-filter.\n")
        try expect(
            Self.recorded + "$k export r -o a.otlp && $k flamegraph a.otlp | grep -o '5 samples in 2 stacks' | sort -u", output: "5 samples in 2 stacks\n")
        try expect(
            Self.recorded + "$k export r -o a.otlp && head -c 300 a.otlp | $k collapse", status: 1, output: "",
            errors:
                "kiln: cannot read -: it is damaged or has no profiles of OpenTelemetry. Give profiles of OpenTelemetry (OTLP 1.10).\n")
        try expect(
            Self.recorded + "$k export r --kind cycles -o a.pb", status: 1, output: "",
            errors: "kiln: r: no samples of cycles. There are: on-cpu, off-cpu.\n")
        for format in ["pprof", "speedscope", "firefox", "perfetto", "otlp"] {
            try expect(
                Self.recorded + "rm r/stacks.*; $k export r --format \(format)", status: 1, output: "",
                errors: "kiln: r has no stacks to export: nothing was sampled in this session. Record with `kiln record` or `kiln redis`.\n")
        }
    }

    // MARK: Commands

    @Test func oneCommandOfASessionIsDrawn() throws {
        let drawn = "grep -o '<title>[^<]*\\|[0-9]* samples in . stacks\\|>exec<' | sort -u"
        let get = "8 samples in 2 stacks\n<title>Flame graph · GET\n>exec<\n"
        try expect(Self.sessions + "$k flamegraph --command get s | LC_ALL=C \(drawn)", output: get)
        try expect(Self.sessions + "$k flamegraph --command GET s/stacks.by-command.folded -o x.svg; cat x.svg | LC_ALL=C \(drawn)", output: get)
        try expect(Self.sessions + "$k flamegraph --command GET < s/stacks.by-command.folded | LC_ALL=C \(drawn)", output: get)
        try expect(
            Self.sessions + "$k flamegraph --command set --command '[Event loop]' s | LC_ALL=C \(drawn)",
            output: "4 samples in 2 stacks\n<title>Flame graph · SET, [event loop]\n>exec<\n")
        try expect(
            Self.sessions + "$k flamegraph --command GET --command del s", status: 1, output: "",
            errors: "kiln: s/stacks.by-command.folded: no stack of del. There are: GET, SET, [event loop].\n")
        try expect(
            Self.sessions + "$k flamegraph --command GET t", status: 1, output: "",
            errors:
                "kiln: cannot read t: Is a directory without stacks.by-command.folded. Give the directory of a session that has it, or a file of folded stacks.\n"
        )
        try expect(
            Self.sessions + "$k flamegraph --command GET s/stacks.folded", status: 1, output: "",
            errors: "kiln: s/stacks.folded: not all stacks name a command. Give a session's directory, or a file that ends in .by-command.folded.\n")
        try expect(
            "$k flamegraph --command GET empty.folded", status: 1, output: "",
            errors: "kiln: empty.folded: no stacks: the input is empty. Give folded stacks: `main;read 12`.\n")
    }

    @Test func slowAndFastCallsAreChosenTogetherOrAlone() throws {
        let slow = Self.sessions + "sed 's/GET;/GET (slow);/; s/SET;/GET (fast);/' s/stacks.by-command.folded > t/stacks.by-command.folded; "
        let drawn = "grep -o '<title>[^<]*\\|[0-9]* samples in . stacks' | sort -u"
        try expect(
            slow + "$k flamegraph --command get t | LC_ALL=C \(drawn)",
            output: "11 samples in 3 stacks\n<title>Flame graph · GET (fast), GET (slow)\n")
        try expect(
            slow + "$k flamegraph --command 'GET (slow)' t | LC_ALL=C \(drawn)", output: "8 samples in 2 stacks\n<title>Flame graph · GET (slow)\n")
        try expect(
            slow + "$k diff --command GET t t",
            output: "srv;GET (fast);exec;main;set 3 3\nsrv;GET (slow);exec;main;get 6 6\nsrv;GET (slow);reply;main;write 2 2\n")
        try expect(slow + "$k diff --command 'get (fast)' t t", output: "srv;exec;main;set 3 3\n")
        try expect(
            slow + "$k flamegraph --command SET t", status: 1, output: "",
            errors: "kiln: t/stacks.by-command.folded: no stack of SET. There are: GET (fast), GET (slow), [event loop].\n")
    }

    @Test func sessionsAndTheirCommandsAreCompared() throws {
        let more = "cp -r s u; sed -i 's/get 6/get 7/' u/*.folded; "
        try expect(
            Self.sessions + more + "$k diff --command get s u", output: "srv;exec;main;get 6 7\nsrv;reply;main;write 2 2\n")
        try expect(Self.sessions + more + "$k diff s u", output: "srv;main 1 1\nsrv;main;get 6 7\nsrv;main;set 3 3\nsrv;main;write 2 2\n")
        try expect(Self.sessions + more + "$k diff --command get s u -o x.svg; grep -o '<title>[^<]*' x.svg", output: "<title>Difference · GET\n")
        try expect(
            Self.sessions + more + "sed -i /GET/d u/*; $k diff --command get s u", status: 1, output: "",
            errors: "kiln: u/stacks.by-command.folded: no stack of get. There are: SET, [event loop].\n")
    }

    @Test func aFileThatIsReadIsNotWritten() throws {
        let said = "kiln: a.folded: is read and can't be written at the same time. Give another file with --output.\n"
        for command in ["flamegraph a.folded", "flamegraph b.folded - < a.folded", "diff b.folded a.folded", "diff --svg ./a.folded b.folded"] {
            try expect("$k \(command) -o a.folded; s=$?; cat a.folded; exit $s", status: 1, output: "main;read 12\nmain;write 5\n", errors: said)
        }
    }

    /// Hashed by another program than kiln.
    @Test func thePrintedPolicyHasTheHashesOfThePicture() throws {
        let script = """
            $k flamegraph a.folded -o x.svg; for tag in script style; do
            hex=$(xmllint --xpath "string(//*[local-name()='$tag'])" x.svg | head -c -1 | sha256sum | cut -c -64 | sed 's/../\\\\x&/g')
            $k flamegraph --csp | grep -oF "$tag-src 'sha256-$(printf "$hex" | base64)'" > /dev/null && echo $tag; done
            """
        try expect(script, output: "script\nstyle\n")
    }

    @Test func theKindsOfFilesMayNotBeMixed() throws {
        try expect(
            "$k flamegraph a.folded two.folded", status: 1, output: "",
            errors: "kiln: a.folded, two.folded: some files have two numbers on every line, some one. Say which is meant: --diff or --no-diff.\n")
    }

    @Test func eventsThatAreLeftOutAreNamed() throws {
        let bad = "kiln: a.perf: line 4: neither a sample nor a frame: nonsense\n"
        try expect(
            "$k collapse perf --plain a.perf", output: "dd;read 5\n",
            errors: bad + "kiln: a.perf: counted 1 samples of cycles; left out 1 of faults. Choose another with --event-filter.\n")
        try expect(
            "$k collapse perf --event-filter nothing a.perf", status: 1, output: "",
            errors: bad + "kiln: a.perf: no sample of nothing; there are 1 of cycles, 1 of faults. Name one with --event-filter.\n")
    }

    // MARK: Input that can't be used

    @Test func linesThatDoNotParseAreNamedAndTheRestIsDrawn() throws {
        try expect("$k flamegraph bad.folded | grep -o '3 samples in 2 stacks' | sort -u", output: "3 samples in 2 stacks\n", errors: Self.unreadable)
        try expect("$k diff bad.folded bad.folded", output: "good 1 1\ny 2 2\n", errors: Self.unreadable + Self.unreadable)
        let many = try shell("seq 100 | sed '50!s/.*/bad/; 50s/.*/good 1/' | $k flamegraph -o x.svg")
        #expect(many.status == 0)
        #expect(many.errors.hasSuffix("kiln: -: 99 lines in all could not be read\n"))
        #expect(many.errors.hasPrefix("kiln: -: line 1: "))
    }

    @Test func emptyInputIsAnErrorAndAnHonestPicture() throws {
        let said = "kiln: empty.folded: no stacks: the input is empty. Give folded stacks: `main;read 12`.\n"
        try expect("$k flamegraph empty.folded", status: 1, output: "", errors: said)
        try expect("$k flamegraph empty.folded -o x.svg; s=$?; grep -c 'Nothing to draw' x.svg; exit $s", status: 1, output: "1\n", errors: said)
        try expect("$k diff a.folded empty.folded", status: 1, output: "", errors: said)
        try expect(
            "$k collapse perf empty.folded", status: 1, output: "",
            errors:
                "kiln: empty.folded: no samples. Give what `perf script` prints of a recording made with `perf record -g`; of the fields that -F names, comm, tid (or pid) and one of time, event and cpu are needed: `perf script -F +comm,+tid,+time`.\n"
        )
    }

    @Test(arguments: [
        ("flamegraph nowhere", "folded stacks"), ("flamegraph a.folded nowhere", "folded stacks"), ("diff a.folded nowhere", "folded stacks"),
        ("diff nowhere a.folded", "folded stacks"), ("collapse perf nowhere", "`perf script` text"),
    ])
    func filesThatCanNotBeReadAreSaid(command: String, kind: String) throws {
        try expect(
            "$k \(command)", status: 1, output: "",
            errors: "kiln: cannot read nowhere: No such file or directory. Give a file of \(kind), or - for standard input.\n")
        let directory = try shell("$k \(command.replacingOccurrences(of: "nowhere", with: "."))")
        #expect(directory.status == 1)
        #expect(directory.errors.contains("cannot read .: Is a directory"))
    }

    @Test(arguments: [
        "flamegraph --nonsense a.folded", "flamegraph --width 5 a.folded", "flamegraph --width wide a.folded", "flamegraph --colors mauve a.folded",
        "flamegraph --minwidth x a.folded", "flamegraph --bgcolors mauve a.folded", "flamegraph --factor 0 a.folded", "flamegraph --total x a.folded",
        "flamegraph --reverse --flamechart a.folded", "flamegraph --command GET --diff a.folded", "flamegraph --sample-weight 0 a.folded",
        "collapse perf --context a.perf",
        "diff a.folded", "diff - -",
    ])
    func wrongUsageIsSaidWithWhatIsRight(command: String) throws {
        let result = try shell("$k \(command) < /dev/null")
        #expect(result.status == 64)
        #expect(result.errors.hasPrefix("Error: "))
        #expect(result.errors.contains("Usage: kiln "))
        #expect(result.output.isEmpty)
    }

    // MARK: Output that can't be written

    @Test(arguments: ["flamegraph a.folded", "diff a.folded a.folded", "diff --svg a.folded a.folded", "collapse perf good.perf"])
    func outputThatCanNotBeWrittenIsSaid(command: String) throws {
        let perf = (name: "good.perf", text: "dd 7 1.0: e:\n\t1f read (/bin/dd)\n")
        let full = try shell("$k \(command) > /dev/full", file: perf)
        #expect(full.status == 1)
        #expect(full.errors == "kiln: cannot write standard output: No space left on device. Redirect it to another file, or free space there.\n")
        let file = try shell("$k \(command) -o /dev/full", file: perf)
        #expect(file.status == 1)
        #expect(file.errors == "kiln: cannot write /dev/full: No space left on device. Give a file that can be written with --output.\n")
        let nowhere = try shell("$k \(command) -o nowhere/x", file: perf)
        #expect(nowhere.status == 1)
        #expect(nowhere.errors == "kiln: cannot write nowhere/x: No such file or directory. Give a file that can be written with --output.\n")
    }

    /// A pipe whose reader is gone ends kiln without a word, as it ends other programs.
    @Test(arguments: ["flamegraph --minwidth 0", "collapse perf", "collapse perf --inline", "diff big.txt"])
    func aReaderThatLeavesIsNoError(command: String) throws {
        let lines = (0..<20_000).map { command.hasPrefix("collapse") ? "c\($0) 7 1.0: e:\n\t1f function\($0) (/bin/dd)\n" : "main;function\($0) 1" }
        let result = try shell("$k \(command) big.txt | head -c 1 > /dev/null; exit ${PIPESTATUS[0]}", file: ("big.txt", lines.joined(separator: "\n")))
        #expect(result.status == 128 + SIGPIPE)
        #expect(result.errors.isEmpty)
    }

    // MARK: Debug information

    @Test func withoutAddr2lineOneLineSaysSo() throws {
        let samples = "a 1 1.0: e:\n\t1f f (/bin/sh)\n\t1f g (/bin/bash)\n"
        let result = try shell("PATH=nowhere $k collapse perf --inline two.perf", file: ("two.perf", samples))
        #expect(result.output.hasSuffix("\na;g;f 1\n"))
        #expect(result.errors == "kiln: cannot start addr2line: No such file or directory. Install binutils, or leave out --inline.\n")
    }

    private static let spin = """
        static inline unsigned long mix(unsigned long x) { x ^= x >> 31; return x * 0x9e3779b97f4a7c15ul; }
        static inline unsigned long step(unsigned long x) { for (int i = 0; i < 8; i++) x = mix(x + i); return x; }
        __attribute__((noinline)) unsigned long work(unsigned long n) {
            unsigned long x = n; for (unsigned long i = 0; i < n; i++) x = step(x); return x; }
        int main(int count, char **words) { return (int)work(count); }
        """

    /// A sample at each byte of a real function, printed as perf does: by its place in the file, which a program that
    /// is not position-independent was not linked for.
    @Test(.enabled(if: Program.canCompile, "there is no C compiler"), arguments: ["", "-no-pie"])
    func inlinedFunctionsAreFoundInDebugInformation(option: String) throws {
        let prepare = """
            cc -O2 -g \(option) -o spin spin.c && text=$(readelf -lW spin | awk '$1 == "LOAD" && / R E / { print $3 - $2; exit }') &&
            set -- $(nm -S spin | grep ' work$') && for at in $(seq 0 $((0x$2 - 1))); do
            printf 'spin 7 1.0: e:\\n\\t%x work+0x%x (%s)\\n\\n' $((0x$1 + at - text)) $at "$PWD/spin"; done > spin.perf && wc -l < spin.perf &&
            """
        for (context, step) in [("", "step"), ("--context", "step:spin.c:2")] {
            let result = try shell(prepare + "$k collapse perf --inline \(context) spin.perf", file: ("spin.c", Self.spin))
            #expect(result.status == 0, "\(result.errors)")
            let lines = result.output.split(separator: "\n").filter { !$0.hasPrefix("# ") }
            let bytes = try #require(lines.first.flatMap { UInt64($0) }) / 3
            let stacks = Stacks(lines.dropFirst().joined(separator: "\n"))
            let frames = stacks.lines.map(\.frames)
            #expect(frames.contains { $0.last?.hasPrefix("mix") == true && $0.contains("\(step)_[i]") }, "\(result.output)")
            #expect(frames.allSatisfy { $0.count > 1 && $0[1].hasPrefix("work") && $0.dropFirst(2).allSatisfy { $0.hasSuffix("_[i]") } }, "\(result.output)")
            #expect(stacks.lines.reduce(0) { $0 + $1.samples } == bytes)
        }
    }
}
