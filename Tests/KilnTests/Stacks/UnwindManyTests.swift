import Foundation
import Glibc
import Testing

extension KernelTests {
    /// Many mappings, many libraries.
    @Suite(.enabled(if: Program.canCompile, "no C compiler")) struct UnwindManyTests {
        /// Code of the program itself, mapped again and again: other addresses, the same table. Run from several places.
        @Test(.tags(.timing)) func aThousandMappingsAreSearched() throws {
            let program = try Program(
                """
                #define _GNU_SOURCE
                #include <fcntl.h>
                #include <signal.h>
                #include <stdint.h>
                #include <stdio.h>
                #include <sys/mman.h>
                #include <unistd.h>
                static volatile sig_atomic_t asked;
                static void on_signal(int number) { asked = 1; }
                extern const char __executable_start[], etext[];
                /* Nothing in it depends on where it lies. */
                __attribute__((noinline, aligned(64))) unsigned long in_a_copy(unsigned long n) {
                    volatile unsigned long sink = n;
                    for (int i = 0; i < 100000; i++) sink = sink * 3 + 1;
                    return sink;
                }
                static char *copies[1000];
                static void map_copies(int from, int to) {
                    size_t offset = (uintptr_t)in_a_copy - (uintptr_t)__executable_start;
                    size_t page = offset & -4096UL;
                    int file = open("/proc/self/exe", O_RDONLY);
                    for (int i = from; i < to; i++) {
                        /* A page left free between, so that no two become one mapping. */
                        char *room = mmap(0, 3 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                        copies[i] = mmap(room, 2 * 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, file, (off_t)page);
                        copies[i] += offset - page;
                    }
                }
                int main(void) {
                    volatile unsigned long sink = 0;
                    signal(SIGUSR1, on_signal);
                    map_copies(0, 500);
                    for (unsigned i = 0;; i++) {
                        if (asked) { asked = 0; map_copies(500, 1000); }
                        char *copy = copies[i * 7 % 1000];
                        if (copy) sink += ((unsigned long (*)(unsigned long))copy)(i);
                    }
                }
                """)
            usleep(300_000)
            let session = try Session.sampling(pid: program.pid) {
                usleep(1_000_000)
                program.signal(SIGUSR1)
                usleep(2_000_000)
            }
            let samples = session.record.samples.onCPU
            // What runs between the mapping and kiln's next look is counted as what it is.
            #expect(samples.recorded - samples.complete == samples.ends["no_mapping"] ?? 0, "\(samples.ends)")
            #expect(samples.ends["no_mapping"] ?? 0 < samples.recorded / 4, "\(samples.ends)")
            #expect(session.stacks.samples(through: "_start", "main", "in_a_copy") > samples.complete * 9 / 10)
            #expect(session.record.lost.isEmpty)
        }

        @Test(.tags(.timing)) func fiftyLibrariesOpenedDuringTheSessionAreFollowed() throws {
            let program = try Program(
                """
                #include <dlfcn.h>
                #include <stdio.h>
                #include <time.h>
                static double now(void) { struct timespec t; clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); return t.tv_sec + t.tv_nsec / 1e9; }
                int main(int count, char **words) {
                    double begin = now();
                    while (now() - begin < 1) {}
                    for (int i = 0; i < 50; i++) {
                        char name[4096];
                        snprintf(name, sizeof name, "%s/library%d.so", words[1], i);
                        void *library = dlopen(name, RTLD_NOW);
                        snprintf(name, sizeof name, "spin_in_%d", i);
                        void (*spin)(void) = (void (*)(void))dlsym(library, name);
                        double start = now();
                        while (now() - start < 0.15) spin();
                    }
                    for (;;) {}
                }
                """,
                library: """
                    volatile unsigned long sink;
                    __attribute__((noinline)) void NAME(void) { for (int i = 0; i < 100000; i++) sink = sink * 3 + 1; }
                    """, named: (0..<50).map { ("library\($0).so", ["-DNAME=spin_in_\($0)"]) })
            let session = try Session.sampling(pid: program.pid) { try letWork(program.pid, seconds: 10) }
            let samples = session.record.samples.onCPU
            // Each library's first samples make kiln look; it takes some 20 ms of the 150 ms until its table is in place, and all of
            // them where kiln gets no CPU for so long.
            let named = (0..<50).filter { session.stacks.samples(through: "_start", "main", "spin_in_\($0)") > 5 }
            #expect(named.count >= 45, "\(named)")
            #expect(samples.recorded - samples.complete == samples.ends["no_mapping"] ?? 0, "\(samples.ends)")
            #expect(samples.ends["no_mapping"] ?? 0 < samples.recorded / 2)
            print("fifty libraries: \(samples.recorded) samples, \(samples.ends)")
            #expect(session.record.lost.isEmpty)
        }
    }
}
