import Foundation
import Glibc
import KilnModel
import TestSupport
import Testing

/// What bad events and targets of `kiln record` get.
struct EventUsageTests {
    @Test(arguments: [
        ["-a", "-c", "10"], ["-a", "-e", "page-faults", "-c", "0"], ["-a", "word"], ["-e", "page-faults"], ["-a", "-t", "0"], ["-a", "-F", "most"],
        ["--comm", "", "-d", "1"], ["-a", "-e", ""],
    ])
    func optionsThatMakeNoSenseAreWrongUsage(arguments: [String]) throws {
        let kiln = try KilnRun(arguments, subcommand: "record")
        #expect(kiln.wait() == 64)
        #expect(kiln.errorText.hasPrefix("Error: "), "\(kiln.errorText)")
    }
}

extension KernelTests {
    /// `kiln record --event`, against the program's own counts, and whom a session records.
    @Suite(.enabled(if: Program.canCompile, "no C compiler")) struct EventTests {
        /// After SIGUSR1, works in functions of known names and writes what the kernel says of it: faults, then switches.
        private static let working = """
            #define _GNU_SOURCE
            #include <signal.h>
            #include <stdio.h>
            #include <sys/mman.h>
            #include <sys/resource.h>
            #include <unistd.h>
            #define PAGES 7919
            static char *pages;
            static void begin(int number) {}
            __attribute__((noinline)) void touch(void) { for (long i = 0; i < PAGES; i++) pages[i * 4096] = 1; asm volatile(""); }
            __attribute__((noinline)) void callee(int x) { asm volatile("" :: "r"(x)); }
            __attribute__((noinline)) void caller(void) { for (int i = 0; i < 7919; i++) callee(i); asm volatile(""); }
            static long switches(void) { struct rusage use; getrusage(RUSAGE_SELF, &use); return use.ru_nvcsw + use.ru_nivcsw; }
            static long dozes;
            __attribute__((noinline)) void doze(void) { long before = switches(); for (int i = 0; i < 1009; i++) usleep(50); dozes = switches() - before; asm volatile(""); }
            __attribute__((noinline)) void ask(void) { for (int i = 0; i < 4001; i++) getppid(); asm volatile(""); }
            __attribute__((noinline)) void measured(void) { touch(); caller(); doze(); ask(); asm volatile(""); }
            int main(int count, char **arguments) {
                struct rusage before, after;
                char path[512], done[512];
                signal(SIGUSR1, begin);
                pages = mmap(0, PAGES * 4096L, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                madvise(pages, PAGES * 4096L, MADV_NOHUGEPAGE);
                getrusage(RUSAGE_SELF, &after);
                pause();
                getrusage(RUSAGE_SELF, &before);
                measured();
                getrusage(RUSAGE_SELF, &after);
                snprintf(path, sizeof path, "%s/counts", arguments[1]);
                snprintf(done, sizeof done, "%s/done", arguments[1]);
                FILE *out = fopen(path, "w");
                fprintf(out, "%ld %ld %ld\\n", after.ru_minflt - before.ru_minflt,
                    after.ru_nvcsw + after.ru_nivcsw - before.ru_nvcsw - before.ru_nivcsw, dozes);
                fclose(out);
                rename(path, done);
                for (;;) pause();
            }
            """

        private static let options = ["-O1", "-fomit-frame-pointer"]

        /// Lets the program work, and returns what it counted.
        private func counts(of program: Program) throws -> [UInt64] {
            program.signal(SIGUSR1)
            guard eventually(within: 60, { access(program.directory + "/done", F_OK) == 0 }) else { throw TestFailure("the program did not finish") }
            return try String(contentsOfFile: program.directory + "/done", encoding: .utf8).split(whereSeparator: \.isWhitespace).compactMap { UInt64($0) }
        }

        /// A sleep that ends before the thread has left its CPU is no switch, so the program counts them.
        private func expectDozes(_ own: [UInt64], in switches: Stacks) throws {
            try #require(own.count == 3)
            let dozes = switches.samples(through: "measured", "doze"), edges = switches.samples(through: "doze", "getrusage")
            #expect(own[2] > 500 && (dozes - edges...dozes).contains(own[2]), "\(own[2]) of \(dozes), \(edges) at the edges")
        }

        @Test func faultsAndSwitchesAreThoseOfTheKernelsOwnCounts() throws {
            let program = try Program(Self.working, Self.options)
            var own: [UInt64] = []
            let names = ["page-faults", "minor-faults", "context-switches", "sched:sched_switch"]
            let recorded = try EventSession.recording([
                "-p", "\(program.pid)", "-e", "faults,minor-faults", "-e", "context-switches", "-e", "sched:sched_switch",
            ]) {
                own = try counts(of: program)
            }
            try #require(own.count == 3)
            for (name, count) in zip(names, [own[0], own[0], own[1], own[1]]) {
                let event = try recorded.event(name), stacks = try recorded.stacks(of: name)
                let inside = stacks.samples(through: "main", "measured")
                // The thread may lose its CPU while it asks for its counts.
                let edges = stacks.samples(through: "main", "getrusage")
                #expect((inside...inside + edges).contains(count), "\(name): \(inside) and \(edges) of \(count)")
                #expect(event.recorded == event.count && event.lost == 0 && event.every == 1 && event.unit == "events", "\(event)")
                #expect(stacks.lines.reduce(0) { $0 + $1.samples } == event.count)
                #expect(event.complete >= event.recorded - 3, "\(event)")
            }
            #expect(try recorded.stacks(of: "page-faults").samples(through: "main", "measured", "touch") == 7919)
            try expectDozes(own, in: recorded.stacks(of: "sched:sched_switch"))
            // Neither the programs that take the stacks nor what calls them are a part of them.
            #expect(try !recorded.stacks(of: "sched:sched_switch").lines.contains { $0.frames.contains { $0.hasPrefix("bpf_") } })
            #expect(recorded.record.lost.isEmpty && recorded.record.samples.onCPU.frequencyHz == 0, "\(recorded.record.lost)")
        }

        @Test func callsOfAFunctionAreCountedWithTheirCallers() throws {
            let program = try Program(Self.working, Self.options)
            let places = ["uprobe", "uretprobe"].map { "\($0):\(program.directory)/program:callee" }
            let recorded = try EventSession.recording(["-p", "\(program.pid)"] + places.flatMap { ["-e", $0] }) { _ = try counts(of: program) }
            for place in places { #expect(try recorded.event(place).count == 7919 && recorded.event(place).complete == 7919) }
            #expect(try recorded.stacks(of: places[0]).samples(through: "_start", "main", "measured", "caller", "callee") == 7919)
            // At its return a function has left its stack.
            #expect(try recorded.stacks(of: places[1]).samples(through: "_start", "main", "measured", "caller") == 7919)
            #expect(try recorded.stacks(of: places[1]).samples(through: "callee") == 0)
        }

        @Test func everyNthEventHasAStackOfThatWeight() throws {
            let program = try Program(Self.working, Self.options)
            let recorded = try EventSession.recording(["-p", "\(program.pid)", "-c", "10", "-e", "sys_enter_getppid", "-e", "syscalls:sys_exit_getppid"]) {
                _ = try counts(of: program)
            }
            for name in ["syscalls:sys_enter_getppid", "syscalls:sys_exit_getppid"] {
                let event = try recorded.event(name)
                #expect(event.count == 4001 && event.every == 10 && event.recorded == 400 && event.lost == 0, "\(event)")
                #expect(try recorded.stacks(of: name).samples(through: "measured", "ask") == 4000)
            }
        }

        @Test func tracepointsAreFoundWithoutTracefs() throws {
            let program = try Program(Self.working, Self.options)
            var own: [UInt64] = []
            let without = "for place in /sys/kernel/tracing /sys/kernel/debug; do mount -t tmpfs none $place; done; exec \"$@\""
            let recorded = try EventSession.recording(
                ["-p", "\(program.pid)", "-e", "sched_switch", "-e", "raw_syscalls:sys_enter"], wrapper: ["unshare", "-m", "sh", "-c", without, "sh"]
            ) { own = try counts(of: program) }
            try expectDozes(own, in: recorded.stacks(of: "sched_switch"))
            #expect(try recorded.stacks(of: "raw_syscalls:sys_enter").samples(through: "measured", "ask") == 4001)
        }

        /// One is enabled by a counter that the kernel changes (a semaphore), and one has two places.
        @Test(.enabled(if: hasStaticProbes, "systemtap-sdt-dev is not installed")) func staticProbesAreCounted() throws {
            let program = try Program(
                """
                #define _SDT_HAS_SEMAPHORES 1
                #include <sys/sdt.h>
                #include <signal.h>
                #include <stdio.h>
                #include <unistd.h>
                unsigned short tests_guarded_semaphore __attribute__((section(".probes")));
                unsigned short tests_twice_semaphore __attribute__((section(".probes")));
                static void begin(int number) {}
                __attribute__((noinline)) void guarded(int i) { if (tests_guarded_semaphore) DTRACE_PROBE1(tests, guarded, i); }
                __attribute__((noinline)) void twice(int i) { DTRACE_PROBE1(tests, twice, i); if (i & 1) DTRACE_PROBE1(tests, twice, i); }
                int main(int count, char **arguments) {
                    char done[512];
                    signal(SIGUSR1, begin);
                    pause();
                    for (int i = 0; i < 7919; i++) { guarded(i); twice(i); }
                    snprintf(done, sizeof done, "%s/done", arguments[1]);
                    fclose(fopen(done, "w"));
                    for (;;) pause();
                }
                """, Self.options)
            let names = ["guarded", "twice"].map { "usdt:\(program.directory)/program:tests:\($0)" }
            let recorded = try EventSession.recording(["-p", "\(program.pid)"] + names.flatMap { ["-e", $0] }) { _ = try counts(of: program) }
            #expect(try recorded.event(names[0]).count == 7919 && recorded.stacks(of: names[0]).samples(through: "main", "guarded") == 7919)
            #expect(try recorded.event(names[1]).count == 7919 + 3959 && recorded.stacks(of: names[1]).samples(through: "main", "twice") == 11878)
            let list = try KilnRun(["-e", "list", "usdt:\(program.directory)/program"], subcommand: "record")
            #expect(list.wait() == 0 && list.outputText == names.map { $0 + "\n" }.joined())
            let unknown = try KilnRun(["-p", "\(program.pid)", "-e", names[0] + "s"], subcommand: "record")
            #expect(unknown.wait() == 1 && unknown.errorText.contains("it has tests:guarded"), "\(unknown.errorText)")
        }

        // MARK: - Whom

        /// Two threads with names of their own that ask for their parent, again and again.
        private static let threads = """
            #define _GNU_SOURCE
            #include <pthread.h>
            #include <sys/prctl.h>
            #include <unistd.h>
            __attribute__((noinline)) static void ask(void) { getppid(); asm volatile(""); }
            static void *work(void *name) { prctl(PR_SET_NAME, name); for (;;) { ask(); usleep(1000); } }
            int main(int count, char **arguments) {
                pthread_t thread;
                if (count > 2 && setuid(65534)) return 1;
                pthread_create(&thread, 0, work, "alpha");
                pthread_create(&thread, 0, work, "beta");
                for (;;) pause();
            }
            """

        private static let asking = ["--threads", "-e", "syscalls:sys_enter_getppid"]

        private func threads(_ prepare: (String) throws -> [String] = { [$0 + "/program", $0] }) throws -> Program {
            let program = try Program(Self.threads, Self.options + ["-pthread"], prepare: prepare)
            guard eventually({ (try? tids(of: program))?.count == 3 }) else { throw TestFailure("the threads did not start") }
            return program
        }

        private func tids(of program: Program) throws -> [Int32] {
            try FileManager.default.contentsOfDirectory(atPath: "/proc/\(program.pid)/task").compactMap { Int32($0) }.sorted()
        }

        /// The threads by name that were recorded, of the processes by name.
        private func recorded(_ arguments: [String]) throws -> Set<String> {
            let recorded = try EventSession.recording(arguments + Self.asking) { usleep(400_000) }
            let event = try recorded.event("syscalls:sys_enter_getppid")
            #expect(event.count > 50 && event.recorded == event.count, "\(event)")
            return Set(try recorded.stacks(of: event.event).lines.map { "\($0.frames[0]);\($0.frames[1])" })
        }

        @Test func oneThreadOfSeveralIsRecordedAlone() throws {
            let program = try threads(), alpha = try tids(of: program)[1]
            #expect(try recorded(["-t", "\(alpha)"]) == ["program;alpha"])
            // Options of different kinds narrow each other.
            #expect(try recorded(["-p", "\(program.pid)", "--comm", "beta"]) == ["program;beta"])
        }

        @Test func threadsAndProcessesAreFoundByName() throws {
            let program = try threads { directory in
                try FileManager.default.copyItem(atPath: directory + "/program", toPath: directory + "/a-program-of-16-b")
                return [directory + "/a-program-of-16-b", directory]
            }
            // The kernel keeps 15 bytes of a name.
            #expect(try recorded(["--comm", "a-program-of-16-b"]) == ["a-program-of-16;alpha", "a-program-of-16;beta"])
            #expect(try recorded(["--comm", "alpha"]).contains("a-program-of-16;alpha"))
            withExtendedLifetime(program) {}
        }

        @Test func severalProcessesAreOneSession() throws {
            let programs = try [threads(), threads(), threads()]
            let session = try EventSession.recording(["-p", "\(programs[0].pid)", "-p", "\(programs[1].pid)", "-e", "syscalls:sys_enter_getppid", "-F", "99"]) {
                usleep(400_000)
            }
            #expect(session.record.target.pids == [programs[0].pid, programs[1].pid])
            let both = try session.event("syscalls:sys_enter_getppid").count
            let one = try EventSession.recording(["-p", "\(programs[2].pid)", "-e", "syscalls:sys_enter_getppid"]) { usleep(400_000) }
            let single = try one.event("syscalls:sys_enter_getppid").count
            #expect(both > single, "\(both), \(single)")
            #expect(try session.stacks(of: "syscalls:sys_enter_getppid").samples(through: "program", "start_thread", "ask") == both)
        }

        @Test(.enabled(if: ControlGroup.canBeMade, "no control groups of version 2 here")) func processesOfAControlGroupAreRecorded() throws {
            let group = try ControlGroup(), program = try threads(), other = try threads()
            try group.add(program.pid)
            // The program is in a group below.
            let session = try EventSession.recording(["--cgroup", group.path, "-e", "syscalls:sys_enter_getppid", "-F", "0"]) { usleep(400_000) }
            let event = try session.event("syscalls:sys_enter_getppid")
            #expect(event.count > 50)
            let none = try recording(["--cgroup", group.path, "-p", "\(other.pid)", "-e", "syscalls:sys_enter_getppid", "-e", "page-faults"], ends: 1)
            #expect(none.contains("recorded nothing: syscalls:sys_enter_getppid did not happen; page-faults did not happen"), "\(none)")
            let unknown = try KilnRun(["--cgroup", "/no/such/group"], subcommand: "record")
            #expect(unknown.wait() == 1 && unknown.errorText.hasPrefix("kiln: no control group is at /no/such/group."), "\(unknown.errorText)")
        }

        @Test func processesOfAUserAreRecorded() throws {
            let program = try threads { directory in
                chmod(directory, 0o755)
                return [directory + "/program", directory, "as nobody"]
            }
            #expect(try recorded(["-u", "nobody"]) == ["program;alpha", "program;beta"])
            #expect(try recorded(["-u", "65534", "--comm", "alpha"]) == ["program;alpha"])
            let unknown = try KilnRun(["-u", "nobody-at-all"], subcommand: "record")
            #expect(unknown.wait() == 1 && unknown.errorText.hasPrefix("kiln: no user is named nobody-at-all."), "\(unknown.errorText)")
            withExtendedLifetime(program) {}
        }

        // MARK: - Errors

        /// A session that ends by itself with this status; what it says.
        private func recording(_ arguments: [String], ends status: Int32) throws -> String {
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(arguments + ["-d", "0.5", "-o", directory + "/session"], subcommand: "record")
            #expect(kiln.wait() == status, "\(kiln.errorText)")
            return kiln.errorText
        }

        @Test func aSessionThatRecordsNothingSaysWhy() throws {
            let sleeper = try Child("sleep", ["60"]), pid = "\(sleeper.pid)"
            guard eventually({ (try? String(contentsOfFile: "/proc/\(pid)/comm", encoding: .utf8)) == "sleep\n" }) else { throw TestFailure("no sleep") }
            #expect(try recording(["-p", pid], ends: 1).contains("recorded nothing: the target used 0 ns of CPU time"))
            #expect(try recording(["-t", pid], ends: 1).contains("recorded nothing: no thread that was asked for ran when a sample was due"))
            #expect(try recording(["-p", pid, "-e", "page-faults"], ends: 1).contains("recorded nothing: page-faults did not happen"))
            let function = "uprobe:/usr/bin/sleep:no_such_function"
            #expect(try recording(["-p", pid, "-e", function], ends: 1).hasPrefix("kiln: /usr/bin/sleep has no function no_such_function"))
            // A command that is recorded gives its own status.
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let command = try KilnRun(["-e", "sys_enter_reboot", "-o", directory + "/s", "--", "true"], subcommand: "record")
            #expect(command.wait() == 0 && command.errorText.contains("recorded nothing: syscalls:sys_enter_reboot did not happen"), "\(command.errorText)")
            // It slept all the time: a wait that began before the session is recorded, too.
            #expect(try recording(["-p", pid, "-F", "0", "--off-cpu"], ends: 0).contains("attached to sleep"))
        }

        @Test func unknownEventsAreSaidWithNearNames() throws {
            let cases = [
                ("sched_swich", "no event is named sched_swich; near: "), ("sched_swich", "sched_switch."), ("page-fault", "near: page-faults"),
                ("page-faults:u", "page-faults has no modifiers here"),
                ("sys_enter_opnat", "near: syscalls:sys_enter_openat"), ("wrong:category:too", "no event is named wrong:category:too."),
                ("usdt:/usr/bin/env:a:b", "/usr/bin/env has no static probes (USDT)."), ("uprobe:/no/such/file:f", "cannot read /no/such/file"),
                ("uprobe:libc:mallok", "has no function mallok; near: malloc"), ("uprobe:libc:memcpy", "(IFUNC)"),
            ]
            for (name, words) in cases {
                let said = try recording(["-a", "-e", name], ends: 1)
                #expect(said.hasPrefix("kiln: ") && said.contains(words) && said.filter { $0 == "\n" }.count == 1, "\(said)")
            }
        }

        @Test func theListHasWhatCanBeRecorded() throws {
            let all = try KilnRun(["-e", "list"], subcommand: "record")
            #expect(all.wait() == 0)
            let names = Set(all.outputText.split(separator: "\n").map(String.init))
            #expect(names.isSuperset(of: ["page-faults", "context-switches", "syscalls:sys_enter_openat"]))
            #expect(names.contains("sched:sched_switch") || names.contains("sched_switch"))
            let some = try KilnRun(["-e", "list", "sched_proc*"], subcommand: "record")
            #expect(some.wait() == 0 && some.outputText.split(separator: "\n").allSatisfy { $0.contains("sched_proc") })
            let none = try KilnRun(["-e", "list", "no*such*event"], subcommand: "record")
            #expect(none.wait() == 1 && none.errorText.hasPrefix("kiln: no event matches no*such*event."))
            // Counters of the hardware are refused where they can't be counted.
            guard !names.contains("cycles") else { return }
            #expect(try recording(["-a", "-e", "cycles"], ends: 1).hasPrefix("kiln: cannot record cycles: this machine shows no counter of the hardware"))
        }

        @Test func perfsHabitsAreTaken() throws {
            let program = try threads()
            let session = try EventSession.recording(["-p", "\(program.pid)", "-g", "--call-graph", "dwarf", "-F", "max", "-e", "cs"]) { usleep(400_000) }
            #expect(session.record.samples.onCPU.frequencyHz > 99)
            #expect(try session.event("context-switches").count > 50)
        }
    }
}

extension KernelTests {
    /// Events of a stock server; nothing is compiled.
    struct ServerEventTests {
        @Test func theCommandsOfAServerAreItsCallsOfOneFunction() throws {
            // With hz 1 the server's timer fires once a second, so few switches happen between attaching one event and the next.
            let server = try RedisServer(["--hz", "1"]), commands = UInt64(load(2003))
            let client = try Connection(port: server.port)
            _ = try client.reply(to: "PING")
            let function = "uprobe:/proc/\(server.pid)/exe:processCommand"
            let session = try EventSession.recording(["-p", "\(server.pid)", "-e", function, "-e", "sys_exit_write,sched_switch,context-switches"]) {
                for _ in 0..<commands { _ = try client.reply(to: "PING") }
            }
            let calls = try session.event(function)
            #expect(calls.count == commands && calls.recorded == commands && calls.complete == commands, "\(calls)")
            #expect(try session.stacks(of: function).samples(through: "_start", "main", "aeMain", "processCommand") == commands)
            #expect(try session.stacks(of: "syscalls:sys_exit_write").samples(through: "main", "aeMain") == commands)
            let switches = try session.event(named: "sched_switch"), told = try session.event("context-switches")
            #expect(switches.count > 0 && told.count <= switches.count + 4 && switches.count <= told.count + 4, "\(switches), \(told)")
            #expect(session.record.lost.isEmpty, "\(session.record.lost)")
        }
    }
}

/// Whether C programs can have static probes.
private let hasStaticProbes = ["/usr/include", "/usr/include/x86_64-linux-gnu"].contains { access($0 + "/sys/sdt.h", R_OK) == 0 }

/// A control group with another one in it, until the value ends.
private final class ControlGroup {
    private static let root = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].first { access($0 + "/cgroup.procs", W_OK) == 0 }
    static let canBeMade = root != nil

    let path: String
    private var members: [Int32] = []

    init() throws {
        path = "\(Self.root ?? "")/kiln-test-\(getpid())"
        for directory in [path, path + "/below"] where mkdir(directory, 0o755) != 0 { throw TestFailure("cannot make \(directory): errno \(errno)") }
    }

    deinit {
        // The group of a process that lives can't be removed.
        for pid in members { try? "\(pid)".write(toFile: "\(Self.root ?? "")/cgroup.procs", atomically: false, encoding: .utf8) }
        for directory in [path + "/below", path] { rmdir(directory) }
    }

    func add(_ pid: Int32) throws {
        try "\(pid)".write(toFile: path + "/below/cgroup.procs", atomically: false, encoding: .utf8)
        members.append(pid)
    }
}
