import Foundation
import Glibc
import KilnModel
import TestSupport
import Testing

extension KernelTests {
    /// Sessions with off-CPU time: whole stacks of stock programs, a disk, several sessions, ends and storms, and the files.
    @Suite struct WaitSessionTests {
        // MARK: - Whole stacks

        private static func whole(_ target: Int32, through chain: [String], waits: UInt64, during load: () throws -> Void) throws {
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(["-p", "\(target)", "-F", "0", "--off-cpu", "--idle", "-o", directory + "/s"], subcommand: "record")
            guard kiln.attached() else { throw TestFailure("kiln did not attach: \(kiln.errorText)") }
            try load()
            #expect(kiln.stop() == 0, "\(kiln.errorText)")
            let record = try Session(directory: directory + "/s").record, off = try #require(record.samples.offCPU)
            #expect(off.recorded > waits && Double(off.complete) >= Double(off.recorded) * 0.995, "\(off)")
            #expect(off.ends.values.reduce(0, +) == off.recorded && record.otherLosses.isEmpty, "\(off), \(record.lost)")
            let stacks = Stacks(try String(contentsOfFile: directory + "/s/stacks.off-cpu.folded", encoding: .utf8))
            #expect(stacks.samples(throughAll: chain) > 0, "\(chain): \(stacks.lines.prefix(20))")
            print("waits through \(chain): \(off.recorded), \(off.complete) complete, \(off.ends)")
        }

        @Test func stockRedisWaitsInWholeStacks() throws {
            let server = try RedisServer()
            try Self.whole(server.pid, through: ["(sleeping)", "__libc_start_main", "main", "aeMain"], waits: 1000) {
                try server.benchmark(["-t", "get,set", "-n", "60000", "-c", "20"])
            }
        }

        @Test(.enabled(if: program("python3") != nil, "no python3")) func pythonWaitsInWholeStacks() throws {
            let python = try Child(
                "/usr/bin/python3",
                [
                    "-c",
                    """
                    import queue, select, threading, time
                    q, lock = queue.Queue(), threading.Lock()
                    def put():
                        while True:
                            with lock: time.sleep(0.0007)
                            q.put(1)
                    def take():
                        while True:
                            q.get()
                            with lock: pass
                    for f in put, put, take, take: threading.Thread(target=f, daemon=True).start()
                    while True: select.select([], [], [], 0.002)
                    """,
                ])
            usleep(300_000)
            try Self.whole(python.pid, through: ["(sleeping)"], waits: 1000) { usleep(2_500_000) }
        }

        @Test(.enabled(if: Program.Language.go.canCompile, "no Go compiler")) func goWaitsInWholeStacks() throws {
            let program = try Program(
                """
                package main
                import ("net"; "os"; "sync"; "time")
                var m sync.Mutex
                //go:noinline
                func blocked(r *os.File) { b := make([]byte, 1); for { r.Read(b) } }
                func main() {
                    l, _ := net.Listen("tcp", "127.0.0.1:0")
                    go func() { for { c, _ := l.Accept(); go func() { b := make([]byte, 8); for { n, e := c.Read(b); if e != nil { return }; c.Write(b[:n]) } }() } }()
                    r, w, _ := os.Pipe()
                    go blocked(r)
                    for i := 0; i < 4; i++ { go func() { for { m.Lock(); time.Sleep(300 * time.Microsecond); m.Unlock(); w.Write([]byte("x")) } }() }
                    c, _ := net.Dial("tcp", l.Addr().String())
                    b := make([]byte, 8)
                    for { c.Write(b); c.Read(b); time.Sleep(100 * time.Microsecond) }
                }
                """, [], in: .go)
            usleep(300_000)
            try Self.whole(program.pid, through: ["(sleeping)", "runtime.mcall"], waits: 1000) { usleep(2_500_000) }
        }

        // MARK: - A disk

