import Foundation
import Glibc
import Testing

extension KernelTests {
    /// Code that appears during a session, and code that no file describes.
    @Suite(.enabled(if: Program.canCompile, "no C compiler")) struct UnwindKeepingUpTests {
        @Test(.tags(.timing)) func aLibraryOpenedDuringTheSessionIsUnwoundAndNamed() throws {
            let program = try Program(
                """
                #include <dlfcn.h>
                #include <signal.h>
                #include <stdio.h>
                static volatile sig_atomic_t asked;
                static void on_signal(int number) { asked = 1; }
                int main(int count, char **words) {
                    char path[4096];
                    volatile unsigned long sink = 0;
                    snprintf(path, sizeof path, "%s/library.so", words[1]);
                    signal(SIGUSR1, on_signal);
                    while (!asked) sink++;
                    void *library = dlopen(path, RTLD_NOW);
                    ((void (*)(void))dlsym(library, "in_library"))();
                }
                """,
                library: """
                    volatile unsigned long sink;
                    __attribute__((noinline)) void spin_in_library(void) { for (int i = 0; i < 100000; i++) sink = sink * 3 + 1; }
                    void in_library(void) { for (;;) { spin_in_library(); sink++; } }
                    """)
            let session = try Session.sampling(pid: program.pid) {
                try letWork(program.pid, seconds: 0.5)
                program.signal(SIGUSR1)
                try letWork(program.pid, seconds: 2.5)
            }
            let samples = session.record.samples.onCPU, stacks = session.stacks
            #expect(stacks.samples(through: "_start", "main", "in_library", "spin_in_library") > 500)
            // The first sample there makes kiln look at the mappings; until the tables are in place samples are counted as
            // what they are: some 20 ms, more where the machine is busy with others.
            #expect(samples.recorded - samples.complete == samples.ends["no_mapping"] ?? 0, "\(samples.ends)")
            #expect(samples.ends["no_mapping"] ?? 0 < 200)
        }

        @Test(.tags(.timing)) func anotherProgramExecutedDuringTheSessionIsFollowed() throws {
            let program = try Program(
                """
                #include <signal.h>
                #include <unistd.h>
                static volatile sig_atomic_t asked;
                static void on_signal(int number) { asked = 1; }
                volatile unsigned long sink;
                __attribute__((noinline)) void second(void) { for (;;) sink = sink * 3 + 1; }
                int main(int count, char **words) {
                    if (count == 1) second();
                    signal(SIGUSR1, on_signal);
                    while (!asked) sink++;
                    execl("/proc/self/exe", "again", (char *)0);
                }
                """, ["-O2", "-fomit-frame-pointer", "-pie", "-fPIE"])
            let session = try Session.sampling(pid: program.pid) {
                try letWork(program.pid, seconds: 0.5)
                program.signal(SIGUSR1)
                try letWork(program.pid, seconds: 2.5)
            }
            let samples = session.record.samples.onCPU
            #expect(session.stacks.samples(through: "_start", "main", "second") > 500)
            #expect(samples.recorded - samples.complete < 200, "\(samples.ends)")
        }

        /// Machine code in anonymous memory that calls a C function.
        private static func generated(_ code: String) -> String {
            """
            #include <string.h>
            #include <sys/mman.h>
            volatile unsigned long sink;
            static const unsigned char code[] = { \(code) };
            __attribute__((noinline)) void called_back(void) { for (int i = 0; i < 100000; i++) sink = sink * 3 + 1; }
            int main(void) {
                void *memory = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                memcpy(memory, code, sizeof code);
                for (;;) { ((void (*)(void (*)(void)))memory)(called_back); sink++; }
            }
            """
        }

        @Test func generatedCodeIsFollowedByItsFramePointer() throws {
            // push rbp; mov rbp, rsp; call rdi; pop rbp; ret
            let program = try Program(Self.generated("0x55, 0x48, 0x89, 0xe5, 0xff, 0xd7, 0x5d, 0xc3"))
            let session = try Session.sampling(pid: program.pid)
            #expect(session.wholeShare >= 0.995, "\(session.record.samples.onCPU.ends)")
            #expect(session.stacks.samples(through: "_start", "main", "called_back") > 300)
        }

        @Test func callersOfGeneratedCodeWithoutFramePointerAreGuessed() throws {
            // push rbp; mov ebp, 1; call rdi; pop rbp; ret
            let program = try Program(Self.generated("0x55, 0xbd, 0x01, 0x00, 0x00, 0x00, 0xff, 0xd7, 0x5d, 0xc3"))
            let session = try Session.sampling(pid: program.pid)
            let samples = session.record.samples.onCPU
            #expect((samples.guessed ?? 0) > 300)
            #expect(session.stacks.samples(through: "_start", "main [guess]", "[unknown]", "called_back") > 300)
            #expect(session.stacks.samples(through: "main", "called_back") == 0)
            #expect(session.output.contains("with callers marked [guess]"))
        }

        /// What stands where a return address would, but follows no call, has called nobody.
        @Test func aFramePointerThatPointsElsewhereInventsNoCallers() throws {
            // push rbp; mov rbp, rsi; call rdi; pop rbp; ret: rsi points to two words that look like a frame.
            let program = try Program(
                """
                #include <string.h>
                #include <sys/mman.h>
                volatile unsigned long sink;
                static const unsigned char code[] = { 0x55, 0x48, 0x89, 0xf5, 0xff, 0xd7, 0x5d, 0xc3 };
                __attribute__((noinline)) void called_back(void) { for (int i = 0; i < 100000; i++) sink = sink * 3 + 1; }
                __attribute__((noinline)) void invented(void) { for (int i = 0; i < 100000; i++) sink = sink * 5 + 1; }
                int main(void) {
                    void *memory = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                    void *volatile frame[2] = { 0, (char *)invented + 4 };
                    memcpy(memory, code, sizeof code);
                    for (;;) { ((void (*)(void (*)(void), void *))memory)(called_back, (void *)frame); sink++; }
                }
                """)
            let session = try Session.sampling(pid: program.pid)
            #expect(session.stacks.samples(through: "program", "[generated_code]", "called_back") > 300)
            #expect(session.stacks.samples(through: "invented") == 0, "\(session.folded)")
        }
    }
}
