import Foundation
import Glibc
import Testing

extension KernelTests {
    /// Functions whose calls and returns are probed: the kernel replaces their return addresses.
    @Suite(.enabled(if: Program.canCompile, "no C compiler")) struct UnwindProbeTests {
        /// A recursion into which leads a tail call. A child places the probes, as another program would, and then the parent works.
        private static let probed = """
            #include <linux/perf_event.h>
            #include <signal.h>
            #include <stdio.h>
            #include <string.h>
            #include <sys/prctl.h>
            #include <sys/syscall.h>
            #include <unistd.h>

            extern char __executable_start;
            volatile unsigned long sink;

            __attribute__((noinline)) unsigned long deep(int depth, unsigned long x) {
                if (!depth) { for (int i = 0; i < SPIN; i++) x = x * 6364136223846793005UL + 1; return x; }
                unsigned long below = deep(depth - 1, x + depth);
                return below ^ depth;
            }
            __attribute__((noinline)) unsigned long hop(unsigned long x) { return deep(DEPTH - 1, x); }

            static int number_in(const char *path, const char *format) {
                FILE *file = fopen(path, "r");
                int number = -1;
                if (file) { fscanf(file, format, &number); fclose(file); }
                return number;
            }

            static int probe(int pid, const char *path, void *function, int at_return) {
                struct perf_event_attr event = { .size = sizeof event };
                event.type = number_in("/sys/bus/event_source/devices/uprobe/type", "%d");
                event.config = at_return ? 1UL << number_in("/sys/bus/event_source/devices/uprobe/format/retprobe", "config:%d") : 0;
                event.config1 = (unsigned long)path;
                event.config2 = (char *)function - &__executable_start;
                return syscall(SYS_perf_event_open, &event, pid, -1, -1, PERF_FLAG_FD_CLOEXEC);
            }

            int main(int count, char **arguments) {
                int ready[2], parent = getpid(), placed = 0;
                pipe(ready);
                if (!fork()) {
                    prctl(PR_SET_PDEATHSIG, SIGKILL);
                    for (int at_return = 0; at_return < 2; at_return++)
                        placed += probe(parent, arguments[0], deep, at_return) >= 0 && probe(parent, arguments[0], hop, at_return) >= 0;
                    write(ready[1], &placed, sizeof placed);
                    pause();
                }
                read(ready[0], &placed, sizeof placed);
                if (placed != 2) return 1;
                for (;;) sink = hop(sink);
            }
            """

        @Test func callersBehindReplacedReturnAddressesAreTheTrueOnes() throws {
            let program = try Program(Self.probed, ["-O2", "-fomit-frame-pointer", "-DDEPTH=30", "-DSPIN=5000000"])
            let session = try Session.sampling(pid: program.pid)
            let samples = session.record.samples.onCPU
            #expect(samples.recorded > 300)
            #expect(session.wholeShare >= 0.98, "\(samples.ends)")
            // Most time is spent in the innermost call; each probe takes some, too.
            let deepest = session.stacks.lines.filter { line in
                line.frames.starts(with: ["program", "_start"]) && line.frames.filter { $0 == "deep" }.count == 30
                    && line.frames.firstIndex(of: "deep") == line.frames.firstIndex(of: "main").map { $0 + 1 }
            }
            #expect(deepest.reduce(0) { $0 + $1.samples } >= samples.recorded * 3 / 4, "\(session.folded)")
        }

        /// Nearly all time is spent where probes are hit: at breakpoints, and in what returns lead to.
        @Test func stacksAreWholeWhereProbesAreHit() throws {
            let program = try Program(Self.probed, ["-O2", "-fomit-frame-pointer", "-DDEPTH=20", "-DSPIN=1"])
            let session = try Session.sampling(pid: program.pid)
            let samples = session.record.samples.onCPU
            #expect(samples.recorded > 300)
            // Here and there a sample falls between the replacement and its entry in the kernel's list.
            #expect(samples.complete + (samples.ends["probed_return"] ?? 0) >= samples.recorded * 99 / 100, "\(samples.ends)")
            #expect(session.wholeShare >= 0.96, "\(samples.ends)")
            let inProgram = session.stacks.samples(through: "program", "_start", "main")
            #expect(inProgram == samples.complete, "\(session.folded)")
            let known: Set<Substring> = ["program", "_start", "__libc_start_main", "__libc_start_call_main", "main", "hop", "deep"]
            // Not those that are told to be cut: where the kernel has replaced an address and not yet listed it.
            let whole = session.stacks.lines.map(\.frames).filter { $0.count > 1 && !$0[1].hasPrefix("[") }
            let foreign = whole.joined().filter { !$0.hasSuffix("_[k]") && !known.contains($0[...].prefix { $0 != "@" }) }
            #expect(foreign.isEmpty, "\(Set(foreign))")
        }
    }
}
