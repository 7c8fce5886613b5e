import Foundation
import Glibc
import TestSupport
import Testing

extension KernelTests {
    /// What the frames of a session are called.
    @Suite(.enabled(if: Program.canCompile, "no C compiler")) struct NameTests {
        private static let chain = """
            #define INLINED static inline __attribute__((always_inline))
            volatile unsigned long sink;
            INLINED unsigned long inner(unsigned long x) { for (int i = 0; i < 2000; i++) sink = x = x * 6364136223846793005UL + i; return x; }
            INLINED unsigned long middle(unsigned long x) { sink = x; x = inner(x); sink = x; return x ^ 7; }
            __attribute__((noinline)) static void physical(void) { for (int i = 0; i < 1000; i++) sink = middle(sink); }
            int main(void) { for (;;) { physical(); sink++; } }
            """

        private static func run(_ program: String, _ arguments: String...) throws {
            guard try Child(program, arguments).wait() == 0 else { throw TestFailure("\(program) \(arguments) failed") }
        }

        @Test func inlinedFunctionsAreFramesOnRequest() throws {
            let program = try Program(Self.chain, ["-O2", "-g"])
            let expanded = try Session.sampling(pid: program.pid, ["--inline"])
            let samples = expanded.record.samples.onCPU
            #expect(samples.recorded > 300)
            #expect(expanded.stacks.samples(through: "main", "physical", "middle_[i]", "inner_[i]") > samples.recorded * 9 / 10)
            #expect(expanded.wholeShare >= 0.99)
            let plain = try Session.sampling(pid: program.pid)
            #expect(!plain.folded.contains("_[i]"))
            #expect(plain.stacks.samples(through: "main", "physical") > plain.record.samples.onCPU.recorded * 9 / 10)
        }

        @Test func aStrippedProgramIsNamedByItsDebugFile() throws {
            let program = try Program(Self.chain, ["-O2", "-g"]) { directory in
                let path = directory + "/program"
                try Self.run("objcopy", "--only-keep-debug", path, directory + "/program.debug")
                try Self.run("strip", path)
                try Self.run("objcopy", "--add-gnu-debuglink=\(directory)/program.debug", path)
                return [path]
            }
            let session = try Session.sampling(pid: program.pid, ["--inline"])
            let samples = session.record.samples.onCPU
            #expect(session.stacks.samples(through: "main", "physical", "middle_[i]", "inner_[i]") > samples.recorded * 9 / 10)
            let names = try #require(samples.names)
            #expect(names.named <= names.frames && names.named > names.frames * 9 / 10)
        }

        @Test func framesWithoutANameAreCountedWithTheirReason() throws {
            let program = try Program(Self.chain, ["-O2", "-s"])
            let session = try Session.sampling(pid: program.pid)
            let names = try #require(session.record.samples.onCPU.names)
            let unnamed = try #require(names.unnamed.first { $0.module == "program" })
            #expect(unnamed.reason.contains("the file is stripped") || unnamed.reason.contains("no function symbols"))
            #expect(names.frames == names.named + names.unnamed.reduce(0) { $0 + $1.frames })
            #expect(unnamed.frames >= session.record.samples.onCPU.recorded)
            #expect(session.folded.contains("program+0x"))
            #expect(session.output.contains("in program: "))
        }

        /// The server's static functions have no symbols.
        @Test(.enabled(if: program("readelf") != nil, "needs readelf (binutils)")) func eachFunctionOfAStockServerIsOneFrame() throws {
            let server = try RedisServer()
            let session = try Session.recording(pid: server.pid, ["-F", "999"]) {
                try server.benchmark(["-t", "set,get,lpush,zadd", "-n", "\(load(100_003))", "-c", "50"])
            }
            let directory = temporaryDirectory(), frames = directory + "/frames"
            defer { try? FileManager.default.removeItem(atPath: directory) }
            try #require(try Child("readelf", ["--debug-dump=frames", "/proc/\(server.pid)/exe"], output: frames).wait() == 0)
            let starts = Set(
                try String(contentsOfFile: frames, encoding: .utf8).split(separator: "\n").filter { $0.contains(" FDE ") }.compactMap { line in
                    line.split(separator: " ").first { $0.hasPrefix("pc=") }.flatMap { UInt64($0.dropFirst(3).prefix { $0 != "." }, radix: 16) }
                })
            #expect(starts.count > 1000)
            let unnamed = Set(
                session.folded.split(whereSeparator: { ";\n".contains($0) }).compactMap { frame in
                    frame.hasPrefix("redis-server+0x") ? UInt64(frame.dropFirst("redis-server+0x".count).prefix { $0.isHexDigit }, radix: 16) : nil
                })
            #expect(!unnamed.isEmpty && unnamed.isSubset(of: starts), "\(unnamed.subtracting(starts).map { String($0, radix: 16) }) begin no function")
            #expect(!session.folded.contains("redis-check-rdb"))
        }

        @Test(.enabled(if: (try? Child("g++", ["--version"]).wait()) == 0, "needs g++"))
        func namesOfCxxAreReadableUnlessTheyAreToStayMangled() throws {
            let program = try Program(
                """
                namespace app { struct Server { volatile long sink; __attribute__((noinline)) void serve(long n) { for (long i = 0; i < n; i++) sink = sink * 3 + i; } }; }
                int main() { app::Server server{}; for (;;) { server.serve(100000); server.sink++; } }
                """, ["-O2", "-x", "c++"])
            let readable = try Session.sampling(pid: program.pid)
            #expect(readable.stacks.samples(through: "main", "app::Server::serve") > readable.record.samples.onCPU.recorded * 9 / 10)
            let mangled = try Session.sampling(pid: program.pid, ["--no-demangle"])
            #expect(mangled.stacks.samples(through: "main", "_ZN3app6Server5serveEl") > mangled.record.samples.onCPU.recorded * 9 / 10)
        }

        /// pthread_exit in main leaves a process whose leader has no memory.
        @Test(arguments: ["-p", "-t", "--comm"]) func aProcessWhoseMainThreadHasEndedIsRecorded(by option: String) throws {
            let program = try Program(
                """
                #include <pthread.h>
                volatile unsigned long sink;
                __attribute__((noinline)) static void spin(void) { for (int i = 0; i < 50000; i++) sink += i; }
                static void *work(void *none) { for (;;) spin(); }
                int main(void) { pthread_t thread; pthread_create(&thread, 0, work, 0); pthread_exit(0); }
                """, ["-O2", "-pthread"])
            #expect(eventually { (try? String(contentsOfFile: "/proc/\(program.pid)/maps", encoding: .utf8)) == "" })
            let threads = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(program.pid)/task")
            let thread = try #require(threads.first { $0 != "\(program.pid)" })
            let whom = ["-p": "\(program.pid)", "-t": thread, "--comm": "program"]
            let session = try Session.sampling([option, try #require(whom[option]), "-F", "499"]) { try letWork(program.pid, seconds: 1) }
            let samples = session.record.samples.onCPU
            #expect(samples.recorded > 50)
            #expect(session.stacks.samples(through: "work", "spin") > samples.recorded * 9 / 10)
        }

        @Test func threadsAreToldApartByTheirNamesOnRequest() throws {
            let program = try Program(
                """
                #define _GNU_SOURCE
                #include <pthread.h>
                volatile unsigned long sink[16];
                __attribute__((noinline)) static void spin(volatile unsigned long *at) { for (;;) *at = *at * 3 + 1; }
                static void *run(void *name) { pthread_setname_np(pthread_self(), name); spin(&sink[8]); return 0; }
                int main(void) {
                    pthread_t thread;
                    pthread_create(&thread, 0, run, "worker;one two");
                    spin(&sink[0]);
                }
                """, ["-O2", "-pthread"])
            let session = try Session.sampling(pid: program.pid, ["--threads"])
            let recorded = session.record.samples.onCPU.recorded
            let worker = session.stacks.samples(through: "program", "worker:one two", "run", "spin")
            let first = session.stacks.samples(through: "program", "program", "main", "spin")
            #expect(worker > recorded / 10 && first > recorded / 10)
            #expect(worker + first > recorded * 9 / 10)
            let merged = try Session.sampling(pid: program.pid)
            #expect(!merged.folded.contains("worker:one two"))
        }

        static let canUnshare = (try? Child("unshare", ["-mpf", "true"]).wait()) == 0

        /// A compiler in a container: it is pid 1 there, and its /tmp is not the host's.
        @Test(.enabled(if: canUnshare && isX86, "needs unshare -mpf and x86-64"))
        func justInTimeCodeIsNamedByTheMapInItsOwnNamespaces() throws {
            let program = try Program(
                """
                #include <stdio.h>
                #include <string.h>
                #include <sys/mman.h>
                #include <unistd.h>
                int main(void) {
                    /* push rbp; mov rbp, rsp; dec rdi; jnz back; pop rbp; ret */
                    static const unsigned char code[] = { 0x55, 0x48, 0x89, 0xe5, 0x48, 0xff, 0xcf, 0x75, 0xfb, 0x5d, 0xc3 };
                    void *page = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                    char path[64];
                    memcpy(page, code, sizeof code);
                    sprintf(path, "/tmp/perf-%d.map", getpid());
                    FILE *map = fopen(path, "w");
                    fprintf(map, "%lx %zx Script:~count down.js:1\\n", (unsigned long)page, sizeof code);
                    fclose(map);
                    for (;;) ((void (*)(long))page)(1000000);
                }
                """, ["-O2", "-fno-omit-frame-pointer"]
            ) { directory in
                [
                    "unshare", "-mpf", "sh", "-c",
                    "exec 3<\(directory)/program && mount -t tmpfs none /tmp && cp /proc/self/fd/3 /tmp/program && chmod +x /tmp/program && exec /tmp/program 3<&-",
                ]
            }
            // unshare's only child.
            var inner: Int32 = 0
            _ = eventually {
                let children = try? String(contentsOfFile: "/proc/\(program.pid)/task/\(program.pid)/children", encoding: .utf8)
                inner = children?.split(separator: " ").first.flatMap { Int32($0) } ?? 0
                let comm = try? String(contentsOfFile: "/proc/\(inner)/comm", encoding: .utf8)
                return comm == "program\n"
            }
            defer { kill(inner, SIGKILL) }
            #expect(inner > 0)
            #expect(eventually { access("/proc/\(inner)/root/tmp/perf-1.map", F_OK) == 0 })
            // With its last process /tmp goes before the frames are named.
            let session = try Session.sampling(pid: inner) {
                usleep(1_500_000)
                kill(inner, SIGKILL)
                _ = eventually { access("/proc/\(inner)/root/tmp", F_OK) != 0 }
            }
            #expect(session.record.ended == "target exited")
            #expect(session.stacks.samples(through: "main", "Script:~count down.js:1_[j]") > session.record.samples.onCPU.recorded * 9 / 10)
        }

        /// A program that has the name of one that generates code, and writes no map; and one that has none of these names.
        @Test(.enabled(if: isX86, "needs x86-64"), arguments: ["node", "program"]) func aProcessIsToldWhatItsGeneratedCodeNeeds(_ name: String) throws {
            let program = try Program(
                """
                #include <string.h>
                #include <sys/mman.h>
                int main(void) {
                    static const unsigned char code[] = { 0x55, 0x48, 0x89, 0xe5, 0x48, 0xff, 0xcf, 0x75, 0xfb, 0x5d, 0xc3 };
                    void *page = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                    memcpy(page, code, sizeof code);
                    for (;;) ((void (*)(long))page)(1000000);
                }
                """, ["-O2", "-fno-omit-frame-pointer"]
            ) { directory in
                if name != "program" { try FileManager.default.copyItem(atPath: directory + "/program", toPath: "\(directory)/\(name)") }
                return ["\(directory)/\(name)"]
            }
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(["-p", "\(program.pid)", "--duration", "1", "-o", directory + "/session"], subcommand: "record")
            #expect(kiln.wait() == 0)
            let told = "kiln: pid \(program.pid) (node): its generated code has no names; start it with --perf-basic-prof.\n"
            #expect(kiln.errorText.components(separatedBy: told).count == (name == "node" ? 2 : 1))
        }
    }
}

#if arch(x86_64)
private let isX86 = true
#else
private let isX86 = false
#endif
