import Foundation
import Glibc
import KilnModel
import TestSupport
import Testing

extension KernelTests {
    /// `kiln syscalls` against programs whose calls are known.
    @Suite(.enabled(if: Program.canCompile, "no C compiler")) struct SyscallTests {
        @Test(.tags(.timing)) func countsAreExactByThreadErrnoAndCall() throws {
            let program = try CallingProgram()
            let session = try SyscallSession.run(["--by", "thread", "--"] + program.command, status: CallingProgram.status)
            let threads = try program.said()
            #expect(threads.count == CallingProgram.threads && session.record.lost.isEmpty, "\(session.record.lost)")
            for (tid, thread, slept) in threads {
                for (call, count) in zip(CallingProgram.calls, CallingProgram.counts[thread]) {
                    let counted = session.call(call.name, call.abi, tid: tid)
                    // A thread of the C library opens and closes nothing of its own.
                    #expect(counted.returned == count && counted.latency.count == count, "\(call) of thread \(thread): \(counted.returned), \(count)")
                    let errors = session.calls.filter { $0.tid == tid && $0.syscall == call.name && $0.abi == call.abi }.first?.errnos ?? [:]
                    #expect(errors == (call.errno.map { [$0: count] } ?? [:]), "\(call): \(errors)")
                }
                let asleep = session.call("clock_nanosleep", tid: tid).latency
                #expect(abs(Double(asleep.sum.count) - Double(slept)) < 0.02 * Double(slept), "\(asleep.sum.count) ns of \(slept)")
                #expect(session.call("exit", tid: tid).unreturned.count == 1)
            }
        }

        /// Exits, execs by a thread that is not the leader, and threads that end in a call.
        @Test(.tags(.timing)) func callsThatNeverReturnAreCountedApart() throws {
            let program = try CallingProgram()
            let session = try SyscallSession.run(["--"] + program.command, status: CallingProgram.status)
            #expect(session.call("exit_group").unreturned.count == 12 && session.call("exit_group").returned == 0)
            #expect(session.call("exit").unreturned.count == 8)
            // The first execve is that of the command, and the last that of a thread that has another number from then on.
            let exec = session.call("execve")
            #expect(exec.returned == 7 && exec.errors == 5 && exec.latency.count == 7, "\(exec)")
            #expect(session.call("setpriority").returned == 1 && session.call("getpgid").returned == 97)
            // The read and the pause of threads that the process's end and an exec kill.
            #expect(session.call("read").unreturned.count == 1 && session.call("read").interrupted == 0, "\(session.call("read"))")
            #expect(session.call("pause").unreturned.count == 1 && session.call("pause").returned == 0, "\(session.call("pause"))")
            // All rows of the intervals are the totals.
            let inRows = session.rows.filter { $0.calls.syscall == "getppid" }.reduce(0) { $0 + $1.calls.count }
            #expect(inRows == CallingProgram.sum(0) && session.call("getppid").returned == inRows)
            for line in ["errors: ", "never returned: exit_group 12", "getpid (32-bit)", "lost: nothing"] {
                #expect(session.said.contains(line), "\(line) in \(session.said)")
            }
        }

        @Test(.enabled(if: program("strace") != nil, "needs strace")) func countsAreThoseOfStrace() throws {
            let program = try CallingProgram()
            let session = try SyscallSession.run(["--"] + program.command, status: CallingProgram.status)
            let table = program.directory + "/strace"
            #expect(try Child("strace", ["-f", "-c", "-o", table] + program.command).wait() == CallingProgram.status)
            var abi: String?, compared = 0, known: Set<String> = []
            for line in try String(contentsOfFile: table, encoding: .utf8).split(separator: "\n") {
                if line.contains("32 bit mode") { abi = "32-bit" }
                let words = line.split(separator: " ")
                guard words.count >= 5, let calls = UInt64(words[3]), let name = words.last.map(String.init), name != "total" else { continue }
                known.insert([name, abi].compactMap(\.self).joined(separator: " "))
                // How often threads wait for each other is chance, and how many of their stacks the C library keeps.
                if ["futex", "munmap", "madvise"].contains(name) { continue }
                let errors = words.count == 6 ? UInt64(words[4]) ?? 0 : 0, counted = session.call(name, abi)
                // strace leaves out calls that no return ends, and those that end by a signal.
                #expect(counted.returned == calls + counted.interrupted, "\(name) \(abi ?? ""): \(counted.returned), strace \(calls)")
                #expect(counted.errors == errors, "\(name): \(counted.errors) errors, strace \(errors)")
                compared += 1
            }
            #expect(compared > 25)
            let more = Set(session.calls.map { [$0.syscall, $0.abi].compactMap(\.self).joined(separator: " ") }).subtracting(known)
            #expect(
                more.isSubset(of: ["futex", "munmap", "madvise", "pause", "exit", "exit_group", "syscall_4000"]) && more.contains("syscall_4000"), "\(more)")
        }

