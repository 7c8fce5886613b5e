import Foundation
import Glibc
import KilnModel
import TestSupport
import Testing

private let fixtures = checkout.appendingPathComponent("Tests/KilnTests/Functions/Fixtures").path

/// Compiles a fixture into a directory of its own.
private final class Compiled {
    let directory = temporaryDirectory()
    var program: String { directory + "/program" }

    init(_ command: (_ program: String, _ directory: String) -> [String]) throws {
        let words = command(directory + "/program", directory)
        guard try Child(words[0], Array(words.dropFirst()), errors: directory + "/errors").wait() == 0 else {
            throw TestFailure((try? String(contentsOfFile: directory + "/errors", encoding: .utf8)) ?? "\(words) failed")
        }
    }

    static func cxx(_ options: [String]) throws -> Compiled {
        try Compiled { program, _ in ["c++", "-std=c++20", "-pthread"] + options + ["-o", program, fixtures + "/calls.cpp"] }
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }
}

private let timedCalls: [String: UInt64] = [
    "recursive": 10_001, "even": 51, "odd": 51, "jumps": 31 * 51 + 10_001, "throws": 17 * 21, "catches": 1, "first": 13, "second": 13, "inner": 110,
    "outer": 11, "templated<1>": 101, "templated<2>": 103, "threaded": 16 * 211, "in_fiber": 22, "in_coroutine": 37,
]