        /// After SIGUSR1 reads of the disk itself; writes `done` with the time off the CPU in nanoseconds, or what refused it.
        private static let reading = """
            #define _GNU_SOURCE
            #include <errno.h>
            #include <fcntl.h>
            #include <signal.h>
            #include <stdio.h>
            #include <stdlib.h>
            #include <string.h>
            #include <time.h>
            #include <unistd.h>
            enum { READS = 2003, SIZE = 4096, BLOCKS = 4096 };
            static long now(clockid_t id) { struct timespec t; clock_gettime(id, &t); return t.tv_sec * 1000000000L + t.tv_nsec; }
            static int file;
            static void *block;
            __attribute__((noinline)) static int in_disk(void) {
                for (long i = 0; i < READS; i++) if (pread(file, block, SIZE, i * 1237 % BLOCKS * SIZE) != SIZE) return -1;
                return 0;
            }
            static void begin(int number) {}
            static int work(const char *directory, long *off) {
                char path[512];
                snprintf(path, sizeof path, "%s/blocks", directory);
                file = open(path, O_RDWR | O_CREAT | O_DIRECT, 0600);
                if (file < 0 || posix_memalign(&block, SIZE, SIZE * 64)) return -1;
                memset(block, 1, SIZE * 64);
                for (int i = 0; i < BLOCKS / 64; i++) if (write(file, block, SIZE * 64) != SIZE * 64) return -1;
                if (fsync(file)) return -1;
                long wall = now(CLOCK_MONOTONIC), cpu = now(CLOCK_THREAD_CPUTIME_ID);
                int result = in_disk();
                *off = (now(CLOCK_MONOTONIC) - wall) - (now(CLOCK_THREAD_CPUTIME_ID) - cpu);
                return result;
            }
            int main(int count, char **arguments) {
                char path[512], done[512];
                long off = 0;
                signal(SIGUSR1, begin);
                pause();
                int result = work(arguments[1], &off);
                snprintf(path, sizeof path, "%s/times", arguments[1]);
                snprintf(done, sizeof done, "%s/done", arguments[1]);
                FILE *out = fopen(path, "w");
                if (result) fprintf(out, "%s", strerror(errno));
                else fprintf(out, "%ld", off);
                fclose(out);
                rename(path, done);
                for (;;) pause();
            }
            """

        @Test(.tags(.timing), .enabled(if: Program.canCompile, "no C compiler")) func readsOfADiskAreUninterruptible() throws {
            let program = try Program(Self.reading, ["-O1", "-fomit-frame-pointer"])
            let stolenBefore = try stolenTime()
            let (record, stacks) = try Self.waits(of: program)
            let stolen = try stolenTime() - stolenBefore
            let done = try String(contentsOfFile: program.directory + "/done", encoding: .utf8)
            guard let own = Double(done) else { try Test.cancel("REFUSED by this host: O_DIRECT in \(program.directory): \(done)") }
            func time(_ state: String) -> Double { Double(stacks.samples(through: state, "main", "in_disk")) }
            let disk = time("(uninterruptible)"), queued = time("(runnable)"), all = disk + queued + time("(sleeping)")
            // Reads take some 50 us: a tolerance of that would let everything pass. Time that a hypervisor takes is no CPU time of the thread, and no wait. A
            // thread's CPU clock may begin when it is woken, before it gets its CPU: rq_clock_skip_update() in kernel/sched/core.c.
            let tolerance = own * 0.02 + 2003 * 5_000
            #expect(disk <= own + tolerance && all >= own - tolerance - stolen, "\(disk) and \(queued) of \(own), \(stolen) stolen")
            // The rest is for the run queue, which other programs fill.
            #expect(disk > (own - stolen) / 5 && time("(sleeping)") == 0, "\(disk) of \(own), \(queued) in the run queue")
            #expect(record.otherLosses.isEmpty)
            print("disk: \(disk) and \(queued) in the run queue of \(own) ns")
        }

        // MARK: - Sessions

        /// After SIGUSR1 two threads that hand a byte to and fro and sleep.
        private static let handing = """
            #include <pthread.h>
            #include <signal.h>
            #include <stdio.h>
            #include <unistd.h>
            static int there[2], back[2];
            __attribute__((noinline)) static void answer(void) { char c; for (int i = 0; i < 1009; i++) { read(there[0], &c, 1); usleep(300); write(back[1], &c, 1); } asm volatile(""); }
            __attribute__((noinline)) static void ask(void) { char c; for (int i = 0; i < 1009; i++) { write(there[1], "x", 1); read(back[0], &c, 1); } asm volatile(""); }
            static void *run(void *x) { answer(); return x; }
            static void begin(int number) {}
            int main(int count, char **arguments) {
                pthread_t thread;
                char path[512];
                signal(SIGUSR1, begin);
                if (pipe(there) || pipe(back)) return 1;
                pause();
                pthread_create(&thread, NULL, run, NULL);
                ask();
                pthread_join(thread, NULL);
                if (count > 2) return 0;
                snprintf(path, sizeof path, "%s/done", arguments[1]);
                fclose(fopen(path, "w"));
                for (;;) pause();
            }
            """

