import Foundation
import Glibc
import KilnModel
import TestSupport
import Testing

extension SessionRecord {
    /// Without waits whose end the kernel did not show: some machines hide the switches of a thread that works for the machine itself.
    var otherLosses: [String: UInt64] { lost.filter { $0.key != "waits_without_end" } }
}

extension KernelTests {
    /// Off-CPU time of many threads against the scheduler's own counts, who woke whom, and threads that sleep all the time.
    @Suite(.enabled(if: Program.canCompile, "no C compiler")) struct WaitSumTests {
        /// Threads that work after SIGUSR1: most sleep, compute a little and move from CPU to CPU; six only compute. Each writes its name, wall
        /// time, CPU time and time in the run queue in nanoseconds; the last two are the scheduler's.
        private static let many = """
            #define _GNU_SOURCE
            #include <pthread.h>
            #include <sched.h>
            #include <signal.h>
            #include <stdio.h>
            #include <stdlib.h>
            #include <time.h>
            #include <unistd.h>
            enum { THREADS = 206, COMPUTING = 6 };
            static long own[THREADS][3];
            static long now(clockid_t id) { struct timespec t; clock_gettime(id, &t); return t.tv_sec * 1000000000L + t.tv_nsec; }
            static long delay(void) {
                long cpu, delay = 0;
                FILE *file = fopen("/proc/thread-self/schedstat", "r");
                if (fscanf(file, "%ld %ld", &cpu, &delay) != 2) delay = 0;
                fclose(file);
                return delay;
            }
            static void *work(void *x) {
                long me = (long)x, cpus = sysconf(_SC_NPROCESSORS_ONLN);
                unsigned seed = me;
                char name[16];
                snprintf(name, sizeof name, "thread-%03ld", me);
                long waited = delay();
                pthread_setname_np(pthread_self(), name);
                long wall = now(CLOCK_MONOTONIC), cpu = now(CLOCK_THREAD_CPUTIME_ID), end = wall + 4000000000L;
                for (int turn = 0; now(CLOCK_MONOTONIC) < end; turn++) {
                    if (me >= COMPUTING) usleep(5000 + rand_r(&seed) % 15000);
                    long until = now(CLOCK_THREAD_CPUTIME_ID) + 10000 + rand_r(&seed) % 20000;
                    while (now(CLOCK_THREAD_CPUTIME_ID) < until);
                    if (me >= COMPUTING && turn % 16 == 0) {
                        cpu_set_t set;
                        CPU_ZERO(&set);
                        CPU_SET((me + turn / 16) % cpus, &set);
                        sched_setaffinity(0, sizeof set, &set);
                    }
                }
                own[me][1] = now(CLOCK_THREAD_CPUTIME_ID) - cpu;
                own[me][0] = now(CLOCK_MONOTONIC) - wall;
                pthread_setname_np(pthread_self(), "done");
                own[me][2] = delay() - waited;
                return NULL;
            }
            static void begin(int number) {}
            int main(int count, char **arguments) {
                static pthread_t threads[THREADS];
                char path[512], done[512];
                signal(SIGUSR1, begin);
                pause();
                for (long i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, work, (void *)i);
                for (long i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
                snprintf(path, sizeof path, "%s/times", arguments[1]);
                snprintf(done, sizeof done, "%s/done", arguments[1]);
                FILE *out = fopen(path, "w");
                for (long i = 0; i < THREADS; i++) fprintf(out, "thread-%03ld %ld %ld %ld\\n", i, own[i][0], own[i][1], own[i][2]);
                fclose(out);
                rename(path, done);
                for (;;) pause();
            }
            """

        @Test(.tags(.timing)) func timeOnAndOffTheCPUIsAllTime() throws {
            let program = try Program(Self.many, ["-O1", "-pthread"])
            let taken = try stolenTime()
            var unended = 0
            let stacks = try waits(of: program, ["--off-cpu", "--idle", "--threads"]) { unended = Int($0.lost["waits_without_end"] ?? 0) }
            // Time that the hypervisor gives to others is in no thread's CPU time.
            let stolen = try stolenTime() - taken
            var queued = 0.0, runnable = 0.0, others: [String] = []
            for line in try String(contentsOfFile: program.directory + "/done", encoding: .utf8).split(separator: "\n") {
                let words = line.split(separator: " ").map(String.init), times = words.dropFirst().compactMap(Double.init)
                let off = Double(stacks.samples(through: words[0]))
                if abs(times[1] + off - times[0]) >= times[0] * 0.005 + stolen { others.append("\(words[0]): \(times[1]) on, \(off) off, \(times[0]) in all") }
                let ready = Double(stacks.samples(through: words[0], "(runnable)"))
                // A thread that another CPU wakes is in the run queue only when that CPU's message has arrived.
                if ready < times[2] * 0.98 - 1e8 { others.append("\(words[0]): \(ready) of \(times[2]) in the run queue") }
                guard ["thread-000", "thread-001", "thread-002", "thread-003", "thread-004", "thread-005"].contains(words[0]) else { continue }
                queued += times[2]
                runnable += ready
            }
            // A wait whose end was not shown is missing in one thread.
            #expect(others.count <= 2 * unended, "\(others)")
            // These are preempted, and never woken.
            #expect(queued > 0 && abs(runnable - queued) < queued * 0.02 + Double(unended + 1) * 1e8, "\(runnable) of \(queued) in the run queue")
        }

        /// After SIGUSR1, 7 threads hand a token round, a pipe from each to the next.
        private static let ring = """
            #include <pthread.h>
            #include <signal.h>
            #include <stdio.h>
            #include <unistd.h>
            enum { ROUNDS = 2003 };
            static int pipes[7][2];
            #define MEMBER(i) \\
                __attribute__((noinline)) static void member_##i(void) { \\
                    char c; \\
                    for (int r = 0; r < ROUNDS && read(pipes[i][0], &c, 1) == 1; r++) write(pipes[(i + 1) % 7][1], &c, 1); \\
                    asm volatile(""); \\
                }
            MEMBER(0) MEMBER(1) MEMBER(2) MEMBER(3) MEMBER(4) MEMBER(5) MEMBER(6)
            static void (*members[])(void) = { member_0, member_1, member_2, member_3, member_4, member_5, member_6 };
            static void *run(void *x) { members[(long)x](); return x; }
            static void begin(int number) {}
            int main(int count, char **arguments) {
                pthread_t threads[7];
                char path[512];
                signal(SIGUSR1, begin);
                for (int i = 0; i < 7; i++) if (pipe(pipes[i])) return 1;
                for (long i = 0; i < 7; i++) pthread_create(&threads[i], NULL, run, (void *)i);
                pause();
                write(pipes[0][1], "t", 1);
                for (int i = 0; i < 7; i++) pthread_join(threads[i], NULL);
                snprintf(path, sizeof path, "%s/done", arguments[1]);
                fclose(fopen(path, "w"));
                for (;;) pause();
            }
            """

        @Test func wakerInARingIsTheMemberBefore() throws {
            let program = try Program(Self.ring, ["-O1", "-fomit-frame-pointer", "-pthread"])
            let stacks = try waits(of: program, ["--off-cpu", "--wakers"], file: "stacks.wakers.folded") { record in
                let wakers = try #require(record.samples.offCPU?.wakers)
                #expect(wakers.recorded > 7 * 2003 / 2 && wakers.complete >= wakers.recorded * 995 / 1000, "\(wakers)")
            }
            for member in 0..<7 {
                let before = "member_\((member + 6) % 7)"
                var others: [String] = []
                for line in stacks.lines where line.frames.prefix(while: { $0 != "(woken by)" }).contains("member_\(member)") {
                    let waker = line.frames.drop { $0 != "(woken by)" }
                    // The first token comes from the main thread.
                    if !waker.contains(before), member != 0 || !waker.contains("main") { others.append(line.frames.joined(separator: ";")) }
                }
                #expect(others.isEmpty)
                #expect(stacks.samples(through: "member_\(member)", "(woken by)", before) > 0)
            }
            // The main thread slept until the signal.
            #expect(stacks.samples(through: "main", "pause", "(woken by)") > 0)
        }

        @Test func wakerOfASleepIsATimer() throws {
            let program = try Program(
                """
                #include <unistd.h>
                __attribute__((noinline)) static void nap(void) { usleep(3000); asm volatile(""); }
                int main() { for (;;) nap(); }
                """)
            let stacks = try waits(of: program, ["--off-cpu", "--wakers", "-d", "1"], file: "stacks.wakers.folded")
            let all = stacks.samples(through: "nap", "(woken by)")
            #expect(all > 0 && stacks.samples(through: "nap", "(woken by)", "hrtimer_wakeup_[k]", "(timer)") == all)
        }

        /// A child that sleeps for ever, and a thread of it.
        @Test func threadsThatSleepAllTheTimeHaveStacks() throws {
            let program = try Program(
                """
                #include <pthread.h>
                #include <unistd.h>
                __attribute__((noinline)) static void in_thread(void) { pause(); asm volatile(""); }
                __attribute__((noinline)) static void in_child(void) { pause(); asm volatile(""); }
                __attribute__((noinline)) static void in_parent(void) { for (;;) pause(); }
                static void *run(void *x) { in_thread(); return x; }
                int main() {
                    pthread_t thread;
                    if (fork()) in_parent();
                    pthread_create(&thread, NULL, run, NULL);
                    in_child();
                }
                """, ["-O1", "-fomit-frame-pointer", "-pthread"])
            _ = eventually { ((try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(child(of: program.pid))/task").count) ?? 0) == 2 }
            usleep(100_000)
            let stacks = try waits(of: program, ["--off-cpu", "--children", "-d", "1"]) { record in
                let waits = try #require(record.samples.offCPU)
                #expect(waits.openWaits >= 3 && waits.complete == waits.recorded, "\(waits)")
                // Each of three threads, all the time.
                #expect(waits.openNs > UInt64(record.durationS * 3e9 * 0.95) && waits.openNs <= UInt64(record.durationS * 3e9 * 1.05), "\(waits)")
            }
            #expect(stacks.samples(through: "program", "(sleeping)", "main", "in_parent", "pause") > 0)
            #expect(stacks.samples(through: "program", "(sleeping)", "main", "in_child", "pause") > 0)
            #expect(stacks.samples(through: "program", "(sleeping)", "start_thread", "run", "in_thread", "pause") > 0)
        }

        /// The command's code is read after it has begun to sleep.
        @Test func commandThatSleepsAtOnceHasItsStack() throws {
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(["-F", "0", "--off-cpu", "-o", directory + "/session", "--", "sleep", "1.5"], subcommand: "record")
            #expect(kiln.wait() == 0, "\(kiln.errorText)")
            let stacks = Stacks(try String(contentsOfFile: directory + "/session/stacks.off-cpu.folded", encoding: .utf8))
            let all = stacks.samples(through: "sleep", "(sleeping)"),
                whole = stacks.samples(through: "sleep", "(sleeping)", "__libc_start_main", "clock_nanosleep")
            #expect(whole > 1_400_000_000 && whole >= all * 99 / 100, "\(whole) of \(all): \(stacks.lines)")
            // Before that, it is a child of kiln that waits for its start.
            #expect(!stacks.lines.contains { $0.frames.contains { $0.contains("kiln_spawn_waiting") || $0.contains("kiln.") } }, "\(stacks.lines)")
        }

        private func child(of pid: Int32) -> String {
            (try? String(contentsOfFile: "/proc/\(pid)/task/\(pid)/children", encoding: .utf8))?.split(separator: " ").first.map(String.init) ?? ""
        }

        /// The stacks of a session that lasts until the program is done, or until its own end.
        private func waits(
            of program: Program, _ options: [String], file: String = "stacks.off-cpu.folded", check: (SessionRecord) throws -> Void = { _ in }
        ) throws -> Stacks {
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(["-p", "\(program.pid)", "-F", "0", "-o", directory + "/session"] + options, subcommand: "record")
            guard kiln.attached() else { throw TestFailure("kiln did not attach: \(kiln.errorText)") }
            if options.contains("-d") {
                #expect(kiln.wait() == 0, "\(kiln.errorText)")
            } else {
                program.signal(SIGUSR1)
                guard eventually(within: 60, { access(program.directory + "/done", F_OK) == 0 }) else { throw TestFailure("the program did not finish") }
                #expect(kiln.stop() == 0, "\(kiln.errorText)")
            }
            let record = try Session(directory: directory + "/session").record
            #expect(record.otherLosses.isEmpty, "\(record.lost)")
            try check(record)
            return Stacks(try String(contentsOfFile: "\(directory)/session/\(file)", encoding: .utf8))
        }
    }
}
