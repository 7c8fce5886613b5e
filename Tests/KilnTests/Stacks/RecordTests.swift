import Foundation
import Glibc
import KilnModel
import TestSupport
import Testing

/// What bad input to `kiln record` gets.
struct RecordUsageTests {
    @Test(arguments: [[], ["-p", "1", "-a"], ["--children"], ["--children", "--", "true"], ["-p", "0"], ["-a", "-F", "0"], ["-a", "-d", "0"]])
    func optionsThatMakeNoSenseAreWrongUsage(arguments: [String]) throws {
        let kiln = try KilnRun(arguments, subcommand: "record")
        #expect(kiln.wait() == 64)
        #expect(kiln.errorText.hasPrefix("Error: "))
    }
}

extension KernelTests {
    /// `kiln record`: processes that start, execute other programs and exit during a session.
    @Suite(.enabled(if: Program.canCompile, "no C compiler")) struct RecordTests {
        /// Spins for so many seconds of its CPU time in a function of that name.
        private static let spinning = """
            #include <time.h>
            volatile unsigned long sink;
            static double now(void) { struct timespec t; clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); return t.tv_sec + t.tv_nsec / 1e9; }
            __attribute__((noinline)) void step(void) { for (int i = 0; i < 100000; i++) sink = sink * 3 + 1; }
            __attribute__((noinline)) void spin(double seconds) { double end = now() + seconds; while (now() < end) step(); sink++; }

            """

        @Test(.tags(.timing)) func whatAProcessForksIsWholeFromItsFirstSample() throws {
            let program = try Program(
                Self.spinning + """
                    #include <signal.h>
                    #include <sys/wait.h>
                    #include <unistd.h>
                    static volatile sig_atomic_t asked;
                    static void on_signal(int number) { asked = 1; }
                    __attribute__((noinline)) void in_child(void) { spin(0.2); sink++; }
                    int main(void) {
                        signal(SIGUSR1, on_signal);
                        while (!asked) spin(0.01);
                        for (int i = 0; i < 5; i++) if (!fork()) { in_child(); _exit(0); }
                        for (int i = 0; i < 5; i++) wait(0);
                        for (;;) spin(0.01);
                    }
                    """)
            let session = try Session.sampling(pid: program.pid) {
                // It works until the signal, and again when its children have ended.
                try letWork(program.pid, seconds: 0.2)
                program.signal(SIGUSR1)
                try letWork(program.pid, seconds: 0.5)
            }
            let samples = session.record.samples.onCPU, children = try #require(samples.descendants)
            #expect(samples.processes?.count == 6)
            // Five children of 0.2 s at 499 Hz, less what a hypervisor takes.
            #expect((250...600).contains(children.recorded), "\(children)")
            #expect(children.complete >= children.recorded - 2, "\(children)")
            let named = session.stacks.samples(through: "_start", "main", "in_child", "spin", "step")
            #expect(named >= children.recorded * 9 / 10, "\(named) of \(children.recorded)")
            #expect(session.record.lost.isEmpty)
        }

        @Test(.tags(.timing)) func aCommandIsRecordedWithTheProgramsThatItExecutes() throws {
            let program = try Program(Self.spinning + "int main(void) { spin(1.5); }")
            let session = try Session.sampling(["-F", "499", "--", "sh", "-c", "\(program.directory)/program; \(program.directory)/program"])
            let samples = session.record.samples.onCPU, children = try #require(samples.descendants)
            #expect(session.record.ended == "command ended")
            #expect(session.record.target.comm == "sh")
            #expect(children.recorded > 1200, "\(children)")
            // Until kiln has read the new program's file its stacks can't be followed, and are counted as that.
            #expect(children.ends.values.reduce(0, +) == children.recorded)
            let early = ["no_process", "no_mapping", "in_exec", "exiting"].compactMap { children.ends[$0] }.reduce(0, +)
            #expect(early + children.complete >= children.recorded - 2, "\(children)")
            #expect(children.complete > children.recorded * 3 / 4, "\(children)")
            #expect(session.stacks.samples(through: "program", "_start", "main", "spin") > 900)
        }

        /// A program's first sample may fall into its exec, when the kernel has not yet laid out its stack. At this frequency it
        /// does in every second one.
        @Test(.tags(.timing)) func programsFirstSampledInsideOfExecAreFollowed() throws {
            let program = try Program(Self.spinning + "int main(void) { spin(0.1); }")
            let session = try Session.sampling(["-F", "5000", "--", "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10; do \(program.directory)/program; done"])
            let children = try #require(session.record.samples.onCPU.descendants)
            #expect(children.recorded > 2000, "\(children)")
            // Mappings are known after some 20 ms of a program's 100.
            #expect(children.complete > children.recorded * 3 / 5, "\(children)")
            let processes = try #require(session.record.samples.onCPU.processes)
            let programs = processes.filter { $0.comm == "program" && $0.samples > 50 }
            #expect(programs.count >= 10, "\(programs)")
            print("first sampled inside of exec: \(children)")
        }

        /// Programs that are gone before their mappings could be read: the kernel says which file lies where, and the files have been met.
        @Test(.tags(.timing)) func programsThatLiveForAMillisecondAreWholeAndNamed() throws {
            let session = try Session.sampling(["-F", "4999", "--", "sh", "-c", "for i in $(seq 300); do /bin/true; done"])
            let children = try #require(session.record.samples.onCPU.descendants)
            #expect(children.recorded > 200, "\(children)")
            // What the kernel does between two programs has no user's side; the first program that is executed is not known yet.
            let without = (children.ends["in_exec"] ?? 0) + (children.ends["exiting"] ?? 0)
            #expect(children.complete >= (children.recorded - without) * 9 / 10, "\(children)")
            let named = session.stacks.lines.filter { $0.frames[0] == "true" && $0.frames.dropFirst().first == "_start" }
            #expect(named.reduce(0) { $0 + $1.samples } > children.complete / 4, "\(session.folded)")
            #expect(session.record.lost.isEmpty)
            print("programs of a millisecond: \(children)")
        }

        /// Processes that exist when the session begins, and that are sampled now and then, are whole at their first sample.
        @Test(.tags(.timing)) func sleepyProcessesOfTheHostAreWholeAtTheirFirstSample() throws {
            let sleepy = try Program(
                Self.spinning + """
                    #include <unistd.h>
                    int main(void) {
                        for (int i = 0; i < 100; i++) if (!fork()) for (;;) { usleep(300000); spin(0.002); if (getppid() == 1) _exit(0); }
                        for (;;) pause();
                    }
                    """)
            let session = try Session.sampling(["-F", "499", "-a"]) { usleep(3_000_000) }
            let own = session.stacks.lines.filter { $0.frames[0] == "program" }
            let samples = own.reduce(0) { $0 + $1.samples }
            #expect(samples > 100)
            #expect(session.stacks.samples(through: "program", "[no_process]") == 0)
            #expect(session.stacks.samples(through: "program", "_start", "main", "spin") >= samples * 9 / 10, "\(own)")
            withExtendedLifetime(sleepy) {}
        }

        @Test(.tags(.timing)) func twoHundredShortLivedProcessesASecondAreCounted() throws {
            let program = try Program(
                """
                #include <stdlib.h>
                #include <sys/wait.h>
                #include <time.h>
                #include <unistd.h>
                volatile unsigned long sink;
                __attribute__((noinline)) void between(void) { for (int i = 0; i < 1000; i++) sink = sink * 3 + 1; }
                static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec / 1e9; }
                int main(void) {
                    double begin = now();
                    for (long forked = 0;;) {
                        between();
                        while (waitpid(-1, 0, WNOHANG) > 0) {}
                        if (now() - begin < forked / 200.0) continue;
                        forked++;
                        pid_t child = fork();
                        if (child) continue;
                        if (forked % 2) execl("/bin/true", "true", (char *)0);
                        _exit(0);
                    }
                }
                """)
            let session = try Session.sampling(pid: program.pid) { usleep(10_000_000) }
            let samples = session.record.samples.onCPU, children = try #require(samples.descendants)
            #expect(Double(samples.complete) >= Double(samples.recorded) * 0.995, "\(samples.ends)")
            #expect(session.stacks.samples(through: "_start", "main", "between") > 200)
            #expect(children.recorded > 100)
            #expect(children.ends.values.reduce(0, +) == children.recorded)
            // Each recorded sample is in the folded stacks, below the name of its process.
            let folded = session.stacks.lines.reduce(UInt64(0)) { $0 + $1.samples }
            #expect(folded == samples.recorded + children.recorded)
            // A sample inside of exec may find the new name written over the old one, up to there.
            let named = Set(session.stacks.lines.map { $0.frames[0] })
            #expect(named.isSubset(of: ["program", "true", "trueram"]), "\(named)")
            #expect(samples.processes?.reduce(0) { $0 + $1.samples } == folded)
            #expect(session.record.lost.isEmpty)
            print("two hundred a second: \(samples.processes?.count ?? 0) processes sampled, \(children)")
        }

        @Test(.tags(.timing)) func theWholeHostIsRecordedByProcess() throws {
            let program = try Program(Self.spinning + "int main(void) { for (;;) spin(1); }")
            let session = try Session.sampling(["-F", "499", "-a"]) { try letWork(program.pid, seconds: 2) }
            let own = session.stacks.lines.filter { $0.frames[0] == "program" }.reduce(0) { $0 + $1.samples }
            let whole = session.stacks.samples(through: "program", "_start", "main", "spin")
            #expect(own > 800)
            // Of all processes of the host it is read meanwhile what they have mapped.
            let early = session.stacks.samples(through: "program", "[no_process]")
            #expect(whole > 400 && Double(whole + early) >= Double(own) * 0.98, "\(whole) whole and \(early) early ones of \(own)")
            #expect(session.record.samples.onCPU.processes?.contains { $0.pid == program.pid } == true)
            #expect(session.record.samples.onCPU.expected == nil)
            // What runs when nothing does is not recorded.
            #expect(!session.folded.contains("swapper"))
        }

        @Test func aCommandThatCanNotBeStartedIsSaidAndLeavesNothing() throws {
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(["-o", directory + "/s", "--", "/no/such/command"], subcommand: "record")
            #expect(kiln.wait() == 127)
            #expect(kiln.errorText.contains("cannot start `/no/such/command`: No such file or directory"))
            #expect(try FileManager.default.contentsOfDirectory(atPath: directory).isEmpty)
            let nobody = try KilnRun(["-p", "999999999", "-o", directory + "/s"], subcommand: "record")
            #expect(nobody.wait() == 1)
            #expect(nobody.errorText.contains("999999999"))
        }

        /// Redis saves in a child: its stacks stand apart from the server's, and are not among its expected samples.
        @Test func whatAServerForksStandsApart() throws {
            let server = try RedisServer()
            _ = try Connection(port: server.port).reply(to: "DEBUG", "POPULATE", "1000000", "key", "100")
            let session = try Session.recording(pid: server.pid, ["-F", "499"]) {
                let client = try Connection(port: server.port)
                _ = try client.reply(to: "BGSAVE")
                #expect(eventually(within: 60) { (try? client.reply(to: "INFO", "persistence"))?.contains("rdb_bgsave_in_progress:0") == true })
            }
            let children = try #require(session.record.samples.onCPU.descendants)
            #expect(Double(children.complete) >= Double(children.recorded) * 0.99, "\(children)")
            #expect(session.stacks.samples(through: "redis-server (child)", "rdbSaveRio") > children.recorded / 2)
            #expect(session.stacks.samples(through: "redis-server", "rdbSaveRio") == 0)
        }
    }
}
