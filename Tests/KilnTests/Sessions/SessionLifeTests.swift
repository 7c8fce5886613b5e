import Foundation
import Glibc
import KilnModel
import TestSupport
import Testing

extension KernelTests {
    /// How sessions begin and end where something is in the way: what is known is told, and nothing is left behind.
    @Suite struct SessionLifeTests {
        // MARK: - What is watched

        @Test func aTargetThatExecutesAnotherProgramIsCalledByIt() throws {
            let target = try Child.held(["sleep", "60"])
            let session = try Session.sampling(["-p", "\(target.pid)", "--off-cpu", "-d", "1"]) {
                kill(target.pid, SIGCONT)
                #expect(eventually { (try? String(contentsOfFile: "/proc/\(target.pid)/comm", encoding: .utf8)) == "sleep\n" })
                usleep(300_000)
            }
            #expect(session.record.target.comm == "sleep" && session.record.target.commAtStart == "sh")
            #expect(session.record.target.exe?.hasSuffix("/sleep") == true)
            #expect(session.output.contains("pid \(target.pid) executes sleep now; it was sh when the session began"))
            let unchanged = try Session.sampling(["-p", "\(target.pid)", "--off-cpu", "-d", "0.3"])
            #expect(unchanged.record.target.comm == "sleep" && unchanged.record.target.commAtStart == nil)
        }

        @Test func aServerThatExecutesAnotherProgramIsCalledByIt() throws {
            let target = try Child.held(["sleep", "60"]), directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(["-p", "\(target.pid)", "-i", "0.2", "-o", directory + "/s"])
            try #require(kiln.attached())
            kill(target.pid, SIGCONT)
            #expect(eventually { kiln.outputText.contains("  sleep pid \(target.pid)") })
            kiln.stop()
            #expect(kiln.outputText.contains("sleep pid \(target.pid) (sh when the session began)"))
            #expect(try Session(directory: directory + "/s").record.target.commAtStart == "sh")
        }

        /// As the master of PostgreSQL or nginx, whose workers do the work.
        @Test func whatAProcessHasStartedBeforeIsRecordedIfAskedFor() throws {
            // Two children, of which one has a child, all of them busy; none outlives the others.
            let master = try Child(
                "/usr/bin/python3",
                [
                    "-c",
                    """
                    import ctypes, os, signal
                    def fork():
                        child = os.fork()
                        if not child: ctypes.CDLL(None).prctl(1, signal.SIGKILL)    # PR_SET_PDEATHSIG
                        return child
                    if not fork(): fork()
                    elif fork(): signal.pause()
                    while True: pass
                    """,
                ])
            func descendants() -> [Int32] { busyDescendants(of: master.pid) }
            #expect(eventually { descendants().count == 3 })
            let pids = Set(descendants())
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let alone = try KilnRun(["-p", "\(master.pid)", "--off-cpu", "-d", "0.5", "-o", directory + "/alone"], subcommand: "record")
            #expect(alone.wait() == 0)
            #expect(alone.errorText.contains("has 3 descendants that the session leaves out. --children adds them."), "\(alone.errorText)")
            #expect(try Session(directory: directory + "/alone").record.samples.onCPU.descendants == nil)
            let all = try KilnRun(["-p", "\(master.pid)", "--children", "-F", "499", "-o", directory + "/all"], subcommand: "record")
            try #require(all.attached())
            for pid in pids { try letWork(pid, seconds: 0.3) }
            #expect(all.stop() == 0)
            #expect(all.errorText.contains("with 3 running descendants"), "\(all.errorText)")
            #expect(!all.errorText.contains("leaves out"))
            let samples = try Session(directory: directory + "/all").record.samples.onCPU
            #expect(Set(try #require(samples.processes).map(\.pid)).subtracting([master.pid]) == pids)
            #expect(try #require(samples.descendants).recorded > 200)
            // Forked, they run the master's code, whose mappings are known.
            #expect(try #require(samples.descendants).complete > 200, "\(samples)")
            _ = consume master
        }

