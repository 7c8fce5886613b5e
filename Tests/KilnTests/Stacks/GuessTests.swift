import Foundation
import Glibc
import KilnModel
import KilnSymbols
import SystemPackage
import TestSupport
import Testing

extension KernelTests {
    /// Callers of code without call frame information: found by its instructions, by the frame pointer or by what looks like a return address, and marked.
    @Suite(.enabled(if: Program.canCompile, "no C compiler")) struct GuessTests {
        private static let hasMusl = access("/usr/bin/musl-gcc", X_OK) == 0

        /// Each function of its own calls one of the C library, so each stack is known by the function that `main` called.
        private static let library = """
            #include <signal.h>
            #include <stdio.h>
            #include <stdlib.h>
            #include <string.h>
            #include <sys/time.h>
            volatile unsigned long sink;
            static char from[65536], to[65536];
            __attribute__((noinline)) void spin(int n) { for (int i = 0; i < n; i++) sink = sink * 3 + 1; }
            __attribute__((noinline)) int compare(const void *a, const void *b) { spin(20); return *(int *)a - *(int *)b; }
            __attribute__((noinline)) void do_memcpy(void) { for (int i = 0; i < 20; i++) { memcpy(to, from, 60000); sink++; } }
            __attribute__((noinline)) void do_strlen(void) { for (int i = 0; i < 10; i++) { from[sink & 7] = 'x'; sink += strlen(from); } }
            __attribute__((noinline)) void do_qsort(void) {
                int numbers[500];
                for (int i = 0; i < 500; i++) numbers[i] = i * 7919 % 501;
                qsort(numbers, 500, sizeof numbers[0], compare);
                sink++;
            }
            __attribute__((noinline)) void do_printf(void) {
                char text[256];
                for (int i = 0; i < 50; i++) {
                    snprintf(text, sizeof text, "%d %s %f %08lx", i, "word", i * 0.37, sink);
                    sink += text[0];
                }
            }
            __attribute__((noinline)) void do_malloc(void) {
                void *blocks[64];
                for (int i = 0; i < 64; i++) blocks[i] = malloc(i * 40 + 1);
                for (int i = 0; i < 64; i++) free(blocks[i]);
                sink++;
            }
            __attribute__((noinline)) void do_strtod(void) {
                char *end;
                for (int i = 0; i < 500; i++) { sink += (unsigned long)strtod("1234.5678e10", &end); sink += *end; }
            }
            __attribute__((noinline)) void in_handler(int number) { spin(200000); sink++; }
            int main(void) {
                struct sigaction action = { .sa_handler = in_handler };
                struct itimerval every = { { 0, 20000 }, { 0, 20000 } };
                memset(from, 'x', sizeof from - 1);
                sigaction(SIGPROF, &action, 0);
                setitimer(ITIMER_PROF, &every, 0);
                for (;;) { do_memcpy(); do_strlen(); do_qsort(); do_printf(); do_malloc(); do_strtod(); }
            }
            """

        private static let mark = " [guess]"
        /// What each function calls, by the names that the C library may have for it. Some jump on to others at once.
        private static let called = [
            "do_memcpy": ["memcpy"], "do_strlen": ["strlen"], "do_qsort": ["qsort", "qsort_r", "__qsort_r"], "do_printf": ["snprintf", "vsnprintf"],
            "do_malloc": ["malloc", "free", "default_malloc", "__libc_malloc", "__libc_malloc_impl", "__libc_free"], "do_strtod": ["strtod", "strtox"],
        ]

        /// Whether a stack of the program is as its source says, and no frame of it is missing up to the C library.
        private static func isRight(_ frames: [String]) -> Bool {
            var rest = frames.filter { !$0.hasSuffix("_[k]") }.map { $0.replacingOccurrences(of: mark, with: "") }[...]
            // A handler is called on top of anything, by the code that it returns to.
            if let handler = rest.firstIndex(of: "in_handler") {
                guard rest[handler...].dropFirst() == ["spin"] || handler == rest.endIndex - 1 else { return false }
                rest = rest[..<handler].dropLast()
            }
            guard let main = rest.firstIndex(of: "main"), !rest.dropFirst(2).contains(where: { $0.hasPrefix("[") }) else { return false }
            let own = Set(called.keys).union(["spin", "compare", "main"])
            rest = rest[(main + 1)...]
            guard let function = rest.popFirst() else { return true }
            guard let callees = called[function] else { return false }
            guard let callee = rest.popFirst() else { return true }
            guard callees.contains(callee) || callee.hasPrefix("libc.so+0x") || callee.hasPrefix("program+0x") else { return false }
            let others = rest.filter(own.contains)
            return others.isEmpty || function == "do_qsort" && [["compare"], ["compare", "spin"]].contains(Array(others))
        }

        /// Samples of stacks that are right, of those in which the program works.
        private static func rightShare(_ session: Session, _ name: String) -> Double {
            var right: UInt64 = 0, all: UInt64 = 0
            var wrong: [(String, UInt64)] = []
            for (frames, samples) in session.stacks.lines {
                all += samples
                if isRight(frames) { right += samples } else { wrong.append((frames.joined(separator: ";"), samples)) }
            }
            let share = Double(right) / Double(max(all, 1))
            print("\(name): \(right) of \(all) samples have the right callers; \(session.record.samples.onCPU.guessed ?? 0) stacks with guesses")
            for (stack, samples) in wrong.sorted(by: { $1.1 < $0.1 }).prefix(8) { print("  \(samples) \(stack)") }
            return share
        }

        /// musl's functions have no call frame information, and neither do they keep frame pointers.
        @Test(.enabled(if: hasMusl, "musl-gcc (musl-tools) is not installed"), arguments: [[], ["-static", "-fno-asynchronous-unwind-tables"]])
        func everyStackInMuslHasItsCallers(options: [String]) throws {
            let program = try Program(Self.library, ["-O2", "-fomit-frame-pointer"] + options, in: .musl)
            let session = try Session.sampling(pid: program.pid, frequency: 999) { try letWork(program.pid, seconds: 2) }
            let samples = session.record.samples.onCPU
            #expect(samples.recorded > 1000)
            #expect(Self.rightShare(session, "musl \(options)") >= 0.99)
            #expect(session.wholeShare >= 0.99, "\(samples.ends)")
            let guessed = session.stacks.lines.filter { $0.frames.contains { $0.hasSuffix(Self.mark) } }.reduce(0) { $0 + $1.samples }
            #expect(guessed > samples.recorded / 4)
            #expect(samples.guessed == guessed)
            #expect(session.output.contains("\(guessed) with callers marked [guess]"))
            // What is called is known: only what calls code without information is marked, and nothing where all code has it.
            #expect(session.stacks.lines.allSatisfy { !($0.frames.last ?? "").hasSuffix(Self.mark) })
            for function in Self.called.keys { #expect(session.stacks.samples(through: function + Self.mark) > 0, "\(function)") }
            let names = session.stacks.lines.map { $0.frames.map { $0.replacingOccurrences(of: Self.mark, with: "") } }
            #expect(names.contains { $0.contains("compare") } && names.contains { $0.contains("main") && $0.contains("in_handler") })
        }

        @Test(.enabled(if: access("/usr/bin/objcopy", X_OK) == 0, "no objcopy (binutils)"), arguments: ["-fomit-frame-pointer", "-fno-omit-frame-pointer"])
        func aProgramThatLostItsCallFrameInformationHasWholeStacks(option: String) throws {
            let program = try Program(
                """
                #include <stdio.h>
                #include <stdlib.h>
                volatile unsigned long sink;
                __attribute__((noinline)) unsigned long leaf(unsigned long x) { for (int i = 0; i < 2000; i++) x = x * 6364136223846793005UL + 1; return x; }
                __attribute__((noinline)) unsigned long three(unsigned long x) { char text[200]; snprintf(text, sizeof text, "%lu", x); return leaf(x) + text[0]; }
                __attribute__((noinline)) unsigned long two(unsigned long x) { return three(x + 1) * 3 + leaf(x); }
                __attribute__((noinline)) unsigned long one(unsigned long x) {
                    char *room = malloc(x % 100 + 8);
                    room[0] = 1;
                    unsigned long y = two(x) + room[0];
                    free(room);
                    return y;
                }
                int main(void) { for (;;) sink += one(sink); }
                """, ["-O2", option],
                prepare: { directory in
                    let path = directory + "/program"
                    guard try Child("objcopy", ["--remove-section=.eh_frame", "--remove-section=.eh_frame_hdr", path]).wait() == 0 else {
                        throw TestFailure("objcopy failed")
                    }
                    return [path]
                })
            usleep(200_000)
            let session = try Session.sampling(pid: program.pid)
            let samples = session.record.samples.onCPU
            let stacks = session.stacks, outer = ["main", "one", "two"].map { $0 + Self.mark }
            #expect(samples.recorded > 300)
            #expect(session.wholeShare >= 0.995, "\(samples.ends)")
            let right = stacks.samples(throughAll: outer + ["leaf"]) + stacks.samples(throughAll: outer + ["three"])
            let threes = stacks.samples(throughAll: outer + ["three" + Self.mark, "leaf"])
            #expect(right > samples.recorded * 98 / 100, "\(session.folded)")
            #expect(threes > samples.recorded / 3 && samples.guessed == samples.recorded)
        }

        /// The server's own code, once more without its call frame information: libdw has it.
        @Test(arguments: [true, false]) func guessesOfAStockServersStacksAreMeasured(byInstructions: Bool) throws {
            let server = try RedisServer()
            let loads = try server.mixedLoad()
            let result = try SampleComparison(of: server.pid, samples: 1500, within: 20) { file in
                guard byInstructions else { return nil }
                guard let opened = try? FileDescriptor.open(FilePath(file.name), .readOnly, options: .closeOnExec) else { return nil }
                return try? opened.closeAfter { try UnwindTable(reading: opened, named: file.name, from: .instructions) }
            }
            withExtendedLifetime(loads) {}
            let how = byInstructions ? "by its instructions" : "by return addresses"
            print("redis-server, \(how): \(result.same) of \(result.compared) stacks are right; \(result.measure)")
            for difference in result.differences.prefix(5) { print("  \(difference)") }
            #expect(result.compared >= 1000)
            #expect(result.sameShare >= (byInstructions ? 0.99 : 0.1))
        }

        /// Code in memory that no file has, with and without frame pointer.
        @Test(arguments: [true, false]) func generatedCodeIsFollowedByFramePointers(keepsFramePointer: Bool) throws {
            let program = try Program(
                """
                #include <string.h>
                #include <sys/mman.h>
                volatile unsigned long sink;
                __attribute__((noinline)) void spin(int n) { for (int i = 0; i < n; i++) sink = sink * 3 + 1; }
                __attribute__((noinline)) void work(void) { spin(1000); sink++; }
                static const unsigned char with[] = { 0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x20, 0xff, 0xd7, 0xc9, 0xc3 };
                static const unsigned char without[] = { 0x48, 0x83, 0xec, 0x18, 0xff, 0xd7, 0x48, 0x83, 0xc4, 0x18, 0xc3 };
                __attribute__((noinline)) void call(void (*code)(void (*)(void))) { code(work); sink++; }
                int main(void) {
                    char *code = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                    memcpy(code, CODE, sizeof CODE);
                    for (;;) call((void *)code);
                }
                """, ["-O2", "-fomit-frame-pointer", keepsFramePointer ? "-DCODE=with" : "-DCODE=without"])
            usleep(200_000)
            let session = try Session.sampling(pid: program.pid)
            let samples = session.record.samples.onCPU
            #expect(samples.recorded > 300)
            if keepsFramePointer {
                #expect(session.stacks.samples(through: "main", "call", "[unknown]", "work", "spin") > samples.recorded * 95 / 100, "\(session.folded)")
                // Before the frame is there, the register is that of another one.
                #expect((samples.guessed ?? 0) < samples.recorded / 20)
            } else {
                #expect(
                    session.stacks.samples(through: "main", "call" + Self.mark, "[unknown]", "work", "spin") > samples.recorded * 95 / 100, "\(session.folded)")
            }
        }
    }
}

extension SampleComparison {
    /// Of the frames that libdw found how many are right, from the innermost on.
    var measure: String { "\(framesRight) of \(frames) frames are right" }
}
