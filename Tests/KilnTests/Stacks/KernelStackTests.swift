import Foundation
import Glibc
import KilnModel
import TestSupport
import Testing

extension KernelTests {
    /// The kernel's side of stacks at switches is not walked where it is known: it has to be what the kernel's own walk finds.
    @Suite(.enabled(if: Program.canCompile, "no C compiler")) struct KernelStackTests {
        /// After SIGUSR1, threads that wait in one system call with equal user stacks, for other kinds of files by turns. Writes of each kind how
        /// often a thread gave its CPU up in it, how often it was preempted, and the time off the CPU in nanoseconds.
        private static let readers = """
            #define _GNU_SOURCE
            #include <pthread.h>
            #include <signal.h>
            #include <stdio.h>
            #include <sys/eventfd.h>
            #include <sys/resource.h>
            #include <sys/socket.h>
            #include <sys/timerfd.h>
            #include <time.h>
            #include <unistd.h>
            enum { PIPE, SOCKET, EVENT, TIMER, KINDS, THREADS = 6, ROUNDS = 101 };
            static int ends[THREADS][KINDS][2], orders[THREADS][2];
            static long counts[THREADS][KINDS][3];
            static long now(clockid_t id) { struct timespec t; clock_gettime(id, &t); return t.tv_sec * 1000000000L + t.tv_nsec; }
            __attribute__((noinline)) static void take(int fd) { long word; if (read(fd, &word, sizeof word) < 1) _exit(1); asm volatile(""); }
            static void *reader(void *x) {
                long me = (long)x;
                for (int i = 0; i < ROUNDS * KINDS; i++) {
                    int kind = (i + me) % KINDS;
                    struct itimerspec soon = { .it_value.tv_nsec = 2000000 };
                    struct rusage before, after;
                    if (kind == TIMER) timerfd_settime(ends[me][TIMER][0], 0, &soon, NULL);
                    else write(orders[me][1], "g", 1);
                    getrusage(RUSAGE_THREAD, &before);
                    long wall = now(CLOCK_MONOTONIC), cpu = now(CLOCK_THREAD_CPUTIME_ID);
                    take(ends[me][kind][0]);
                    counts[me][kind][2] += (now(CLOCK_MONOTONIC) - wall) - (now(CLOCK_THREAD_CPUTIME_ID) - cpu);
                    getrusage(RUSAGE_THREAD, &after);
                    counts[me][kind][0] += after.ru_nvcsw - before.ru_nvcsw;
                    counts[me][kind][1] += after.ru_nivcsw - before.ru_nivcsw;
                }
                return NULL;
            }
            static void *feeder(void *x) {
                long me = (long)x, one = 1;
                for (int i = 0; i < ROUNDS * KINDS; i++) {
                    int kind = (i + me) % KINDS;
                    char c;
                    if (kind == TIMER) continue;
                    if (read(orders[me][0], &c, 1) != 1) _exit(1);
                    usleep(1500);
                    write(ends[me][kind][1], &one, sizeof one);
                }
                return NULL;
            }
            static void begin(int number) {}
            int main(int count, char **arguments) {
                pthread_t threads[THREADS][2];
                char path[512], done[512];
                signal(SIGUSR1, begin);
                for (int i = 0; i < THREADS; i++) {
                    if (pipe(ends[i][PIPE]) || socketpair(AF_UNIX, SOCK_STREAM, 0, ends[i][SOCKET]) || pipe(orders[i])) return 1;
                    ends[i][EVENT][0] = ends[i][EVENT][1] = eventfd(0, 0);
                    ends[i][TIMER][0] = timerfd_create(CLOCK_MONOTONIC, 0);
                }
                pause();
                for (long i = 0; i < THREADS; i++) {
                    pthread_create(&threads[i][0], NULL, reader, (void *)i);
                    pthread_create(&threads[i][1], NULL, feeder, (void *)i);
                }
                for (int i = 0; i < THREADS; i++) for (int j = 0; j < 2; j++) pthread_join(threads[i][j], NULL);
                snprintf(path, sizeof path, "%s/times", arguments[1]);
                snprintf(done, sizeof done, "%s/done", arguments[1]);
                FILE *out = fopen(path, "w");
                for (int kind = 0; kind < KINDS; kind++) {
                    long sums[3] = {};
                    for (int i = 0; i < THREADS; i++) for (int j = 0; j < 3; j++) sums[j] += counts[i][kind][j];
                    fprintf(out, "%ld %ld %ld\\n", sums[0], sums[1], sums[2]);
                }
                fclose(out);
                rename(path, done);
                for (;;) pause();
            }
            """

        @Test(.tags(.timing)) func knownStacksAreThoseOfTheKernelsWalk() throws {
            let program = try Program(Self.readers, ["-O1", "-fomit-frame-pointer", "-pthread"])
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            // The event's stacks are always walked.
            let kiln = try KilnRun(
                ["-p", "\(program.pid)", "-F", "0", "--off-cpu", "-e", "sched:sched_switch", "-o", directory + "/session"], subcommand: "record"
            )
            guard kiln.attached() else { throw TestFailure("kiln did not attach: \(kiln.errorText)") }
            program.signal(SIGUSR1)
            guard eventually(within: 60, { access(program.directory + "/done", F_OK) == 0 }) else { throw TestFailure("the program did not finish") }
            usleep(100_000)
            #expect(kiln.stop() == 0, "\(kiln.errorText)")
            let session = try EventSession(directory + "/session")
            let walked = try session.stacks(of: try #require(session.record.samples.events?.first).event)
            let waits = Stacks(try String(contentsOfFile: directory + "/session/stacks.off-cpu.folded", encoding: .utf8))
            #expect(session.record.otherLosses.isEmpty, "\(session.record.lost)")
            // Those of a switch end in the scheduler, which is left out of waits. Its time may be too short for a line: not the other way round.
            let known = Set(walked.lines.flatMap { line in (1...line.frames.count).map { line.frames.prefix($0).joined(separator: ";") } })
            for line in waits.lines {
                let stack = line.frames.filter { !["(sleeping)", "(uninterruptible)", "(runnable)"].contains($0) }.joined(separator: ";")
                #expect(known.contains(stack), "\(stack)")
            }
            // The main thread slept when the session began: its switch was before. The last switch of a thread that exits begins no wait.
            let recorded = try #require(session.record.samples.offCPU).recorded, switches = try #require(session.record.samples.events?.first).count
            #expect(recorded + 2 * 6 == switches + 1, "\(recorded) waits, \(switches) switches")
            let kinds = ["pipe_read", "unix_stream_read_generic", "eventfd_read", "timerfd_read"]
            let texts = try String(contentsOfFile: program.directory + "/done", encoding: .utf8).split(separator: "\n")
            try #require(texts.count == kinds.count)
            func sum(_ stacks: Stacks, _ kind: String, _ state: String? = nil) -> UInt64 {
                stacks.lines.filter { line in
                    line.frames.contains("take") && (state.map(line.frames.contains) ?? true)
                        && line.frames.contains { $0 == kind + "_[k]" || $0 == "anon_" + kind + "_[k]" || $0 == kind + "_iter_[k]" }
                }.reduce(0) { $0 + $1.samples }
            }
            for (kind, text) in zip(kinds, texts) {
                let numbers = text.split(separator: " ").compactMap { UInt64($0) }
                let counted = sum(walked, kind), slept = sum(waits, kind, "(sleeping)"), all = sum(waits, kind)
                #expect(numbers[0] > 550, "\(kind): \(text)")
                #expect(counted >= numbers[0] && counted <= numbers[0] + numbers[1], "\(kind): \(counted) switches, \(text)")
                let own = Double(numbers[2])
                #expect(abs(Double(all) - own) <= own * 0.02 + Double(numbers[0] + numbers[1]) * 50_000, "\(kind): \(all), \(text)")
                #expect(slept > all / 2, "\(kind): \(slept) of \(all)")
            }
        }
    }
}
