import Foundation
import Glibc
import KilnModel
import TestSupport
import Testing

extension KernelTests {
    /// Executed programs, each told once with its arguments and its end.
    @Suite(.enabled(if: Program.canCompile, "cc is missing")) struct ExecTraceTests {
        /// Ends as its first argument says.
        private static let ending = """
            #include <signal.h>
            #include <stdlib.h>
            #include <unistd.h>
            int main(int count, char **words)
            {
                static const int signals[] = { SIGKILL, SIGTERM, SIGUSR1, SIGHUP, SIGALRM };
                int number = atoi(words[1]);
                if (number % 10 == 9)
                    kill(getpid(), signals[number / 10 % 5]);
                _exit(number % 256);
            }
            """

        @Test func eachProgramOfAForkStormHasOneLineWithItsArgumentsAndItsEnd() throws {
            let count = Int(load(10_007))
            let ending = try CompiledProgram(Self.ending)
            let storm = try CompiledProgram(
                """
                #include <stdio.h>
                #include <stdlib.h>
                #include <string.h>
                #include <sys/wait.h>
                #include <unistd.h>
                int main(int count, char **words)
                {
                    int last = atoi(words[2]), worker, i, status;
                    for (worker = 0; worker < 2; worker++) {
                        if (fork())
                            continue;
                        for (i = worker; i < last; i += 2) {
                            char number[16], text[128];
                            char *const arguments[] = { "ending", number, text, NULL };
                            snprintf(number, sizeof number, "%d", i);
                            memset(text, 'a' + i % 26, i % 101);
                            text[i % 101] = 0;
                            if (!vfork()) {
                                execv(words[1], arguments);
                                _exit(99);
                            }
                            wait(&status);
                        }
                        _exit(0);
                    }
                    while (wait(&status) > 0)
                        ;
                    return 0;
                }
                """)
            let trace = try EventTraceRun<ExecutionRow>("exec", ["--", storm.path, ending.path, "\(count)"])
            #expect(trace.summary.lost == [:])
            #expect(trace.summary.lines == UInt64(count + 1))
            let signals = ["SIGKILL", "SIGTERM", "SIGUSR1", "SIGHUP", "SIGALRM"]
            var seen: [Int: Int] = [:]
            for row in trace.rows where row.file == ending.path {
                let number = row.arguments.count == 3 ? Int(row.arguments[1]) ?? -1 : -1
                seen[number, default: 0] += 1
                guard number >= 0 else {
                    Issue.record("\(row)")
                    continue
                }
                let text = String(repeating: Character(UnicodeScalar(UInt8(97 + number % 26))), count: number % 101)
                let dies = number % 10 == 9
                let isRight =
                    row.arguments == ["ending", "\(number)", text] && row.argumentsMissing == 0 && !row.cut && row.comm == "program"
                    && row.commBefore == "program" && row.uid == getuid() && row.tid == row.pid && row.error == nil
                    && (dies
                        ? row.end == "killed" && row.signal == signals[number / 10 % 5] && row.coreDumped == false && row.exitStatus == nil
                        : row.end == "exited" && row.exitStatus == Int32(number % 256))
                    && (row.ranNs ?? 0) > 0
                if !isRight { Issue.record("\(row)") }
            }
            #expect(seen == Dictionary(uniqueKeysWithValues: (0..<count).map { ($0, 1) }))
            // The command itself.
            #expect(trace.rows.last?.file == storm.path && trace.rows.last?.commBefore == "kiln" && trace.rows.last?.end == "exited")
        }

        /// A ring that nobody reads is full after four thousand long lists of arguments.
        @Test func whatFindsNoRoomIsCounted() throws {
            let count = Int(load(5003))
            let program = try CompiledProgram(
                """
                #include <stdlib.h>
                #include <string.h>
                #include <sys/wait.h>
                #include <unistd.h>
                int main(int count, char **words)
                {
                    static char text[4000];
                    int left, status;
                    if (count > 2)
                        return 3;
                    memset(text, 'x', sizeof text - 1);
                    for (left = atoi(words[1]); left > 0; left--) {
                        if (!vfork()) {
                            execl("/proc/self/exe", "long", "x", text, NULL);
                            _exit(99);
                        }
                        wait(&status);
                    }
                    write(1, "done\\n", 5);
                    return 0;
                }
                """)
            let trace = try EventTraceRun<ExecutionRow>("exec", ["--", program.path, "\(count)"]) { kiln in
                kill(kiln.pid, SIGSTOP)
                let isDone = eventually { kiln.outputText.contains("done") }
                kill(kiln.pid, SIGCONT)
                #expect(isDone)
            }
            let rows = trace.rows.filter { $0.file == "/proc/self/exe" }
            let lost = trace.summary.lost["executions_lost"] ?? 0, endless = trace.summary.lost["program_ends_lost"] ?? 0
            #expect(UInt64(rows.count) + lost == UInt64(count), "\(rows.count) rows, \(trace.summary.lost)")
            #expect(UInt64(trace.rows.count { $0.end == "unknown" }) == endless)
            #expect(count < 5000 || lost > 500)
            #expect(rows.allSatisfy { $0.end == "unknown" || $0.exitStatus == 3 })
        }

        /// What the program itself is told by the kernel, for each of its children: pid, what wait(2) says.
        private static let cases = """
            #define _GNU_SOURCE
            #include <errno.h>
            #include <fcntl.h>
            #include <pthread.h>
            #include <signal.h>
            #include <stdio.h>
            #include <stdlib.h>
            #include <string.h>
            #include <sys/resource.h>
            #include <sys/stat.h>
            #include <sys/wait.h>
            #include <unistd.h>
            static char *self;
            static void *execute(void *tid)
            {
                *(int *)tid = gettid();
                printf("tid %d\\n", *(int *)tid);
                fflush(stdout);
                execl(self, "thread", "exit", "21", NULL);
                return NULL;
            }
            static void *outlive(void *nothing)
            {
                usleep(20000);
                return NULL;
            }
            static void child(int which, char *directory)
            {
                char path[512];
                pthread_t thread;
                int tid, i;
                static char *many[502];
                static char long_one[6000];
                switch (which) {
                case 0: /* another thread than the first */
                    pthread_create(&thread, NULL, execute, &tid);
                    pause();
                case 1: /* three programs, one after the other */
                    execl(self, "first", "then", "3", NULL);
                case 2:
                    snprintf(path, sizeof path, "%s/script", directory);
                    execl(path, "any", "a b", "c", NULL);
                case 3: /* failures, then an end of what never executed */
                    execl("/nowhere/at all", "nowhere", "x", NULL);
                    printf("errno %d\\n", errno);
                    execl(directory, "directory", NULL);
                    printf("errno %d\\n", errno);
                    snprintf(path, sizeof path, "%s/program.c", directory);
                    execl(path, "source", "\\n\\033[1m\\377", NULL);
                    printf("errno %d\\n", errno);
                    snprintf(path, sizeof path, "%s/nothing", directory);
                    execl(path, "nothing", NULL);
                    printf("errno %d\\n", errno);
                    fflush(stdout);
                    _exit(3);
                case 4: /* more arguments than are captured, and one that is cut */
                    memset(long_one, 'y', sizeof long_one - 1);
                    many[0] = "many";
                    many[1] = "exit";
                    many[2] = "4";
                    for (i = 3; i < 501; i++)
                        many[i] = i == 20 ? long_one : "x";
                    execv(self, many);
                case 5:
                    execl(self, "crash", "crash", directory, NULL);
                case 6: /* by a descriptor */
                    fexecve(open(self, O_RDONLY), (char *[]){ "descriptor", "exit", "6", NULL }, environ);
                case 7: /* the first thread ends before another one */
                    execl(self, "leader", "leader", NULL);
                }
                _exit(98);
            }
            int main(int count, char **words)
            {
                pthread_t thread;
                int i, status;
                self = "/proc/self/exe";
                if (count > 1 && !strcmp(words[1], "exit"))
                    return atoi(words[2]);
                if (count > 1 && !strcmp(words[1], "crash")) {
                    struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };
                    setrlimit(RLIMIT_CORE, &all);
                    chdir(words[2]);
                    abort();
                }
                if (count > 1 && !strcmp(words[1], "then")) {
                    char left[2] = { words[2][0] - 1, 0 };
                    execl(self, "next", left[0] == '0' ? "exit" : "then", left, NULL);
                }
                if (count > 1 && !strcmp(words[1], "leader")) {
                    pthread_create(&thread, NULL, outlive, NULL);
                    pthread_exit(NULL);
                }
                for (i = 0; i < 8; i++) {
                    int pid = fork();
                    if (!pid)
                        child(i, words[1]);
                    waitpid(pid, &status, 0);
                    printf("child %d %d\\n", pid, status);
                    fflush(stdout);
                }
                return 0;
            }
            """

        @Test func threadsScriptsChainsFailuresAndLongArgumentsAreToldAsTheyAre() throws {
            let program = try CompiledProgram(Self.cases, ["-O1", "-static", "-pthread"])
            let script = program.directory + "/script"
            try "#!/bin/sh -e\nexit 32\n".write(toFile: script, atomically: true, encoding: .utf8)
            chmod(script, 0o755)
            let nothing = program.directory + "/nothing"
            try "no program".write(toFile: nothing, atomically: true, encoding: .utf8)
            chmod(nothing, 0o755)
            let trace = try EventTraceRun<ExecutionRow>("exec", ["--with-failed", "--", program.path, program.directory])
            #expect(trace.summary.lost == [:])
            let words = trace.printed.map { $0.split(separator: " ") }
            let children = words.filter { $0.first == "child" }.compactMap { line in Int32(line[1]).flatMap { pid in Int32(line[2]).map { (pid, $0) } } }
            try #require(children.count == 8)
            func rows(_ child: Int) -> [ExecutionRow] { trace.rows.filter { $0.pid == children[child].0 } }
            func ended(_ child: Int) -> ProgramEnd { ProgramEnd(waitStatus: children[child].1) }

            // Of another thread: the process has its pid, the call its tid.
            let tid = try #require(words.first { $0.first == "tid" }.flatMap { Int32($0[1]) })
            #expect(rows(0).map(\.tid) == [tid] && tid != children[0].0)
            #expect(rows(0).map(\.arguments) == [["thread", "exit", "21"]])
            #expect(rows(0).map(\.exitStatus) == [21] && ended(0) == .exited(status: 21))

            #expect(rows(1).map(\.end) == ["executed", "executed", "executed", "exited"])
            #expect(rows(1).map { $0.arguments.dropFirst().joined(separator: " ") } == ["then 3", "then 2", "then 1", "exit 0"])
            #expect(rows(1).allSatisfy { $0.ppid == rows(0)[0].ppid && $0.file == "/proc/self/exe" })

            #expect(rows(2).map(\.file) == [script] && rows(2).map(\.interpreter) == ["/bin/sh"])
            #expect(rows(2).map(\.arguments) == [[script, "a b", "c"]])
            #expect(rows(2).map(\.comm) == ["script"] && rows(2).map(\.exitStatus) == [32])

            #expect(rows(3).map(\.error) == ["ENOENT", "EACCES", "EACCES", "ENOEXEC"])
            #expect(words.filter { $0.first == "errno" }.map { errnoName(Int($0[1]) ?? 0) } == rows(3).compactMap(\.error))
            #expect(rows(3).allSatisfy { $0.end == nil && $0.ranNs == nil && $0.comm == "program" })
            #expect(rows(3).first?.file == "/nowhere/at all" && rows(3).first?.arguments == ["nowhere", "x"])
            #expect(rows(3)[2].escaped && rows(3)[2].arguments == ["source", "\\n\\x1b[1m\\xff"])

            // 4,096 bytes: 5 + 5 + 2 + 17 * 2 are taken before the long one.
            let many = try #require(rows(4).first)
            #expect(many.arguments.count == 21 && many.cut && many.arguments[20] == String(repeating: "y", count: 4096 - 46))
            #expect(many.argumentsMissing == 480 && many.argumentBytesMissing == UInt64(6000 - (4096 - 46) + 480 * 2))
            #expect(many.exitStatus == 4)

            let crash = try #require(rows(5).first)
            #expect(crash.signal == "SIGABRT" && ended(5) == .killed(signal: SIGABRT, dumpedCore: crash.coreDumped == true))

            #expect(rows(6).map(\.arguments) == [["descriptor", "exit", "6"]] && rows(6).map(\.exitStatus) == [6])
            #expect(rows(7).map(\.end) == ["exited"] && rows(7).map(\.exitStatus) == [0] && (rows(7)[0].ranNs ?? 0) > 15_000_000)
            #expect(ended(7) == .exited(status: 0))
        }

        @Test func failuresAloneAndBeginningsAtOnceAndALimitOfLines() throws {
            let words = ["/bin/sh", "-c", "/nowhere/1 x; /bin/sleep 5 & /bin/sleep 0.2; /bin/true; /nowhere/2; exit 0"]
            let failed = try EventTraceRun<ExecutionRow>("exec", ["--failed", "--"] + words)
            #expect(failed.rows.map(\.file) == ["/nowhere/1", "/nowhere/2"] && failed.rows.map(\.error) == ["ENOENT", "ENOENT"])
            #expect(failed.rows.map(\.comm) == ["sh", "sh"])

            // sleep outlives the session.
            let both = try EventTraceRun<ExecutionRow>("exec", ["--"] + words)
            #expect(Set(both.rows.map(\.file)) == ["/bin/sh", "/bin/sleep", "/bin/true"])
            let sleep = try #require(both.rows.first { $0.arguments == ["/bin/sleep", "5"] })
            #expect(sleep.end == "running" && both.rows.filter { $0.end == "running" }.count == 1 && both.rows.count == 4)
            #expect(kill(sleep.pid, 0) == 0)

            let atOnce = try EventTraceRun<ExecutionRow>("exec", ["--now", "--"] + words)
            #expect(atOnce.rows.first?.file == "/bin/sh" && atOnce.rows.count == 4 && atOnce.rows.allSatisfy { $0.end == nil })

            let limited = try EventTraceRun<ExecutionRow>("exec", ["--limit", "3", "--", "/bin/sh", "-c", "while :; do /bin/true; done"])
            #expect(limited.said.contains("kiln: ended the command"))
            #expect(limited.rows.map(\.file) == ["/bin/true", "/bin/true", "/bin/true"] && limited.summary.lines == 3)
        }

        @Test func argumentsAreCutWhereItWasAskedFor() throws {
            let words = ["/bin/echo", "abc", "defghijk", "lm", ""]
            let trace = try EventTraceRun<ExecutionRow>("exec", ["--argument-bytes", "16", "--"] + words)
            let row = try #require(trace.rows.first)
            // 10 + 4 bytes, and 2 of the 9 of the next.
            #expect(row.arguments == ["/bin/echo", "abc", "de"] && row.cut && row.file == "/bin/echo", "\(row)")
            #expect(row.argumentsMissing == 2 && row.argumentBytesMissing == 7 + 3 + 1, "\(row)")
            #expect(trace.printed == [words.dropFirst().joined(separator: " ")])
        }

        @Test func aCommandGetsTheBytesThatWereGiven() throws {
            let directory = temporaryDirectory(), file = directory + "/printed"
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let script = "\"$0\" trace exec -- printf '%s' $'\\xff\\xfeA'"
            #expect(try Child("bash", ["-c", "\(script) 2>/dev/null | head -c 3 >\(file)", KilnRun.binary]).wait() == 0)
            #expect(try Data(contentsOf: URL(fileURLWithPath: file)) == Data([0xff, 0xfe, 0x41]))
        }

        @Test func aTraceInWhichNothingWasExecutedFails() throws {
            let kiln = try KilnRun(["exec", "--comm", "kiln-nobody", "-d", "0.3"], subcommand: "trace")
            #expect(kiln.wait() == 1 && kiln.errorText.contains("kiln: no program was executed by those that were asked for"))
        }

        @Test func callsOf32BitProgramsAreToldAsOthers() throws {
            let program = try CompiledProgram(
                """
                static long call(long number, long a, long b)
                {
                    long result;
                    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(0) : "memory");
                    return result;
                }
                void _start(void)
                {
                    char *const missing[] = { "missing", "two words", 0 }, *const next[] = { "true", "z", 0 };
                    call(11, (long)"/nowhere/32", (long)missing);
                    call(11, (long)"/bin/true", (long)next);
                    call(1, 5, 0);
                }
                """, ["-m32", "-nostdlib", "-static", "-fno-pie", "-no-pie", "-fno-stack-protector"])
            let trace = try EventTraceRun<ExecutionRow>("exec", ["--with-failed", "--", program.path])
            #expect(trace.rows.map(\.file) == ["/nowhere/32", program.path, "/bin/true"])
            #expect(trace.rows.map(\.error) == ["ENOENT", nil, nil] && trace.rows.map(\.end) == [nil, "executed", "exited"])
            #expect(trace.rows[0].arguments == ["missing", "two words"] && trace.rows[2].arguments == ["true", "z"])
        }

        /// A process that ran before, and what it starts then; nothing of others.
        @Test(.tags(.timing)) func onlyWhatTheChosenProcessesExecuteHasALine() throws {
            let shell = try Child("bash", ["-c", "trap 'exec /bin/true chosen' USR1; while :; do sleep 0.05; /bin/echo child; done"])
            let trace = try EventTraceRun<ExecutionRow>("exec", ["-p", "\(shell.pid)"]) { _ in
                try Child("/bin/true", ["other"]).wait()
                usleep(200_000)
                kill(shell.pid, SIGUSR1)
            }
            let last = try #require(trace.rows.last { $0.pid == shell.pid })
            #expect(last.arguments == ["/bin/true", "chosen"] && last.commBefore == "bash" && last.comm == "true" && last.exitStatus == 0)
            #expect(trace.rows.contains { $0.arguments == ["/bin/echo", "child"] && $0.ppid == shell.pid })
            #expect(!trace.rows.contains { $0.arguments.contains("other") })

            // By a name before or after.
            let named = try EventTraceRun<ExecutionRow>("exec", ["--comm", "kiln-named", "--", "/bin/sleep", "0.5"]) { _ in
                let directory = temporaryDirectory(), copy = directory + "/kiln-named"
                defer { try? FileManager.default.removeItem(atPath: directory) }
                try FileManager.default.copyItem(atPath: URL(fileURLWithPath: "/bin/sh").resolvingSymlinksInPath().path, toPath: copy)
                try Child(copy, ["-c", "exec /bin/true"]).wait()
            }
            #expect(named.rows.map(\.comm) == ["kiln-named", "true"] && named.rows.map(\.end) == ["executed", "exited"])
        }
    }
}