extension KernelTests {
    /// `kiln functions`, against what programs know of themselves.
    @Suite(.enabled(if: Program.Language.cc.canCompile, "no C++ compiler")) struct FunctionTests {
        @Test(.tags(.timing)) func callsAndTimesAreThoseOfTheProgram() throws {
            let compiled = try Compiled.cxx(["-O2"])
            let run = try FunctionRun(["*", "--time", "--max-cost", "100", "--", compiled.program])
            #expect(run.status == 0, "\(run.errors)")
            for (name, calls) in timedCalls { #expect(try run.calls(name) == calls, "\(name)") }
            // Frames that an exception or longjmp left.
            for name in ["jumps", "throws"] {
                let times = try #require(try run.row(name).times)
                #expect(times.returned == 0 && times.neverReturned == timedCalls[name] && times.outermost.count == 0, "\(name): \(times)")
            }
            for (name, outermost) in [("recursive", 1), ("even", 1), ("first", 13), ("second", 13), ("outer", 11), ("inner", 110), ("in_fiber", 22)]
                as [(String, UInt64)]
            {
                let times = try #require(try run.row(name).times)
                #expect(times.outermost.count == outermost && times.returned == timedCalls[name] && times.neverReturned == 0, "\(name): \(times)")
            }
            // Mutual recursion: odd is called by even, again and again.
            #expect(try run.row("odd").times?.outermost.count == 1)
            let own = run.ownTimes
            for name in ["recursive", "even", "catches", "first", "outer"] {
                let time = Double(try #require(try run.row(name).times).outermost.sumNs), truth = try #require(own[name])
                // The program reads its clock around the probes, and other processes run meanwhile.
                #expect(abs(time - truth) < 0.04 * truth, "\(name): \(time) of \(truth)")
            }
            // Self time leaves the probed calls out: 2 ms of each call, the probes of the others besides.
            let outer = try #require(try run.row("outer").times), inner = try #require(try run.row("inner").times)
            #expect(outer.selfNs + inner.outermost.sumNs == outer.outermost.sumNs)
            #expect(outer.selfNs > 22_000_000)
            #expect(run.record.lost == [:])
        }

        @Test(.enabled(if: program("gcov") != nil, "no gcov"))
        func callsAreThoseThatGcovCounts() throws {
            let plain = try Compiled.cxx(["-O2"]), counting = try Compiled.cxx(["-O0", "--coverage", "-fprofile-update=atomic"])
            #expect(try Child(counting.program, []).wait() == 0)
            let run = try FunctionRun(["*", "--max-cost", "100", "--", plain.program])
            let notes = try #require(FileManager.default.contentsOfDirectory(atPath: counting.directory).first { $0.hasSuffix(".gcda") })
            let report = counting.directory + "/report"
            #expect(
                try Child("gcov", ["--json-format", "--stdout", counting.directory + "/" + notes], output: report).wait() == 0)
            struct Report: Decodable {
                struct File: Decodable { var functions: [Function] }
                struct Function: Decodable {
                    var name: String
                    var demangled_name: String
                    var execution_count: UInt64
                }
                var files: [File]
            }
            let counted = try JSONDecoder().decode(Report.self, from: Data(contentsOf: URL(fileURLWithPath: report))).files.flatMap(\.functions)
            let calls = run.calls
            var compared = 0
            for name in timedCalls.keys where !name.contains("<") {
                let truth = try #require(counted.first { $0.name == name }).execution_count
                #expect(calls[name] == truth, "\(name): \(calls[name] ?? 0) of \(truth)")
                compared += 1
            }
            #expect(compared == timedCalls.count - 2)
        }

        @Test(.tags(.timing), .enabled(if: Program.Language.go.canCompile, "no Go compiler"))
        func goroutinesAreCountedAndTimedWhereverTheyRun() throws {
            let compiled = try Compiled { program, directory in
                ["env", "GO111MODULE=off", "GOCACHE=\(directory)/cache", "go", "build", "-o", program, fixtures + "/goroutines.go"]
            }
            let run = try FunctionRun(["main.*", "--time", "--max-cost", "100", "--", compiled.program])
            #expect(run.status == 0, "\(run.errors)")
            for (name, calls) in [
                ("main.leaf", 97 * 101), ("main.grows", 97 * 201), ("main.panics", 97 * 11), ("main.recovers", 97), ("main.sleeps", 7),
                ("main.brief", 20_011),
            ]
                as [(String, UInt64)]
            {
                let row = try run.row(name), times = try #require(row.times), never = name == "main.panics" ? calls : 0
                #expect(row.calls == calls && times.returned == calls - never && times.neverReturned == never, "\(name): \(row.calls), \(times)")
            }
            #expect(try run.row("main.grows").times?.outermost.count == 97)
            let time = Double(try #require(try run.row("main.sleeps").times).outermost.sumNs), truth = try #require(run.ownTimes["main.sleeps"])
            #expect(abs(time - truth) < 0.02 * truth, "\(time) of \(truth)")
            #expect(run.record.lost == [:])
            // Return probes would end the program.
            let kiln = try KilnRun(["main.*", "--time", "--return-probes", "--", compiled.program], subcommand: "functions")
            #expect(kiln.wait() == 1)
            #expect(kiln.errorText.contains("is Go, whose programs a return probe ends"), "\(kiln.errorText)")
        }

        @Test(.tags(.timing), .enabled(if: program("rustc") != nil, "no Rust compiler"))
        func panicsOfRustPassThroughProbes() throws {
            let compiled = try Compiled { program, _ in ["rustc", "-O", "-o", program, fixtures + "/counted.rs"] }
            let run = try FunctionRun(["counted::*", "--time", "--max-cost", "100", "--", compiled.program])
            #expect(run.status == 0, "\(run.errors)")
            #expect(try run.calls("counted::leaf") == 1009)
            #expect(try run.row("counted::panics").times?.neverReturned == 77)
            let time = Double(try #require(try run.row("counted::spins").times).outermost.sumNs), truth = try #require(run.ownTimes["spins"])
            #expect(abs(time - truth) < 0.02 * truth, "\(time) of \(truth)")
        }

        /// What the kernel refuses is named; the rest is counted, also where no process maps the file yet.
        @Test func functionsThatTheKernelRefusesAreNamed() throws {
            let program = try CompiledProgram(
                """
                int plain(int n) { return n + 1; }
                __attribute__((naked)) void locked(void) { __asm__("lock decl (%rdi)\\n ret"); }
                int main() { for (volatile int i = 0; i < 1013; i++) plain(i); return 0; }
                """, ["-O0"])
            let run = try FunctionRun([program.path, "plain", "locked"]) { _ throws in
                let status = try Child(program.path, []).wait()
                #expect(status == 0)
            }
            #expect(try run.calls("plain") == 1013)
            #expect(run.record.functions?.refused.map(\.function) == ["locked"])
            #expect(run.record.functions?.probed.map(\.function) == ["plain"])
        }

        /// Probes with a semaphore, one of them at several places and one as a function's first instruction; as a command, and in a process that runs.
        @Test(.enabled(if: access("/usr/include/x86_64-linux-gnu/sys/sdt.h", F_OK) == 0, "no sys/sdt.h"))
        func staticProbesAreCountedLikeFunctions() throws {
            let program = try CompiledProgram(
                """
                #define _SDT_HAS_SEMAPHORES 1
                #include <signal.h>
                #include <sys/sdt.h>
                #include <unistd.h>
                unsigned short tests_guarded_semaphore __attribute__((section(".probes")));
                unsigned short tests_twice_semaphore __attribute__((section(".probes")));
                unsigned short tests_first_semaphore __attribute__((section(".probes")));
                static void begin(int number) {}
                __attribute__((noinline)) void guarded(int i) { if (tests_guarded_semaphore) DTRACE_PROBE1(tests, guarded, i); }
                __attribute__((noinline)) void twice(int i) { DTRACE_PROBE1(tests, twice, i); if (i & 1) DTRACE_PROBE1(tests, twice, i); }
                __attribute__((noinline)) void first(void) { DTRACE_PROBE(tests, first); }
                int main(int count, char **arguments) {
                    alarm(60);
                    signal(SIGUSR1, begin);
                    if (count > 1) pause(); else usleep(300000);
                    for (int i = 0; i < 7919; i++) { guarded(i); twice(i); if (i < 101) first(); }
                    return 0;
                }
                """, ["-O1", "-fcf-protection=none"])
            func check(_ run: FunctionRun) throws {
                #expect(run.status == 0, "\(run.errors)")
                #expect(try run.calls("usdt:tests:guarded") == 7919 && run.calls("usdt:tests:twice") == 7919 + 3959)
                #expect(try run.calls("usdt:tests:first") == 101)
            }
            let names = ["usdt:tests:*", "first", "--max-cost", "100"]
            let command = try FunctionRun(names + ["--time", "--", program.path])
            try check(command)
            #expect(command.errors.contains("static probes are counted without times"), "\(command.errors)")
            #expect(try command.row("usdt:tests:guarded").times == nil)
            #expect(try command.row("first").times?.returned == 101 && command.calls("first") == 101)
            #expect(command.rows.filter { $0.function == "usdt:tests:twice" }.reduce(0) { $0 + $1.calls } == 7919 + 3959)

            let running = try Child(program.path, ["wait"])
            try check(
                try FunctionRun(["-p", "\(running.pid)"] + names) { _ in
                    kill(running.pid, SIGUSR1)
                    let status = running.wait()
                    #expect(status == 0)
                })

            let kiln = try KilnRun(
                ["usdt:tests:twice", "--callers", "--max-cost", "100", "-o", program.directory + "/session", "--", program.path], subcommand: "functions")
            #expect(kiln.wait() == 0, "\(kiln.errorText)")
            let stacks = Stacks(try String(contentsOfFile: program.directory + "/session/stacks.callers.folded", encoding: .utf8))
            #expect(stacks.samples(through: "main", "twice") == 11878, "\(stacks.lines)")
        }

        /// Where the kernel lets its functions be probed, the reads of a program; elsewhere one line says what is missing.
        @Test func functionsOfTheKernelAreCountedOrRefusedInALine() throws {
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(
                ["kernel:vfs_read", "--max-cost", "100", "-o", directory + "/session", "--", "dd", "if=/dev/zero", "of=/dev/null", "bs=512", "count=1009"],
                subcommand: "functions")
            let status = kiln.wait(), errors = kiln.errorText
            guard try String(contentsOfFile: "/proc/kallsyms", encoding: .utf8).contains(" register_fprobe_ips\n") else {
                #expect(
                    status == 1 && errors.hasPrefix("kiln: functions of the kernel need kprobe_multi, which is missing: ")
                        && errors.split(separator: "\n").count == 1, "\(status): \(errors)")
                return
            }
            #expect(status == 0, "\(errors)")
            let record = try JSONDecoder().decode(SessionRecord.self, from: Data(contentsOf: URL(fileURLWithPath: directory + "/session/session.json")))
            let row = try #require(record.functions?.probed.first { $0.function == "kernel:vfs_read" })
            // The loader reads the C library, too.
            #expect((1009...1015).contains(row.calls), "\(row.calls) calls; \(errors)")
        }

        /// Each function of a stock server at once, while it works, and kiln is killed meanwhile.
        @Test func aServerSurvivesProbesOfAllItsFunctions() throws {
            let server = try RedisServer()
            let commands = 307
            let run = try FunctionRun(["-p", "\(server.pid)", "*", "--max-cost", "100"]) { _ in
                try server.benchmark(["-t", "set", "-n", "\(commands)", "-c", "1"])
            }
            #expect(run.status == 0, "\(run.errors)")
            let functions = try #require(run.record.functions)
            #expect(functions.probed.count > 3000, "\(functions.probed.count) are probed")
            #expect(try run.calls("setCommand") == UInt64(commands))
            // The lines of the intervals add up to the totals.
            for name in ["setCommand", "call", "zmalloc"] {
                #expect(run.rows.filter { $0.function == name }.reduce(0) { $0 + $1.calls } == (try run.calls(name)), "\(name)")
            }
            let kiln = try KilnRun(["-p", "\(server.pid)", "*", "--time", "--max-cost", "100", "-o", server.directory + "/killed"], subcommand: "functions")
            #expect(kiln.attached())
            let load = try Child("redis-benchmark", ["-p", "\(server.port)", "-q", "-t", "set", "-n", "20000", "-c", "1"])
            #expect(eventually { ((try? server.commandStatistics()["SET"]) ?? 0) > UInt64(commands) })
            #expect(load.isRunning)
            kill(kiln.pid, SIGKILL)
            #expect(kiln.wait() == 128 + SIGKILL && load.wait() == 0)
            #expect(try Connection(port: server.port).reply(to: "PING") == "+PONG\r\n")
        }

        /// The dearest functions are let go; what stays is counted exactly, through the change as well.
        @Test(.tags(.timing)) func functionsAreLetGoWhereProbesCostTooMuch() throws {
            let server = try RedisServer()
            let run = try FunctionRun(["-p", "\(server.pid)", "*", "--max-cost", "10"]) { kiln in
                try server.benchmark(["-t", "set", "-n", "20000", "-c", "4"])
                _ = eventually(within: 5) { kiln.errorText.contains("no longer counted") }
            }
            #expect(run.errors.contains("of the target's CPU time, more than --max-cost"), "\(run.errors)")
            let functions = try #require(run.record.functions), letGo = functions.probed.filter { $0.letGoAfterS != nil }
            #expect(!letGo.isEmpty)
            #expect(functions.probed.first { $0.calls > 0 && $0.letGoAfterS == nil } != nil)
            // The first of them at the load's beginning, within a fraction of a second.
            let first = try #require(letGo.compactMap(\.letGoAfterS).min()), last = try #require(letGo.compactMap(\.letGoAfterS).max())
            #expect(last - first < 1.5, "from \(first) to \(last) s")
        }

        @Test(.tags(.timing)) func countsStayExactWhileOthersAreLetGo() throws {
            let program = try CompiledProgram(
                """
                #include <unistd.h>
                __attribute__((noinline)) void hot(void) { asm volatile(""); }
                __attribute__((noinline)) void cold(void) { asm volatile(""); }
                int main() {
                    for (long i = 0; i < 100009; i++) {
                        hot();
                        if (i % 125 == 0) cold();
                        if (i % 50 == 0) for (volatile int k = 0; k < 3000000; k++) ;
                        if (i % 5000 == 0) usleep(1000);
                    }
                    return 0;
                }
                """, ["-O1"])
            let run = try FunctionRun(["hot", "cold", "--max-cost", "1", "--", program.path])
            #expect(try run.row("hot").letGoAfterS != nil, "\(run.errors)")
            #expect(try run.calls("hot") < 100_009)
            // It was counted during a part of its last interval, and throughout the others.
            let rows = run.rows.filter { $0.function == "hot" }, last = try #require(rows.last), counted = try #require(last.countedS)
            #expect(counted > 0 && counted <= last.intervalS && rows.dropLast().allSatisfy { $0.countedS == nil })
            #expect(try run.row("cold").letGoAfterS == nil)
            #expect(try run.calls("cold") == 801)
        }

        @Test func callersAreWholeStacksOfEachCall() throws {
            let program = try CompiledProgram(
                """
                #include <unistd.h>
                __attribute__((noinline)) void counted(void) { asm volatile(""); }
                __attribute__((noinline)) void one(void) { for (int i = 0; i < 211; i++) counted(); asm volatile(""); }
                __attribute__((noinline)) void other(void) { for (int i = 0; i < 307; i++) counted(); asm volatile(""); }
                int main() { usleep(300000); one(); other(); usleep(300000); return 0; }
                """, ["-O1"])
            let kiln = try KilnRun(
                ["counted", "one", "--callers", "--max-cost", "100", "-o", program.directory + "/session", "--", program.path], subcommand: "functions")
            #expect(kiln.wait() == 0, "\(kiln.errorText)")
            let stacks = Stacks(try String(contentsOfFile: program.directory + "/session/stacks.callers.folded", encoding: .utf8))
            #expect(stacks.samples(through: "main", "one", "counted") == 211, "\(stacks.lines)")
            #expect(stacks.samples(through: "main", "other", "counted") == 307, "\(stacks.lines)")
            #expect(stacks.lines.filter { $0.frames.last == "one" }.map(\.samples) == [1])
        }

        /// The kernel follows 64 returns of a thread.
        @Test func returnProbesTimeWhatIsNestedLessThan64Deep() throws {
            let program = try CompiledProgram(
                """
                #include <unistd.h>
                __attribute__((noinline)) int nested(int depth) { int below = depth > 1 ? nested(depth - 1) : 0; asm volatile(""); return below + 1; }
                __attribute__((noinline)) void sleeps(void) { usleep(20000); asm volatile(""); }
                int main() { for (int i = 0; i < 3; i++) { if (nested(100) != 100) return 1; sleeps(); } return 0; }
                """, ["-O1"])
            let run = try FunctionRun(["nested", "sleeps", "--time", "--return-probes", "--max-cost", "100", "--", program.path])
            #expect(run.status == 0, "\(run.errors)")
            let nested = try run.row("nested"), times = try #require(nested.times)
            #expect(nested.calls == 300 && times.returned == 3 * 64 && times.outermost.count == 3 && times.neverReturned == 0, "\(nested)")
            #expect(run.record.lost == ["calls_nested_too_deep": 3 * 36])
            let slept = try #require(try run.row("sleeps").times)
            #expect(slept.returned == 3 && slept.outermost.sumNs >= 60_000_000 && slept.outermost.sumNs < 600_000_000, "\(slept)")
        }

        @Test func processesThatThePidStartsAreCountedIfAskedFor() throws {
            let program = try CompiledProgram(
                """
                #include <signal.h>
                #include <sys/wait.h>
                #include <unistd.h>
                static void begin(int number) {}
                __attribute__((noinline)) void parents(void) { asm volatile(""); }
                __attribute__((noinline)) void everybodys(void) { asm volatile(""); }
                __attribute__((noinline)) void nobodys(void) { asm volatile(""); }
                static void work(int times) { while (times--) everybodys(); }
                int main(void) {
                    sigset_t blocked, none;
                    sigemptyset(&none);
                    sigemptyset(&blocked);
                    sigaddset(&blocked, SIGUSR1);
                    sigprocmask(SIG_SETMASK, &blocked, NULL);
                    alarm(60);
                    signal(SIGUSR1, begin);
                    if (!fork()) { alarm(60); sigsuspend(&none); work(307); _exit(0); } /* runs before the session */
                    sigsuspend(&none);
                    parents();
                    work(1009);
                    if (!fork()) { work(211); if (!fork()) { work(101); _exit(0); } wait(NULL); _exit(0); }
                    kill(0, SIGUSR1);
                    while (wait(NULL) > 0) ;
                    if (getpid() == 1) nobodys();
                    return 0;
                }
                """, ["-O1"])
            for (options, calls) in [([], UInt64(1009)), (["--children"], 1009 + 307 + 211 + 101)] {
                // A process group of its own.
                let running = try Child("setsid", [program.path])
                let children = "/proc/\(running.pid)/task/\(running.pid)/children"
                #expect(eventually { (try? String(contentsOfFile: children, encoding: .utf8))?.isEmpty == false })
                let run = try FunctionRun(["-p", "\(running.pid)", "parents", "everybodys", "nobodys", "--max-cost", "100"] + options) { _ in
                    kill(running.pid, SIGUSR1)
                    let status = running.wait()
                    #expect(status == 0)
                }
                #expect(run.status == 0, "\(run.errors)")
                #expect(try run.calls("parents") == 1 && run.calls("everybodys") == calls, "\(run.calls)")
                let lines = run.output.split(separator: "\n"), table = try #require(lines.firstIndex { $0.hasPrefix("Session of ") })
                #expect(
                    lines[(table + 1)...].prefix(4) == [
                        "FUNCTION    calls", "everybodys  \(calls / 1000),\(String(calls % 1000 + 1000).dropFirst())", "parents         1",
                        "1 of 3 probed functions were not called",
                    ], "\(run.output)")
            }
        }

        @Test func optionsThatMakeNoSenseAreWrongUsage() throws {
            for arguments in [["/bin/true", "--return-probes"], ["/bin/true", "--max-cost", "0"], ["/bin/true", "--top", "0"], ["x", "--children", "-a"]] {
                let kiln = try KilnRun(arguments, subcommand: "functions")
                #expect(kiln.wait() == 64, "\(arguments): \(kiln.errorText)")
            }
        }
    }
}
