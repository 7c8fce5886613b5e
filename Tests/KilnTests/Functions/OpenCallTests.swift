import Foundation
import Glibc
import KilnModel
import TestSupport
import Testing

/// A C program in a directory of its own.
private final class Fixture {
    let directory = temporaryDirectory()
    var program: String { directory + "/program" }

    init(_ source: String) throws {
        try source.write(toFile: program + ".c", atomically: true, encoding: .utf8)
        guard try Child("cc", ["-O1", "-pthread", "-o", program, program + ".c"], errors: directory + "/errors").wait() == 0 else {
            throw TestFailure((try? String(contentsOfFile: directory + "/errors", encoding: .utf8)) ?? "cc failed")
        }
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }
}

private let stacks = """
    #define _GNU_SOURCE
    #include <pthread.h>
    #include <stdlib.h>
    #include <sys/mman.h>
    #include <sys/syscall.h>
    #include <ucontext.h>
    #include <unistd.h>
    #define FUNCTION __attribute__((noinline, noclone))
    #define KEEP asm volatile("" ::: "memory")
    #define PAGE 4096

    // A stack in a mapping of its own: pages without access lie around it.
    static char *make_stacks(int count) { return mmap(0, (size_t)(count * 4 + 1) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }
    static void use_stack(ucontext_t *context, char *stacks, int index, void (*begin)(void)) {
        char *stack = stacks + (size_t)(index * 4 + 1) * PAGE;
        if (mprotect(stack, 3 * PAGE, PROT_READ | PROT_WRITE)) abort();
        getcontext(context);
        context->uc_stack.ss_sp = stack;
        context->uc_stack.ss_size = 3 * PAGE;
        context->uc_link = 0;
        makecontext(context, begin, 0);
    }

    """

extension KernelTests {
    /// What is known of open calls ends with what they belong to, and makes room.
    @Suite(.enabled(if: Program.canCompile, "no C compiler")) struct OpenCallTests {
        /// More threads than there is room for stacks: each leaves a call open on its stack, and ends on another one.
        @Test func callsOfThreadsThatEndTakeNoRoom() throws {
            let threads = 16_500
            let fixture = try Fixture(
                stacks + """
                    static char *other;
                    static ucontext_t base, aside;
                    FUNCTION void ends(void) { syscall(SYS_exit, 0); KEEP; }
                    FUNCTION void leaves(ucontext_t *to) { setcontext(to); KEEP; }
                    static void *run(void *unused) {
                        ucontext_t context;
                        use_stack(&context, other, 0, ends);
                        leaves(&context);
                        return unused;
                    }
                    FUNCTION void inner(void) { KEEP; }
                    FUNCTION void outer(void) { swapcontext(&base, &aside); KEEP; }
                    static void calls_inner(void) { for (;;) { inner(); swapcontext(&aside, &base); } }
                    int main() {
                        other = make_stacks(2);
                        for (int i = 0; i < \(threads); i++) {
                            pthread_t thread;
                            if (pthread_create(&thread, 0, run, 0)) abort();
                            pthread_join(thread, 0);
                        }
                        use_stack(&aside, other, 1, calls_inner);
                        for (int i = 0; i < 101; i++) outer();
                        return 0;
                    }
                    """)
            let run = try FunctionRun(["ends", "leaves", "inner", "outer", "--time", "--max-cost", "100", "--", fixture.program])
            #expect(run.status == 0, "\(run.errors)")
            #expect(try run.calls("ends") == UInt64(threads) && run.calls("leaves") == UInt64(threads))
            #expect(try #require(run.row("leaves").times).returned == 0)
            #expect(try run.row("inner").times?.returned == 101 && run.row("outer").times?.returned == 101)
            #expect(run.record.lost == [:])
        }

        /// A call on each of more stacks than there is room for: those beyond are counted, by one name, and a process leaves the room to the next.
        @Test func callsThatFindNoRoomAreCountedAndTheNextProcessFindsIt() throws {
            let fibers = 17_000, room = 16_384
            let fixture = try Fixture(
                stacks + """
                    static ucontext_t base, fibers[\(fibers)];
                    static int current;
                    FUNCTION void waits(void) { swapcontext(&fibers[current], &base); KEEP; }
                    FUNCTION void ends(void) { KEEP; }
                    int main() {
                        char *stacks = make_stacks(\(fibers));
                        for (current = 0; current < \(fibers); current++) {
                            use_stack(&fibers[current], stacks, current, waits);
                            swapcontext(&base, &fibers[current]);
                        }
                        return 0;
                    }
                    """)
            let runs = 2
            let run = try FunctionRun([fixture.program, "waits", "--time", "--max-cost", "100"]) { _ throws in
                for _ in 0..<runs {
                    let status = try Child(fixture.program, []).wait()
                    #expect(status == 0)
                }
            }
            #expect(try run.calls("waits") == UInt64(runs * fibers))
            #expect(run.record.lost == ["call_stacks_full": UInt64(runs * (fibers - room))])
        }

        /// A program that executes itself in a function, and has its stack at the same place each time.
        @Test func callsEndWithTheProgramThatAnotherOneReplaces() throws {
            let fixture = try Fixture(
                """
                #include <unistd.h>
                __attribute__((noinline)) void stage(char **words) {
                    if (words[1][0] > '0') { words[1][0]--; execv(words[0], words); }
                    asm volatile("" ::: "memory");
                }
                int main(int count, char **words) { stage(words); return 0; }
                """)
            let run = try FunctionRun([fixture.program, "stage", "--time", "--max-cost", "100"]) { _ throws in
                let status = try Child("setarch", ["-R", fixture.program, "9"]).wait()
                #expect(status == 0)
            }
            let times = try #require(try run.row("stage").times)
            #expect(try run.calls("stage") == 10)
            #expect(times.returned == 1 && times.outermost.count == 1 && times.neverReturned == 0, "\(times)")
            #expect(run.record.lost == [:])
        }

        /// So many functions are open at a time that some share all that they are looked for by.
        @Test func functionsAreOutermostHoweverManyOthersAreOpen() throws {
            let count = 16 * 256 + 32  // in 256 places, of which each has 16 at least
            let links = (0..<count).map { index in
                let next = index == 0 ? "" : "link_\(index - 1)(); "
                return "__attribute__((noinline)) void link_\(index)(void) { \(next)asm volatile(\"\" ::: \"memory\"); }"
            }
            let fixture = try Fixture(links.joined(separator: "\n") + "\nint main() { for (int i = 0; i < 3; i++) link_\(count - 1)(); return 0; }\n")
            let run = try FunctionRun(["link_*", "-i", "30", "--time", "--max-cost", "100", "--", fixture.program])
            let rows = try #require(run.record.functions).probed
            #expect(rows.count == count)
            let wrong = rows.filter { $0.calls != 3 || $0.times?.returned != 3 || $0.times?.outermost.count != 3 }
            #expect(wrong.isEmpty, "\(wrong.count) functions, first \(wrong.first.map { "\($0)" } ?? "")")
            #expect(run.record.lost == [:])
        }
    }
}