        /// perf runs on one CPU: on several it leaves out calls of new threads (findings/perf-trace-s-loses-first-calls-of-threads.sh).
        @Test(.enabled(if: program("perf") != nil && program("taskset") != nil, "needs perf (linux-perf) and taskset"))
        func countsAreThoseOfPerfTrace() throws {
            let program = try CallingProgram()
            let session = try SyscallSession.run(["--"] + program.command, status: CallingProgram.status)
            let table = program.directory + "/perf"
            let cpu = try #require(firstUsableCPU())
            #expect(try Child("taskset", ["-c", "\(cpu)", "perf", "trace", "-s", "-m", "8M", "-o", table] + program.command).wait() == 0)
            var counted: [String: UInt64] = [:]
            for line in try String(contentsOfFile: table, encoding: .utf8).split(separator: "\n") {
                let words = line.split(separator: " ")
                guard words.count == 8, let calls = UInt64(words[1]) else { continue }
                counted[String(words[0]), default: 0] += calls
            }
            // perf has no row for rt_sigreturn, which leaves no number, and takes 32-bit calls for those of the native table with the same number.
            for (index, name) in [(0, "getppid"), (3, "recvfrom")] {
                #expect(counted[name] == session.call(name).returned && counted[name] == CallingProgram.sum(index), "\(name): \(counted[name] ?? 0)")
            }
        }