        private func busyDescendants(of pid: Int32) -> [Int32] {
            let children = (try? String(contentsOfFile: "/proc/\(pid)/task/\(pid)/children", encoding: .utf8)) ?? ""
            return children.split(separator: " ").compactMap { Int32($0) }.flatMap { [$0] + busyDescendants(of: $0) }
        }

        // MARK: - Who ends it

        @Test(arguments: [["redis"], ["trace", "redis"], ["record"], ["syscalls"]])
        func aSessionEndsWithTheStatusOfItsCommand(command: [String]) throws {
            let server = try RedisServer(), directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            func status(_ words: [String], alone: Bool = false, _ options: [String] = []) throws -> (status: Int32, said: String) {
                let place = command[0] == "trace" ? [] : ["-o", "\(directory)/\(UInt32.random(in: 0...UInt32.max))"]
                // A server without work is never sampled.
                let target = alone ? [] : ["-p", "\(server.pid)"] + (command[0] == "record" ? ["--off-cpu"] : [])
                let kiln = try KilnRun(Array(command.dropFirst()) + target + place + options + ["--"] + words, subcommand: command[0])
                return (kiln.wait(), kiln.errorText)
            }
            for alone in command[0] == "record" ? [false, true] : [command[0] == "syscalls"] {
                #expect(try status(["true"], alone: alone).status == 0)
                let seven = try status(["sh", "-c", "exit 7"], alone: alone)
                #expect(seven.status == 7 && seven.said.contains("the command ended with status 7"), "\(seven)")
                #expect(try status(["sh", "-c", "kill -9 $$"], alone: alone).status == 128 + SIGKILL)
                #expect(try status(["/no/such/program"], alone: alone).status == 127)
                #expect(try status(["/etc/passwd"], alone: alone).status == 126)
                // kiln ended it: that is no status of its own.
                #expect(try status(["sleep", "60"], alone: alone, ["-d", "0.3"]).status == 0)
            }
        }

        @Test func aMeasurementThatIsKilledLeavesNoSessionAndNoDirectory() throws {
            let server = try RedisServer(), directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(["-p", "\(server.pid)", "--window", "20"], subcommand: "cost", wrapper: ["env", "TMPDIR=" + directory])
            var session: Int32?
            // It watches when the kernel has its programs.
            #expect(
                eventually {
                    session = children(of: kiln.pid).first
                    return session.map { (try? LoadedPrograms.held(by: $0).count >= 3) ?? false } ?? false
                })
            let pid = try #require(session)
            #expect(try FileManager.default.contentsOfDirectory(atPath: directory).count == 1)
            #expect(kiln.stop(signal: SIGKILL) == 128 + SIGKILL)
            #expect(eventually { kill(pid, 0) != 0 })
            #expect(try FileManager.default.contentsOfDirectory(atPath: directory).isEmpty)
        }

        private func children(of pid: Int32) -> [Int32] {
            let text = (try? String(contentsOfFile: "/proc/\(pid)/task/\(pid)/children", encoding: .utf8)) ?? ""
            return text.split(separator: " ").compactMap { Int32($0) }
        }

