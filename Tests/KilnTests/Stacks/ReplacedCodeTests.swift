import Foundation
import Glibc
import TestSupport
import Testing

extension KernelTests {
    /// Other code at the same addresses: a name is that of what was mapped when the sample was taken.
    @Suite(.enabled(if: Program.canCompile, "no C compiler")) struct ReplacedCodeTests {
        /// Loads two libraries by turns, each for so much CPU time; `next` is the statement that makes `path` the path of the next one. It ends with
        /// 3 if they don't lie at the same address.
        private static func turns(_ milliseconds: Int, next: String) -> String {
            """
            #include <dlfcn.h>
            #include <stdio.h>
            #include <stdlib.h>
            #include <time.h>
            #include <unistd.h>
            static double now(void) { struct timespec t; clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); return t.tv_sec + t.tv_nsec * 1e-9; }
            int main(int count, char **words) {
                char path[4096], other[4096];
                void *first = 0;
                for (int turn = 0; ; turn++) {
                    \(next)
                    void *library = dlopen(path, RTLD_NOW);
                    if (!library) return 2;
                    void (*burn)(void) = (void (*)(void))dlsym(library, "burn");
                    if (!first) first = burn;
                    if (first != burn) return 3;
                    for (double end = now() + \(milliseconds) * 1e-3; now() < end; ) burn();
                    dlclose(library);
                }
            }
            """
        }

        /// The frames differ in size: rows of the other library lead nowhere.
        private static let library = """
            static volatile unsigned long sink;
            __attribute__((noinline)) static void ONLY(void) {
                volatile char room[ROOM];
                room[0] = 1;
                for (int i = 0; i < 50000; i++) sink += i + room[0];
            }
            void burn(void) { ONLY(); sink++; }
            """
        private static let libraries = [
            (name: "a.so", options: ["-DONLY=only_in_a", "-DROOM=1000"]), (name: "b.so", options: ["-DONLY=only_in_b", "-DROOM=3000"]),
        ]

        /// - Parameter turn: In milliseconds. A session may begin and end anywhere in one, so that one library has so much more than the other.
        private func expectHalfEach(_ session: Session, turn: Double, whole: Double) {
            let stacks = session.stacks, all = Double(session.record.samples.onCPU.recorded)
            let a = Double(stacks.samples(through: "only_in_a")) / all, b = Double(stacks.samples(through: "only_in_b")) / all
            #expect(abs(a - b) <= 0.04 + turn / 1e3 * 997 / all, "\(a) \(b)")
            #expect(a + b >= 0.9, "\(a) \(b)")
            #expect(session.wholeShare >= whole, "\(session.record.samples.onCPU.ends)")
            let fromMain = stacks.samples(through: "main", "burn", "only_in_a") + stacks.samples(through: "main", "burn", "only_in_b")
            #expect(Double(fromMain) / all >= whole - 0.1)
        }

        /// Turns far shorter than it takes to read a process's mappings: the kernel's side tells the files apart.
        @Test(.tags(.timing)) func twoLibrariesByTurnsHaveTheirOwnNamesAndTables() throws {
            let program = try Program(
                Self.turns(20, next: #"snprintf(path, sizeof path, "%s/%s.so", words[1], turn % 2 ? "b" : "a");"#), library: Self.library, named: Self.libraries
            )
            let session = try Session.sampling(pid: program.pid, frequency: 997) { try letWork(program.pid, seconds: 3) }
            expectHalfEach(session, turn: 20, whole: 0.97)
        }

        private static let canLayer =
            (try? Child(
                "unshare",
                ["-m", "sh", "-c", "mount -t tmpfs none /mnt && cd /mnt && mkdir a b c d && mount -t overlay o -o lowerdir=a,upperdir=b,workdir=c d"]
            )
            .wait()) == 0

        /// The kernel maps the file below, and tells of the one above: most containers.
        @Test(.tags(.timing), .enabled(if: canLayer, "needs unshare -m and overlayfs"))
        func librariesOfALayeredFileSystemAreToldApartToo() throws {
            let program = try Program(
                Self.turns(300, next: #"snprintf(path, sizeof path, "%s/%s.so", words[1], turn % 2 ? "b" : "a");"#), library: Self.library,
                named: Self.libraries
            ) { directory in
                [
                    "unshare", "-m", "sh", "-c",
                    "mount -t tmpfs none /mnt && mkdir /mnt/upper /mnt/work /mnt/all && mount -t overlay o -o lowerdir=\(directory),upperdir=/mnt/upper,workdir=/mnt/work /mnt/all && exec /mnt/all/program /mnt/all",
                ]
            }
            #expect(eventually { (try? String(contentsOfFile: "/proc/\(program.pid)/comm", encoding: .utf8)) == "program\n" })
            let session = try Session.sampling(pid: program.pid, frequency: 997) { try letWork(program.pid, seconds: 3) }
            expectHalfEach(session, turn: 300, whole: 0.6)
        }

        /// Each is another file of the same name, most often with the inode number of one that is gone.
        @Test(.tags(.timing)) func aPluginThatIsBuiltAnewKeepsTheNamesThatItHad() throws {
            let next = #"""
                snprintf(path, sizeof path, "%s/plugin.so", words[1]);
                snprintf(other, sizeof other, "cp %s/%s.so %s", words[1], turn % 2 ? "b" : "a", path);
                unlink(path);
                if (system(other)) return 4;
                """#
            let program = try Program(Self.turns(500, next: next), library: Self.library, named: Self.libraries)
            let session = try Session.sampling(pid: program.pid, frequency: 997) { try letWork(program.pid, seconds: 6) }
            expectHalfEach(session, turn: 500, whole: 0.8)
        }

        /// One function after the other at one address, of which the compiler's map has the later one at the end.
        @Test(.tags(.timing)) func generatedCodeKeepsTheNameThatItHadWhenItRan() throws {
            let program = try Program(
                """
                #include <stdio.h>
                #include <string.h>
                #include <sys/mman.h>
                #include <time.h>
                #include <unistd.h>
                static double now(void) { struct timespec t; clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); return t.tv_sec + t.tv_nsec * 1e-9; }
                int main(void) {
                    /* push rbp; mov rbp, rsp; dec rdi; jnz back; pop rbp; ret */
                    static const unsigned char code[] = { 0x55, 0x48, 0x89, 0xe5, 0x48, 0xff, 0xcf, 0x75, 0xfb, 0x5d, 0xc3 };
                    static const char *names[] = { "early", "middle", "late" };
                    void *page = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                    char path[64];
                    memcpy(page, code, sizeof code);
                    sprintf(path, "/tmp/perf-%d.map", getpid());
                    for (int i = 0;; i++) {
                        FILE *map = fopen(path, "a");
                        fprintf(map, "%lx %zx %s\\n", (unsigned long)page, sizeof code, names[i]);
                        fclose(map);
                        for (double end = now() + 3; i == 2 || now() < end; ) ((void (*)(long))page)(1000000);
                    }
                }
                """, ["-O2", "-fno-omit-frame-pointer"])
            defer { unlink("/tmp/perf-\(program.pid).map") }
            let session = try Session.sampling(pid: program.pid, frequency: 499) { try letWork(program.pid, seconds: 7.5) }
            let stacks = session.stacks
            func seconds(_ name: String) -> Double { Double(stacks.samples(through: "main", name + "_[j]")) / 499 }
            // It began a moment before the session; a name lasts until the map is looked at, four times a second.
            #expect((2.2...3.5).contains(seconds("early")), "\(seconds("early"))")
            #expect((2.4...3.6).contains(seconds("middle")), "\(seconds("middle"))")
            #expect((0.8...2.2).contains(seconds("late")), "\(seconds("late"))")
        }
    }
}