        /// What a program calls for 0.7 s, of which a session sees 0.3 s from inside of them.
        @Test(.tags(.timing)) func callsInFlightAtBothEndsAreCountedAndTimedInside() throws {
            let program = try Program(
                """
                #define _GNU_SOURCE
                #include <poll.h>
                #include <pthread.h>
                #include <signal.h>
                #include <unistd.h>
                static void *wait(void *number) { for (;;) poll(0, 0, (long)number); }
                static void begin(int number) {}
                int main(void) {
                    pthread_t threads[5];
                    signal(SIGUSR1, begin);
                    for (long i = 0; i < 3; i++) pthread_create(&threads[i], 0, wait, (void *)100000);
                    pthread_create(&threads[3], 0, wait, (void *)600);
                    for (;;) pause();
                }
                """, ["-O1", "-pthread"])
            usleep(200_000)
            let session = try SyscallSession.run(["-p", "\(program.pid)", "--by", "thread"]) {
                usleep(300_000)
                program.signal(SIGUSR1)
                usleep(800_000)
            }
            let length = session.record.durationS * 1e9
            let asleep = session.calls.filter { $0.syscall == "poll" && $0.latency.count == 0 && $0.earlier == nil }
            #expect(asleep.count == 3 && asleep.allSatisfy { $0.inFlight?.count == 1 && $0.count == 0 }, "\(asleep)")
            for calls in asleep { #expect(abs(Double(calls.inFlight?.ns ?? 0) - length) < 0.02 * length, "\(calls) of \(length) ns") }
            // The fourth thread: one poll that began before, one whole one, and one in flight fill the session.
            let fourth = try #require(session.calls.first { $0.syscall == "poll" && $0.latency.count != 0 })
            #expect(fourth.earlier?.count == 1 && fourth.inFlight?.count == 1 && fourth.latency.count == 1, "\(fourth)")
            let filled = [fourth.earlier?.ns ?? 0, fourth.inFlight?.ns ?? 0, fourth.latency.sumNs].reduce(0, +)
            #expect(abs(Double(filled) - length) < 0.02 * length, "\(filled) of \(length) ns")
            // The leader's pause: the first began before the session, the next is in flight.
            let pause = session.call("pause")
            #expect(pause.earlier.count == 1 && pause.inFlight.count == 1 && pause.latency.count == 0, "\(pause)")
            #expect(pause.errors == 0 && pause.interrupted == 1, "\(pause)")
            #expect(abs(pause.earlier.time.seconds - 0.3) < 0.1, "\(pause.earlier.time)")
            #expect(session.said.contains("in flight when it ended: poll 4") && session.said.contains("began before the session: pause 1"), "\(session.said)")
        }

        @Test func filtersLeaveOutOtherCalls() throws {
            let program = try CallingProgram()
            func names(_ arguments: [String]) throws -> SyscallSession {
                try SyscallSession.run(arguments + ["--"] + program.command, status: CallingProgram.status)
            }
            let byName = try names(["--call", "get*pid", "--call", "recvfrom"])
            #expect(Set(byName.calls.map(\.syscall)) == ["getpid", "getppid", "recvfrom"])
            #expect(byName.call("getppid").returned == CallingProgram.sum(0) && byName.call("getpid", "32-bit").returned == CallingProgram.sum(5))
            let files = try names(["--class", "file", "--failed"])
            #expect(files.call("openat").returned == CallingProgram.sum(2) && files.call("execve").returned == 5 && files.call("getppid").calls == 0)
            #expect(files.calls.allSatisfy { $0.errors == $0.count }, "\(files.calls)")
            let slow = try names(["--slower-than", "19ms", "--class", "time"])
            // And one at the end.
            #expect(slow.call("clock_nanosleep").returned == CallingProgram.sum(8) + 1 && Set(slow.calls.map(\.syscall)) == ["clock_nanosleep"])
            let slower = try names(["--slower-than", "10s"])
            #expect(slower.calls.isEmpty)
        }

        @Test func callersCanBeNamesAndControlGroups() throws {
            let program = try CallingProgram()
            let byName = try SyscallSession.run(["--by", "comm", "--"] + program.command, status: CallingProgram.status)
            #expect(byName.calls.allSatisfy { $0.comm == "program" && $0.pid == nil && $0.tid == nil }, "\(byName.calls)")
            #expect(byName.call("getppid").returned == CallingProgram.sum(0))
            let byGroup = try SyscallSession.run(["--by", "cgroup", "--"] + program.command, status: CallingProgram.status)
            let own = try String(contentsOfFile: "/proc/self/cgroup", encoding: .utf8).split(separator: "\n").first { $0.hasPrefix("0::") }
            let path = try #require(own.map { String($0.dropFirst(3)) })
            #expect(byGroup.calls.allSatisfy { $0.cgroup == path }, "\(byGroup.calls.first.map { "\($0)" } ?? "") in \(path)")
            #expect(byGroup.call("getppid").returned == CallingProgram.sum(0))
            // By name among all processes: the exec that makes a process one of them is the first of its calls.
            let filtered = try SyscallSession.run(["--comm", "program"]) { _ = try Child(program.command[0], [program.directory]).wait() }
            #expect(filtered.call("execve").returned == 7 && filtered.call("getppid").returned == CallingProgram.sum(0), "\(filtered.call("execve"))")
        }

        /// And not of kiln itself.
        @Test func callsOfEveryProcessAreCounted() throws {
            let program = try CompiledProgram(
                """
                #define _GNU_SOURCE
                #include <stdio.h>
                #include <sys/syscall.h>
                #include <unistd.h>
                int main(void) {
                    for (int i = 0; i < 1009; i++) syscall(SYS_getppid);
                    for (int i = 0; i < 503; i++) close(-1);
                    printf("pid %d\\n", getpid());
                    return 5;
                }
                """)
            let other = try Child("sh", ["-c", "while :; do read line </dev/null; done"])
            let kiln = try KilnRun(
                ["-a", "--call", "getppid,close,read,write,exit_group", "-o", program.directory + "/session", "--", program.path], subcommand: "syscalls")
            let own = kiln.pid
            #expect(kiln.wait() == 5, "\(kiln.errorText)")
            let session = try SyscallSession(program.directory + "/session", said: kiln.outputText)
            let pid = try #require(session.said.firstMatch(of: #/pid (\d+)\n/#).flatMap { Int32($0.1) }, "\(session.said)")
            #expect(session.call("getppid", pid: pid).returned == 1009 && session.call("write", pid: pid).returned == 1)
            let closed = session.call("close", pid: pid)
            #expect(closed.returned == 503 && closed.errnos == [Int(EBADF): 503], "\(closed)")
            #expect(session.call("exit_group", pid: pid).unreturned.count == 1)
            #expect(session.call("read", pid: other.pid).returned > 0 && session.calls.allSatisfy { $0.pid != own }, "\(session.calls)")
        }

        @Test func callsOfA32BitProgramHaveTheirOwnNames() throws {
            let program = try CompiledProgram(
                """
                static int call(int number, int first) {
                    int result;
                    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(first) : "memory");
                    return result;
                }
                void _start(void) {
                    for (int i = 0; i < 1009; i++) call(64, 0); /* getppid */
                    for (int i = 0; i < 503; i++) call(6, -1); /* close */
                    call(252, 3); /* exit_group */
                }
                """, ["-m32", "-O1", "-nostdlib", "-static", "-fno-pie", "-no-pie", "-fno-stack-protector"])
            let session = try SyscallSession.run(["--", program.path], status: 3)
            let counts = session.calls.map { "\($0.syscall) \($0.abi ?? "") \($0.count) \($0.errors) \($0.unreturned?.count ?? 0)" }.sorted()
            #expect(counts == ["close 32-bit 503 503 0", "execve  1 0 0", "exit_group 32-bit 0 0 1", "getppid 32-bit 1009 0 0"])
        }

        @Test(.tags(.timing)) func stacksOfCallsAddUpToTheirNumberAndTime() throws {
            let program = try Program(
                """
                #define _GNU_SOURCE
                #include <signal.h>
                #include <sys/syscall.h>
                #include <unistd.h>
                static void begin(int number) {}
                __attribute__((noinline)) void ask(void) { for (int i = 0; i < 2003; i++) syscall(SYS_getppid); asm volatile(""); }
                __attribute__((noinline)) void doze(void) { for (int i = 0; i < 11; i++) usleep(20000); asm volatile(""); }
                int main(void) { signal(SIGUSR1, begin); for (;;) { pause(); ask(); doze(); } }
                """, ["-O1", "-fomit-frame-pointer"])
            func recorded(_ arguments: [String]) throws -> (session: SyscallSession, event: SessionRecord.Event, stacks: Stacks) {
                let directory = temporaryDirectory()
                defer { try? FileManager.default.removeItem(atPath: directory) }
                let kiln = try KilnRun(["-p", "\(program.pid)", "-o", directory + "/session"] + arguments, subcommand: "syscalls")
                guard kiln.attached() else { throw TestFailure("kiln did not attach: \(kiln.errorText)") }
                program.signal(SIGUSR1)
                usleep(600_000)
                #expect(kiln.stop() == 0, "\(kiln.errorText)")
                let session = try SyscallSession(directory + "/session", said: kiln.outputText)
                let event = try #require(session.record.samples.events?.first)
                #expect(try xmllint(directory + "/session/syscalls.svg") == nil)
                return (session, event, Stacks(try String(contentsOfFile: "\(directory)/session/\(event.file)", encoding: .utf8)))
            }
            let byNumber = try recorded(["--stacks", "calls", "--call", "getppid"])
            #expect(byNumber.session.call("getppid").returned == 2003 && byNumber.event.count == 2003 && byNumber.event.unit == "events")
            #expect(byNumber.stacks.samples(through: "main", "ask") == 2003 && byNumber.event.lost == 0)
            #expect(byNumber.stacks.samples(through: "getppid_[k]") == 2003 && byNumber.stacks.samples(through: "do_syscall_64_[k]") == 0)
            let byTime = try recorded(["--stacks", "time", "--call", "*nanosleep"])
            let slept = byTime.session.call("clock_nanosleep").latency
            #expect(slept.count == 11 && byTime.event.unit == "nanoseconds" && byTime.event.count == slept.sum.count, "\(byTime.event)")
            #expect(byTime.stacks.samples(through: "main", "doze") == slept.sum.count)
        }

        /// More callers than rows: those without a row of their own share that of their name.
        @Test(arguments: ["process", "thread"]) func callersWithoutARowAreCountedByName(by: String) throws {
            let program = try Program(
                """
                #define _GNU_SOURCE
                #include <sys/syscall.h>
                #include <sys/wait.h>
                #include <unistd.h>
                int main(void) {
                    for (int i = 0; i < 700; i++) {
                        pid_t child = vfork();
                        if (!child) { syscall(SYS_getpgid, 0); syscall(SYS_getppid); _exit(0); }
                        waitpid(child, 0, 0);
                    }
                }
                """, ["-O1"], prepare: { ["true", $0] })
            let session = try SyscallSession.run(["--by", by, "--call", "getpgid,getppid,exit_group", "--", program.directory + "/program"])
            #expect(session.call("getpgid").returned == 700 && session.call("getppid").returned == 700, "\(session.record.lost)")
            #expect(session.call("exit_group").unreturned.count == 701 && session.record.lost.isEmpty, "\(session.record.lost)")
            let others = session.calls.filter { $0.others == true }
            #expect(Set(others.map(\.comm)) == ["program"] && others.count == 3, "\(others)")
            #expect(session.said.contains("program (others)"), "\(session.said)")
        }

        /// More names than rows: those without a row share one for each call.
        @Test func namesWithoutARowAreCountedTogether() throws {
            let program = try Program(
                """
                #define _GNU_SOURCE
                #include <stdio.h>
                #include <sys/prctl.h>
                #include <sys/syscall.h>
                #include <sys/wait.h>
                #include <unistd.h>
                int main(void) {
                    char name[16];
                    for (int i = 0; i < 1500; i++) {
                        pid_t child = fork();
                        if (!child) { sprintf(name, "name %d", i); prctl(PR_SET_NAME, name); syscall(SYS_getppid); syscall(4000 + i); _exit(0); }
                        waitpid(child, 0, 0);
                    }
                }
                """, ["-O1"], prepare: { ["true", $0] })
            for by in ["process", "comm"] {
                let session = try SyscallSession.run(["--by", by, "--", program.directory + "/program"])
                #expect(session.call("getppid").returned == 1500 && session.call("prctl").returned == 1500 && session.record.lost.isEmpty)
                let unknown = session.calls.filter { $0.syscall == "unknown" || $0.syscall.hasPrefix("syscall_") }
                #expect(unknown.reduce(0) { $0 + $1.errors } == 1500 && unknown.contains { $0.syscall == "unknown" && $0.others == true })
                #expect(session.calls.contains { $0.syscall == "getppid" && $0.others == true && $0.comm == nil })
            }
        }

        /// By SIGKILL, by a signal that dumps core, and a signal that the program handles.
        @Test(.tags(.timing)) func callsEndedByASignalNeverReturn() throws {
            let program = try Program(
                """
                #define _GNU_SOURCE
                #include <signal.h>
                #include <sys/resource.h>
                #include <sys/syscall.h>
                #include <sys/wait.h>
                #include <unistd.h>
                static void handle(int number) {}
                int main(void) {
                    int ends[2], signals[] = { SIGKILL, SIGTERM, SIGQUIT, SIGUSR1 };
                    char byte;
                    sigset_t none;
                    sigemptyset(&none);
                    sigprocmask(SIG_SETMASK, &none, NULL);
                    setrlimit(RLIMIT_CORE, &(struct rlimit) { 0, 0 });
                    signal(SIGTERM, SIG_DFL);
                    signal(SIGQUIT, SIG_DFL);
                    signal(SIGUSR1, handle);
                    pipe(ends);
                    for (int i = 0; i < 4; i++) {
                        pid_t child = fork();
                        if (!child) { read(ends[0], &byte, 1); _exit(0); }
                        usleep(50000);
                        kill(child, signals[i]);
                        if (signals[i] == SIGUSR1) { usleep(50000); write(ends[1], "", 1); }
                        waitpid(child, 0, 0);
                    }
                    syscall(-1); syscall(-2); syscall(9999);
                }
                """, ["-O1"], prepare: { ["true", $0] })
            // The last child's read is made again after the handler, and returns.
            let session = try SyscallSession.run(["--", program.directory + "/program"])
            let read = session.calls.filter { $0.syscall == "read" && $0.comm == "program" }.reduce(into: TimedCalls()) { $0.add(TimedCalls($1)) }
            #expect(read.unreturned.count == 3 && read.interrupted == 1 && read.errors == 0, "\(read)")
            #expect(session.said.contains("interrupted by a signal: read 1"), "\(session.said)")
            let names = session.calls.filter { $0.errnos == ["ENOSYS": 1] || $0.errnos == ["ENOSYS": 2] }.map { "\($0.syscall) \($0.abi ?? "") \($0.errors)" }
            #expect(names.sorted() == ["syscall_9999  1", "unknown  2"], "\(names)")
        }
    }