        @Test func aKilledSessionLeavesItsStacks() throws {
            let server = try RedisServer(), directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let load = try Child("redis-benchmark", ["-p", "\(server.port)", "-q", "-l", "-t", "get", "-c", "4"])
            let sessions = try [("redis", ["-i", "30"]), ("record", [])].map { subcommand, options in
                try KilnRun(["-p", "\(server.pid)", "-o", "\(directory)/\(subcommand)"] + options, subcommand: subcommand)
            }
            for kiln in sessions { #expect(kiln.attached()) }
            for name in ["redis", "record"] { #expect(eventually(within: 30) { access("\(directory)/\(name)/stacks.folded", F_OK) == 0 }) }
            for kiln in sessions { kiln.stop(signal: SIGKILL) }
            for name in ["redis", "record"] {
                let stacks = Stacks(try String(contentsOfFile: "\(directory)/\(name)/stacks.folded", encoding: .utf8))
                #expect(stacks.samples(through: "redis-server", "_start") > 100)
                #expect(!stacks.lines.contains { $0.frames.contains("[unknown]") && $0.frames.count == 1 })
            }
            _ = consume load
        }

        // MARK: - What is in the way

        @Test(arguments: ["redis", "record"])
        func totalsAreToldWhenTheDirectoryIsGone(subcommand: String) throws {
            let server = try RedisServer(), directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(["-p", "\(server.pid)", "-d", "2", "-o", directory + "/s"], subcommand: subcommand)
            try #require(kiln.attached())
            try server.benchmark(["-t", "get", "-n", "1009", "-c", "1"])
            try FileManager.default.removeItem(atPath: directory + "/s")
            #expect(kiln.wait() == 1)
            let lines = kiln.errorText.split(separator: "\n")
            #expect(lines.count == 2 && lines[1].contains("cannot write \(directory)/s/session.json: No such file or directory"), "\(kiln.errorText)")
            #expect(kiln.outputText.contains(subcommand == "redis" ? "GET" : "samples: "))
            if subcommand == "redis" { #expect(kiln.outputText.contains("Session of ")) }
            #expect(!kiln.outputText.contains("wrote "))
            #expect(try FileManager.default.contentsOfDirectory(atPath: directory).isEmpty)
        }

        @Test func aLimitOfFileSizesIsSaidAndTotalsAreTold() throws {
            let server = try RedisServer(), directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            for subcommand in ["redis", "record"] {
                // Its output goes through a pipe: files have the limit.
                let output = directory + "/out-" + subcommand
                let shell = try Child(
                    "bash",
                    [
                        "-c",
                        """
                        (ulimit -f 1; exec '\(KilnRun.binary)' \(subcommand) -p \(server.pid) -d 1 -o \(directory)/\(subcommand) 2>&1; ) | cat > \(output); exit ${PIPESTATUS[0]}
                        """,
                    ])
                #expect(shell.wait() == 1)
                let said = try String(contentsOfFile: output, encoding: .utf8)
                #expect(said.contains("File too large. The file size limit (ulimit -f) is reached: raise it."), "\(said)")
                #expect(said.contains(subcommand == "redis" ? "Session of " : "samples: "), "\(said)")
            }
        }

        /// Limits that a session can only break off at are refused before it begins; so is a standard output that is none.
        @Test(
            arguments: [
                ("ulimit -n 48", "the limit of open files (ulimit -n) is 48"), ("ulimit -v 200000", "the limit of address space (ulimit -v) is 195 MiB"),
                ("exec >&-", "standard output: it is closed"), ("exec <&- >&-", "standard output: it is closed"),
                ("exec 1</dev/null", "standard output: it is closed"),
            ], ["redis", "record", "trace redis", "cost"])
        func whatASessionCanNotDoWithoutIsSaidAtOnce(limit: (shell: String, said: String), subcommand: String) throws {
            let server = try RedisServer(), directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let place = ["redis", "record"].contains(subcommand) ? "-o \(directory)/s" : ""
            let shell = try Child(
                "bash", ["-c", "exec 2>\(directory)/err; \(limit.shell); exec '\(KilnRun.binary)' \(subcommand) -p \(server.pid) -d 2 \(place)"]
            )
            #expect(shell.wait() == 1)
            let said = try String(contentsOfFile: directory + "/err", encoding: .utf8)
            #expect(said.contains(limit.said) && said.split(separator: "\n").count == 1, "\(said)")
            #expect(try FileManager.default.contentsOfDirectory(atPath: directory) == ["err"])
        }

        @Test func noFileOfASessionBecomesAStandardDescriptor() throws {
            let server = try RedisServer(), directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            // A command inherits them, closed.
            let shell = try Child(
                "bash",
                [
                    "-c",
                    """
                    exec '\(KilnRun.binary)' redis -p \(server.pid) -i 0.2 -o \(directory)/s -- sh -c 'sleep 0.5; echo told; echo told >&2' >\(directory)/out <&- 2>&-
                    """,
                ])
            #expect(shell.wait() == 1)  // of the echo that could not be written
            let session = try Session(directory: directory + "/s")
            #expect(session.record.ended == "command ended")
            #expect(try String(contentsOfFile: directory + "/out", encoding: .utf8).contains("told\n"))
            let none = try Child("bash", ["-c", "exec '\(KilnRun.binary)' redis -p \(server.pid) -d 0.5 -o \(directory)/none <&- >&- 2>&-"])
            #expect(none.wait() == 1)
            #expect(access(directory + "/none", F_OK) != 0)
        }

        @Test func whateverComesToStandInTheDirectoryIsReplacedAndNotWrittenTo() throws {
            let server = try RedisServer(), directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let session = directory + "/s", elsewhere = directory + "/elsewhere"
            try "mine".write(toFile: elsewhere, atomically: true, encoding: .utf8)
            let kiln = try KilnRun(["-p", "\(server.pid)", "-d", "2", "-o", session])
            try #require(kiln.attached())
            for name in [".session.json.partial", ".stacks.folded.partial", "flamegraph.svg"] { #expect(mkfifo("\(session)/\(name)", 0o600) == 0) }
            for name in ["stacks.folded", ".flamegraph.svg.partial"] { #expect(symlink(elsewhere, "\(session)/\(name)") == 0) }
            #expect(kiln.wait() == 0, "\(kiln.errorText)")
            #expect(try Session(directory: session).record.ended == "duration")
            #expect(try String(contentsOfFile: elsewhere, encoding: .utf8) == "mine")
            for name in try FileManager.default.contentsOfDirectory(atPath: session) {
                var status = stat()
                #expect(lstat("\(session)/\(name)", &status) == 0 && status.st_mode & S_IFMT == S_IFREG, "\(name)")
            }
            // A directory can't be replaced: that is said, and the rest is there.
            let blocked = try KilnRun(["-p", "\(server.pid)", "-d", "2", "-o", directory + "/blocked"])
            try #require(blocked.attached())
            #expect(mkdir(directory + "/blocked/stacks.folded", 0o700) == 0)
            #expect(blocked.wait() == 1)
            #expect(blocked.errorText.contains("cannot write \(directory)/blocked/stacks.folded: Is a directory"), "\(blocked.errorText)")
            let files = "session.json, commands.jsonl, syscalls.jsonl, samples.jsonl, stacks.by-command.folded, flamegraph.svg, report.html"
            #expect(blocked.outputText.contains("wrote \(directory)/blocked/: \(files)\n"))
        }

        @Test func whatIsNoFileIsNotReadAsASession() throws {
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            for make in [{ mkfifo($0, 0o600) }, { symlink("/dev/zero", $0) }, { mkdir($0, 0o700) }] as [(String) -> Int32] {
                let path = directory + "/session.json"
                #expect(make(path) == 0)
                let kiln = try KilnRun([directory], subcommand: "report")
                #expect(kiln.wait() == 1)
                #expect(kiln.errorText == "kiln: cannot read \(path): it is not a regular file. Give a directory that a session of kiln wrote.\n")
                remove(path)
            }
        }

        /// In a mount namespace without it, and in a user namespace, whose root is none to BPF.
        @Test(arguments: [["redis"], ["record"], ["trace", "redis"], ["cost"], ["doctor"]])
        func withoutProcAndInAUserNamespaceItIsSaid(command: [String]) throws {
            let server = try RedisServer(), directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let place = ["redis", "record"].contains(command[0]) ? ["-o", directory + "/s"] : []
            let arguments = Array(command.dropFirst()) + (command[0] == "doctor" ? [] : ["-p", "\(server.pid)", "-d", "2"]) + place
            let unmounted = try KilnRun(
                arguments, subcommand: command[0], wrapper: ["unshare", "-m", "sh", "-c", "mount -t tmpfs none /proc && exec \"$@\"", "sh"]
            )
            #expect(unmounted.wait() == 1)
            #expect(unmounted.errorText == "kiln: cannot read its own arguments in /proc. kiln needs the proc file system: mount -t proc proc /proc\n")
            let nested = try KilnRun(arguments, subcommand: command[0], wrapper: ["unshare", "-Ur"])
            #expect(nested.wait() == 1)
            let said = nested.outputText + nested.errorText
            #expect(said.contains("kiln runs in its own user namespace, whose root can't load BPF programs"), "\(said)")
            if command[0] != "doctor" { #expect(said.split(separator: "\n").count == 1) }
            #expect(access(directory + "/s", F_OK) != 0)
        }
    }
}
