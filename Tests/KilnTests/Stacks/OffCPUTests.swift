import Foundation
import Glibc
import TestSupport
import Testing

extension KernelTests {
    /// Off-CPU time against the program's own clock.
    @Suite(.enabled(if: Program.canCompile, "no C compiler")) struct OffCPUTests {
        /// Waits in functions of known names after SIGUSR1, and writes how long each took: `name nanoseconds waits`.
        private static let waiting = """
            #define _GNU_SOURCE
            #include <pthread.h>
            #include <sched.h>
            #include <signal.h>
            #include <stdio.h>
            #include <sys/epoll.h>
            #include <sys/wait.h>
            #include <time.h>
            #include <unistd.h>
            static long now(clockid_t id) { struct timespec t; clock_gettime(id, &t); return t.tv_sec * 1000000000L + t.tv_nsec; }
            static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
            static int pipes[2];
            static volatile int stop;
            __attribute__((noinline)) static void in_sleep(void) { for (int i = 0; i < 211; i++) usleep(2000); }
            static void *holder(void *x) {
                pthread_mutex_lock(&mutex);
                write(pipes[1], "h", 1);
                usleep(150000);
                pthread_mutex_unlock(&mutex);
                return x;
            }
            __attribute__((noinline)) static void in_futex(void) { pthread_mutex_lock(&mutex); pthread_mutex_unlock(&mutex); asm volatile(""); }
            static void *writer(void *x) { for (int i = 0; i < 53; i++) { usleep(3000); write(pipes[1], "x", 1); } return x; }
            __attribute__((noinline)) static void in_pipe(void) { char c; for (int i = 0; i < 53; i++) read(pipes[0], &c, 1); asm volatile(""); }
            __attribute__((noinline)) static void in_epoll(void) { struct epoll_event e; int fd = epoll_create1(0); for (int i = 0; i < 31; i++) epoll_wait(fd, &e, 1, 4); }
            __attribute__((noinline)) static void in_preemption(void) { long end = now(CLOCK_THREAD_CPUTIME_ID) + 300000000L; while (now(CLOCK_THREAD_CPUTIME_ID) < end); }
            static void timed(FILE *out, const char *name, void (*body)(void)) {
                long wall = now(CLOCK_MONOTONIC), cpu = now(CLOCK_THREAD_CPUTIME_ID);
                body();
                fprintf(out, "%s %ld\\n", name, (now(CLOCK_MONOTONIC) - wall) - (now(CLOCK_THREAD_CPUTIME_ID) - cpu));
            }
            static void begin(int number) {}
            int main(int count, char **arguments) {
                char path[512], done[512], c;
                pthread_t thread;
                signal(SIGUSR1, begin);
                pause();
                snprintf(path, sizeof path, "%s/times", arguments[1]);
                snprintf(done, sizeof done, "%s/done", arguments[1]);
                FILE *out = fopen(path, "w");
                pipe(pipes);
                timed(out, "in_sleep", in_sleep);
                pthread_create(&thread, NULL, holder, NULL);
                read(pipes[0], &c, 1);
                timed(out, "in_futex", in_futex);
                pthread_join(thread, NULL);
                pthread_create(&thread, NULL, writer, NULL);
                timed(out, "in_pipe", in_pipe);
                pthread_join(thread, NULL);
                timed(out, "in_epoll", in_epoll);
                // A hog on the same CPU.
                cpu_set_t one;
                CPU_ZERO(&one);
                CPU_SET(0, &one);
                sched_setaffinity(0, sizeof one, &one);
                pid_t hog = fork();
                if (!hog) for (;;) if (getppid() == 1) _exit(0);
                timed(out, "in_preemption", in_preemption);
                kill(hog, SIGKILL);
                waitpid(hog, NULL, 0);
                fclose(out);
                rename(path, done);
                for (;;) pause();
            }
            """

        @Test(.tags(.timing)) func waitsAreAsLongAsTheProgramsOwnClockSays() throws {
            let program = try Program(Self.waiting, ["-O1", "-fomit-frame-pointer", "-pthread"])
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(
                ["-p", "\(program.pid)", "-F", "0", "--off-cpu", "--idle", "-o", directory + "/session"], subcommand: "record"
            )
            guard kiln.attached() else { throw TestFailure("kiln did not attach: \(kiln.errorText)") }
            program.signal(SIGUSR1)
            guard eventually(within: 60, { access(program.directory + "/done", F_OK) == 0 }) else { throw TestFailure("the program did not finish") }
            #expect(kiln.stop() == 0, "\(kiln.errorText)")
            let folded = try String(contentsOfFile: directory + "/session/stacks.off-cpu.folded", encoding: .utf8)
            #expect(access(directory + "/session/off-cpu.svg", F_OK) == 0 && access(directory + "/session/stacks.folded", F_OK) != 0)
            func time(_ function: String, _ states: [String]) -> Double {
                folded.split(separator: "\n").reduce(0) { sum, line in
                    let frames = line.prefix { $0 != " " }.split(separator: ";").map(String.init)
                    guard frames.contains(function), states.contains(where: { frames.contains("(\($0))") }) else { return sum }
                    return sum + (Double(line.split(separator: " ").last ?? "") ?? 0)
                }
            }
            let waits = ["in_sleep": 211.0, "in_futex": 1, "in_pipe": 53, "in_epoll": 31, "in_preemption": 150]
            for line in try String(contentsOfFile: program.directory + "/done", encoding: .utf8).split(separator: "\n") {
                let words = line.split(separator: " ").map(String.init), own = try #require(Double(words[1]))
                let all = time(words[0], ["sleeping", "uninterruptible", "runnable", "stopped"])
                #expect(abs(all - own) <= own * 0.02 + (waits[words[0]] ?? 0) * 50_000, "\(words[0]): \(all) of \(own)")
                let slept = time(words[0], ["sleeping"]), ran = time(words[0], ["runnable"])
                if words[0] == "in_preemption" {
                    #expect(ran > slept * 10 && ran > 0, "\(ran), \(slept)")
                } else {
                    #expect(slept > ran, "\(words[0]): \(slept), \(ran)")
                }
            }
            let record = try #require(try Session(directory: directory + "/session").record.samples.offCPU)
            #expect(record.complete >= record.recorded * 99 / 100 && record.recorded > 250, "\(record)")
            // It slept in pause() when the session began, and in another one when it ended.
            #expect(record.openWaits >= 2 && record.openNs > 0, "\(record)")
            // A part of a timeout may pass before the thread sleeps.
            #expect(record.idleNs >= 31 * 3_600_000 && record.idleNs < record.sleepingNs, "\(record)")
            // It is in the same pause() then: its stack is taken while it sleeps.
            #expect(folded.contains("(sleeping);_start;__libc_start_main;__libc_start_call_main;main;pause;"))
        }
    }
}