    /// `kiln redis --syscall-latency`.
    struct ServerSyscallTests {
        @Test func callsOfAServerAreTimed() throws {
            let server = try RedisServer()
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let connection = try Connection(port: server.port)
            let kiln = try KilnRun(["-p", "\(server.pid)", "--syscall-latency", "-F", "0", "-o", directory + "/session"])
            try #require(kiln.attached(), "\(kiln.errorText)")
            for _ in 0..<1009 {
                try connection.send(Array("PING\r\n".utf8))
                try connection.receive(until: "+PONG\r\n")
            }
            #expect(kiln.stop() == 0)
            let session = try SyscallSession(directory + "/session", said: kiln.outputText)
            let writes = session.calls.filter { ["write", "writev", "sendto"].contains($0.syscall) && $0.latency.count > 1000 }
            let wrote = try #require(writes.first), plain = try #require(session.record.syscalls?[wrote.syscall])
            #expect(wrote.count == 1009 && plain.count == 1009 && session.call("read").returned >= 1009, "\(session.calls)")
            #expect(session.record.commands["PING"]?.count == 1009 && session.record.commands["PING"]?.phases["exec"] != nil)
            #expect(session.rows.filter { $0.calls.syscall == wrote.syscall }.reduce(0) { $0 + $1.calls.latency.count } == 1009)
            #expect(session.said.contains("epoll_wait") && session.said.contains("CALL"), "\(session.said)")
        }
    }
}
