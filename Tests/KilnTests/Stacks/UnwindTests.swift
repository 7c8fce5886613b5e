import Foundation
import Glibc
import Testing

extension KernelTests {
    /// User stacks from unwind tables: whole on code without frame pointers, and honest where they are not.
    @Suite(.enabled(if: Program.canCompile, "no C compiler")) struct UnwindTests {
        private static let recursion = """
            volatile unsigned long sink;
            __attribute__((noinline)) unsigned long deep(int depth, unsigned long x) {
                if (!depth) { for (int i = 0; i < 20000; i++) x = x * 6364136223846793005UL + 1; return x; }
                unsigned long below = deep(depth - 1, x + depth);
                return below ^ depth;
            }
            int main(void) { for (;;) sink = deep(DEPTH - 1, sink); }
            """

        @Test func aHundredCallsWithoutFramePointersAreAllThere() throws {
            let program = try Program(Self.recursion, ["-O2", "-fomit-frame-pointer", "-DDEPTH=100"])
            let session = try Session.sampling(pid: program.pid)
            #expect(session.record.samples.onCPU.recorded > 300)
            #expect(session.wholeShare >= 0.995, "\(session.record.samples.onCPU.ends)")
            let deepest = session.stacks.lines.map { $0.frames.count { $0 == "deep" } }.max()
            #expect(deepest == 100)
        }

        @Test func aStackThatIsTooDeepKeepsItsInnermostFramesAndSaysSo() throws {
            let program = try Program(Self.recursion, ["-O2", "-fomit-frame-pointer", "-DDEPTH=2000"])
            let session = try Session.sampling(pid: program.pid)
            let samples = session.record.samples.onCPU
            #expect((samples.ends["too_deep"] ?? 0) > samples.recorded / 2)
            #expect(session.stacks.lines.contains { $0.frames.prefix(2) == ["program", "[too_deep]"] && $0.frames.count == 386 })
            #expect(session.output.contains("too_deep: "))
        }

        @Test func signalHandlersStandOnWhatTheyInterrupted() throws {
            let program = try Program(
                """
                #include <signal.h>
                #include <stdlib.h>
                #include <sys/time.h>
                volatile unsigned long sink;
                __attribute__((noinline)) static void spin(void) { for (int i = 0; i < 10000000; i++) sink = sink * 3 + 1; }
                __attribute__((noinline)) void in_handler(void) { spin(); sink++; }
                __attribute__((noinline)) void interrupted(void) { for (;;) sink = sink * 3 + 1; }
                static void on_signal(int number) { in_handler(); sink++; }
                int main(void) {
                    stack_t other = { malloc(1 << 16), 0, 1 << 16 };
                    struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK };
                    struct itimerval every = { { 0, 20000 }, { 0, 20000 } };
                    sigaltstack(&other, 0);
                    sigaction(SIGPROF, &action, 0);
                    setitimer(ITIMER_PROF, &every, 0);
                    interrupted();
                }
                """)
            let session = try Session.sampling(pid: program.pid)
            #expect(session.wholeShare >= 0.995, "\(session.record.samples.onCPU.ends)")
            #expect(session.stacks.samples(through: "main", "interrupted", "in_handler") > 50)
        }

        /// Some C libraries have no call frame information where handlers return to.
        @Test func aSignalReturnWithoutCallFrameInformationIsKnownByItsInstructions() throws {
            let program = try Program(
                """
                #include <signal.h>
                #include <sys/syscall.h>
                #include <sys/time.h>
                #include <unistd.h>
                volatile unsigned long sink;
                void to_return(void);
                __asm__(".text\\n.fill 64, 1, 0x90\\nto_return: mov $15, %eax\\nsyscall\\n.fill 64, 1, 0x90\\n");
                __attribute__((noinline)) static void spin(void) { for (int i = 0; i < 10000000; i++) sink = sink * 3 + 1; }
                __attribute__((noinline)) void in_handler(int number) { spin(); sink++; }
                __attribute__((noinline)) void interrupted(void) { for (;;) sink = sink * 3 + 1; }
                int main(void) {
                    struct { void (*handler)(int); unsigned long flags; void (*restorer)(void); unsigned long mask; } action = {
                        in_handler, 0x04000000 /* SA_RESTORER */, to_return, 0,
                    };
                    struct itimerval every = { { 0, 20000 }, { 0, 20000 } };
                    syscall(SYS_rt_sigaction, SIGPROF, &action, 0, 8);
                    setitimer(ITIMER_PROF, &every, 0);
                    interrupted();
                }
                """)
            let session = try Session.sampling(pid: program.pid)
            #expect(session.wholeShare >= 0.995, "\(session.record.samples.onCPU.ends)")
            #expect(session.stacks.samples(through: "main", "interrupted", "in_handler") > 50)
        }

        @Test func threadsStacksEndWhereTheirThreadsBegin() throws {
            let program = try Program(
                """
                #include <pthread.h>
                volatile unsigned long sink;
                static void *work(void *x) { for (;;) sink = sink * 3 + 1; }
                int main(void) {
                    pthread_t thread;
                    pthread_create(&thread, 0, work, 0);
                    pthread_join(thread, 0);
                }
                """, ["-O2", "-fomit-frame-pointer", "-pthread"])
            let session = try Session.sampling(pid: program.pid)
            #expect(session.record.samples.onCPU.recorded > 300)
            #expect(session.wholeShare >= 0.995, "\(session.record.samples.onCPU.ends)")
        }
    }
}