        /// The waits of a program from SIGUSR1 until it is done.
        private static func waits(of program: Program, _ options: [String] = []) throws -> (SessionRecord, Stacks) {
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(["-p", "\(program.pid)", "-F", "0", "--off-cpu", "-o", directory + "/s"] + options, subcommand: "record")
            guard kiln.attached() else { throw TestFailure("kiln did not attach: \(kiln.errorText)") }
            program.signal(SIGUSR1)
            guard eventually(within: 60, { access(program.directory + "/done", F_OK) == 0 }) else { throw TestFailure("the program did not finish") }
            #expect(kiln.stop() == 0, "\(kiln.errorText)")
            return try read(directory + "/s")
        }

        private static func read(_ directory: String) throws -> (SessionRecord, Stacks) {
            let record = try Session(directory: directory).record
            return (record, Stacks(try String(contentsOfFile: directory + "/stacks.off-cpu.folded", encoding: .utf8)))
        }

        @Test(.tags(.timing), .enabled(if: Program.canCompile, "no C compiler")) func twoSessionsAtOnceHaveTheSameSums() throws {
            let program = try Program(Self.handing, ["-O1", "-fomit-frame-pointer", "-pthread"])
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let sessions = try ["one", "two"].map {
                try KilnRun(["-p", "\(program.pid)", "-F", "0", "--off-cpu", "-o", "\(directory)/\($0)"], subcommand: "record")
            }
            for kiln in sessions { guard kiln.attached() else { throw TestFailure("kiln did not attach: \(kiln.errorText)") } }
            program.signal(SIGUSR1)
            #expect(eventually { access(program.directory + "/done", F_OK) == 0 })
            for kiln in sessions { #expect(kiln.stop() == 0, "\(kiln.errorText)") }
            let (one, first) = try Self.read(directory + "/one"), (two, second) = try Self.read(directory + "/two")
            let recorded = try [one, two].map { try #require($0.samples.offCPU).recorded }
            #expect(recorded[0] == recorded[1] && recorded[0] > 3 * 1009, "\(recorded)")
            for (function, waits) in [("ask", 1009.0), ("answer", 2 * 1009)] {
                for state in ["(sleeping)", "(runnable)"] {
                    let sums = [first, second].map { Double($0.samples(through: state, function)) }
                    // What one session does at a switch is a part of the other's wait, or comes before it.
                    #expect(abs(sums[0] - sums[1]) <= sums[0] * 0.02 + waits * 10_000, "\(function) \(state): \(sums)")
                }
                #expect(first.samples(through: "(sleeping)", function) > 0)
            }
        }

        @Test(.enabled(if: Program.canCompile, "no C compiler")) func targetThatExitsHasAllItsWaits() throws {
            let program = try Program(Self.handing, ["-O1", "-fomit-frame-pointer", "-pthread"], prepare: { [$0 + "/program", $0, "exits"] })
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(["-p", "\(program.pid)", "-F", "0", "--off-cpu", "--wakers", "-o", directory + "/s"], subcommand: "record")
            guard kiln.attached() else { throw TestFailure("kiln did not attach: \(kiln.errorText)") }
            program.signal(SIGUSR1)
            _ = program.wait()
            #expect(kiln.wait() == 0, "\(kiln.errorText)")
            let (record, stacks) = try Self.read(directory + "/s"), off = try #require(record.samples.offCPU)
            #expect(record.ended == "target exited" && record.otherLosses.isEmpty)
            // Only the first pause() reaches beyond the session.
            #expect(off.recorded > 2 * 1009 && off.openWaits == 1, "\(off)")
            #expect(
                stacks.samples(through: "(sleeping)", "main", "ask") > 1009 * 250_000
                    && stacks.samples(through: "(sleeping)", "run", "answer", "usleep") > 1009 * 250_000)
            #expect(off.complete >= off.recorded - 3, "\(off.ends)")
        }

        @Test(.tags(.timing)) func stormOfForksLosesNothingUncounted() throws {
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(
                [
                    "-F", "0", "--off-cpu", "--idle", "--wakers", "-o", directory + "/s", "--", "sh", "-c",
                    "for i in $(seq 200); do (/bin/true | /bin/true) & done; wait",
                ],
                subcommand: "record")
            #expect(kiln.wait() == 0, "\(kiln.errorText)")
            let (record, stacks) = try Self.read(directory + "/s"), off = try #require(record.samples.offCPU)
            #expect(record.ended == "command ended" && off.recorded > 300, "\(off)")
            #expect(off.ends.values.reduce(0, +) == off.recorded, "\(off)")
            let folded = stacks.lines.reduce(0) { $0 + $1.samples }
            let sums = off.sleepingNs + off.uninterruptibleNs + off.runnableNs + off.stoppedNs + off.idleNs
            #expect(folded == sums, "\(folded) in the stacks, \(sums) in all")
            // 600 processes, each with stacks of its own, in a second: what finds no room is counted.
            #expect(record.otherLosses.keys.allSatisfy { $0 == "stacks_ring_full" }, "\(record.lost)")
            print("storm: \(off.recorded) waits, \(off.ends), lost \(record.lost)")
        }

        @Test func killedSessionLeavesNoPrograms() throws {
            let server = try RedisServer(), directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(["-p", "\(server.pid)", "--off-cpu", "--wakers", "-o", directory + "/s"], subcommand: "record")
            try #require(kiln.attached())
            let programs = try LoadedPrograms.held(by: kiln.pid)
            #expect(programs.count >= 5 && programs.allSatisfy(LoadedPrograms.exists))
            try server.benchmark(["-t", "get", "-n", "10007", "-c", "5"])
            #expect(kiln.stop(signal: SIGKILL) == 128 + SIGKILL)
            #expect(eventually { !programs.contains(where: LoadedPrograms.exists) })
        }

        // MARK: - Files

        @Test func redisSessionHasItsWaitsAndReportShowsThem() throws {
            let server = try RedisServer(), directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(["-p", "\(server.pid)", "--off-cpu", "--wakers", "-o", directory + "/s"])
            try #require(kiln.attached())
            try server.benchmark(["-t", "get", "-n", "50021", "-c", "20"])
            #expect(kiln.stop() == 0, "\(kiln.errorText)")
            let files = try FileManager.default.contentsOfDirectory(atPath: directory + "/s").sorted()
            #expect(
                files == [
                    "commands.jsonl", "flamegraph.svg", "off-cpu.svg", "report.html", "session.json", "stacks.by-command.folded", "stacks.folded",
                    "stacks.off-cpu.by-command.folded", "stacks.off-cpu.folded", "stacks.wakers.folded", "syscalls.jsonl", "wakers.svg",
                ])
            for picture in ["off-cpu.svg", "wakers.svg"] {
                #expect(try xmllint("\(directory)/s/\(picture)") == nil)
                #expect(try String(contentsOfFile: "\(directory)/s/\(picture)", encoding: .utf8).contains("nanoseconds"))
            }
            let session = try Session(directory: directory + "/s"), off = try #require(session.record.samples.offCPU)
            #expect(session.counts["GET"] == 50_021)
            #expect(off.idleNs > 0 && (off.wakers?.recorded ?? 0) > 100, "\(off)")
            #expect(Double(off.complete) >= Double(off.recorded) * 0.995, "\(off)")
            let report = try KilnRun([directory + "/s"], subcommand: "report")
            #expect(report.wait() == 0, "\(report.errorText)")
            for text in ["GET", "samples: ", "off-CPU: ", "wakers: "] { #expect(report.outputText.contains(text), "\(report.outputText)") }
        }

        @Test(.enabled(if: Program.canCompile, "no C compiler")) func reportShowsWaitsAndEventsOfARecording() throws {
            let program = try Program(Self.handing, ["-O1", "-fomit-frame-pointer", "-pthread"])
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(
                ["-p", "\(program.pid)", "--off-cpu", "--wakers", "-e", "context-switches", "-o", directory + "/s"], subcommand: "record"
            )
            guard kiln.attached() else { throw TestFailure("kiln did not attach: \(kiln.errorText)") }
            program.signal(SIGUSR1)
            #expect(eventually { access(program.directory + "/done", F_OK) == 0 })
            #expect(kiln.stop() == 0, "\(kiln.errorText)")
            let report = try KilnRun([directory + "/s"], subcommand: "report")
            #expect(report.wait() == 0, "\(report.errorText)")
            let lines = report.outputText.split(separator: "\n").map(String.init)
            #expect(!report.outputText.contains("no commands") && lines.first?.hasPrefix("Session of ") == true, "\(report.outputText)")
            // What the session itself has printed at its end.
            for line in kiln.outputText.split(separator: "\n")
            where ["off-CPU: ", "wakers: ", "context-switches: ", "samples: "].contains(where: line.hasPrefix) {
                #expect(lines.contains(String(line)), "\(line): \(report.outputText)")
            }
            for text in ["off-CPU: ", "wakers: ", "context-switches: "] { #expect(lines.contains { $0.hasPrefix(text) }, "\(report.outputText)") }
        }
    }
}
