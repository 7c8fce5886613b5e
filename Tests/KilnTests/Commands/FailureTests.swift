import Foundation
import Glibc
import TestSupport
import Testing

@testable import KilnKernel

/// What bad input gets: one line that says what to do, a status that is not 0, and nothing left behind.
struct UsageTests {
    @Test(arguments: [
        ["-d", "0"], ["-d", "-1"], ["-d", "nan"], ["-i", "0"], ["-i", "1e9"], ["-F", "-1"], ["-F", "1000000"], ["-F", "x"], ["-p", "0"],
        ["--port", "0"], ["--port", "70000"], ["--hook", "magic"], ["--nonsense"], ["--top", "21"], ["--top", "-1"],
        ["--slower-than", "10"], ["--slower-than", "0ms"], ["--slower-than", "p0"], ["--slower-than", "p100"], ["--slower-than", "pnan"], ["--compare-slow"],
        ["--command", ""], ["--client-address", "nobody"], ["--client-address", "10.0.0.1:6379"], ["--command", "GET", "-F", "0"],
        ["--errors", "--client", "-p", "1"],
    ])
    func optionsThatMakeNoSenseAreWrongUsage(arguments: [String]) throws {
        let kiln = try KilnRun(arguments)
        #expect(kiln.wait() == 64)
        #expect(kiln.errorText.hasPrefix("Error: "))
        #expect(kiln.outputText.isEmpty)
    }

    @Test func aKernelWithoutBTFIsRefusedInOneLine() {
        do {
            _ = try Capabilities.probeTypeInformation(at: "/nonexistent/vmlinux")
            Issue.record("it was accepted")
        } catch {
            #expect("\(error)" == "cannot read /nonexistent/vmlinux: this kernel has no BTF type information")
        }
    }

    @Test func anErrorOfTheKernelSaysWhatWasTriedAndWhatToDo() {
        let error = KernelError("attach tp_btf/sock_recv_length", code: EPERM)
        #expect(
            "\(error)" == "cannot attach tp_btf/sock_recv_length: EPERM (Operation not permitted). This host forbids it; `kiln doctor` lists what it allows.")
        let rejected = KernelError("load", code: EACCES, log: "0: R1=ctx\nR2 invalid mem access\nprocessed 9 insns\n-- END PROG LOAD LOG --\n")
        #expect("\(rejected)".contains("verifier: R2 invalid mem access"))
        // As Linux 5.10 says it.
        let old = KernelError("load the BPF programs of syscalls", code: EINVAL, log: "2: (85) call unknown#158\ninvalid func unknown#158\nprocessed 3 insns\n")
        #expect("\(old)" == "cannot load the BPF programs of syscalls: this kernel has no BPF helper 158. `kiln doctor` lists what this kernel lacks.")
    }
}

extension KernelTests {
    @Suite struct FailureTests {
        @Test func aProcessThatDoesNotExistIsSaid() throws {
            try expectFailure(["-p", "999999999"], saying: "999999999")
        }

        @Test func aPortNobodyListensOnIsSaid() throws {
            let port = try freePort()
            try expectFailure(["--port", "\(port)"], saying: "\(port)")
        }

        @Test func severalServersAreListedToChooseFrom() throws {
            let servers = [try RedisServer(), try RedisServer()]
            let text = try expectFailure([], saying: "Choose with --pid or --port")
            for server in servers { #expect(text.contains("pid \(server.pid)") && text.contains("port \(server.port)")) }
        }

        @Test func withoutPrivilegesTheMissingOnesAreNamed() throws {
            let server = try RedisServer()
            let kiln = try KilnRun(
                ["-p", "\(server.pid)", "-d", "1", "-o", "/tmp/kiln-never"],
                wrapper: ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
            )
            #expect(kiln.wait() == 1)
            #expect(kiln.errorText.contains("CAP_BPF"))
            #expect(kiln.errorText.split(separator: "\n").count == 1)
            #expect(access("/tmp/kiln-never", F_OK) != 0)
        }

        @Test func aDirectoryThatCanNotBeWrittenIsSaid() throws {
            let server = try RedisServer()
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            try "a file".write(toFile: directory + "/file", atomically: true, encoding: .utf8)
            try expectFailure(["-p", "\(server.pid)", "-o", directory + "/file/session"], saying: directory + "/file/session")
            // Somebody's files are not mixed with a session's.
            try expectFailure(["-p", "\(server.pid)", "-o", directory], saying: "not empty")
            #expect(try FileManager.default.contentsOfDirectory(atPath: directory) == ["file"])
            // Nor of several targets; and another session's rows stay.
            let second = try RedisServer()
            try FileManager.default.moveItem(atPath: directory + "/file", toPath: directory + "/commands.jsonl")
            for targets in [["-p", "\(server.pid)"], ["-p", "\(server.pid)", "-p", "\(second.pid)"]] {
                try expectFailure(targets + ["-o", directory], saying: "not empty")
                #expect(try FileManager.default.contentsOfDirectory(atPath: directory) == ["commands.jsonl"])
            }
        }

        @Test(arguments: zip(["redis", "redis", "record"], [1, 2, 1]))
        func sessionsThatBeginInOneSecondHaveADirectoryEach(subcommand: String, targets: Int) throws {
            let servers = try (0..<targets).map { _ in try RedisServer() }, directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            // As others leave them that began in this second, or in one of the next ones.
            let format = DateFormatter()
            format.dateFormat = "yyyyMMdd-HHmmss"
            format.timeZone = TimeZone(identifier: "UTC")
            format.locale = Locale(identifier: "en_US_POSIX")
            var taken: Set<String> = []
            for second in 0..<100 {
                let name = "kiln-redis-server-" + format.string(from: Date(timeIntervalSinceNow: Double(second)))
                try FileManager.default.createDirectory(atPath: "\(directory)/\(name)/theirs", withIntermediateDirectories: true)
                taken.insert(name)
            }
            let kiln = try KilnRun(
                servers.flatMap { ["-p", "\($0.pid)"] } + ["-d", "0.3"], subcommand: subcommand, wrapper: ["env", "-C", directory, "TZ=UTC"]
            )
            // A server without work gives `kiln record` nothing to record.
            #expect(kiln.wait() == (subcommand == "record" && kiln.errorText.contains("recorded nothing") ? 1 : 0), "\(kiln.errorText)")
            let new = Set(try FileManager.default.contentsOfDirectory(atPath: directory)).subtracting(taken)
            let name = try #require(new.first)
            #expect(new.count == 1 && name.hasSuffix("-2") && taken.contains(String(name.dropLast(2))))
            let files = try FileManager.default.contentsOfDirectory(atPath: "\(directory)/\(name)")
            #expect(targets == 1 ? files.contains("session.json") : files.count == targets)
        }

        @Test func aFullDiskEndsTheSessionInOneLine() throws {
            let server = try RedisServer()
            let directory = temporaryDirectory()
            defer { rmdir(directory) }
            try #require(mount("kiln-test", directory, "tmpfs", 0, "size=16k") == 0)
            defer { umount(directory) }
            let kiln = try KilnRun(["-p", "\(server.pid)", "-d", "20", "-i", "0.1", "-o", directory + "/s"])
            try #require(kiln.attached())
            try server.benchmark(["-t", "set,get,lpush,lpop,sadd", "-n", "20000", "-c", "5"])
            #expect(kiln.wait() == 1)
            let lines = kiln.errorText.split(separator: "\n")
            #expect(lines.count == 2 && lines[1].contains("No space left on device. Free space there"), "\(kiln.errorText)")
            // What is known is told, where it can't be kept.
            #expect(kiln.outputText.contains("Session of ") && kiln.outputText.contains("lost: "), "\(kiln.outputText)")
        }

        @Test func aProcessWithoutRedisIsSaidAtTheEnd() throws {
            let sleeper = try Child("sleep", ["60"])
            try expectFailure(["-p", "\(sleeper.pid)", "-d", "0.5"], saying: "it received no Redis command")
        }

        @Test func aFailedStartLeavesNoDirectory() throws {
            let server = try RedisServer()
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(["-p", "\(server.pid)", "-o", directory + "/s", "--", "/no/such/command"])
            #expect(kiln.wait() == 127)
            #expect(kiln.errorText.contains("/no/such/command"))
            #expect(try FileManager.default.contentsOfDirectory(atPath: directory).isEmpty)
        }

        @Test(arguments: [SIGINT, SIGTERM, SIGHUP])
        func signalsEndASessionInOrder(signal: Int32) throws {
            let server = try RedisServer()
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(["-p", "\(server.pid)", "-o", directory + "/s"])
            try #require(kiln.attached())
            try server.benchmark(["-t", "get", "-n", "1009", "-c", "1"])
            #expect(kiln.stop(signal: signal) == 0)
            #expect(try Session(directory: directory + "/s").counts["GET"] == 1009)
            let files = try FileManager.default.contentsOfDirectory(atPath: directory + "/s").sorted()
            #expect(
                files == ["commands.jsonl", "flamegraph.svg", "report.html", "session.json", "stacks.by-command.folded", "stacks.folded", "syscalls.jsonl"])
        }

        @Test func aKilledSessionLeavesItsRowsAndNothingInTheKernel() throws {
            let server = try RedisServer()
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(["-p", "\(server.pid)", "-i", "0.2", "-o", directory + "/s"])
            try #require(kiln.attached())
            let programs = try LoadedPrograms.held(by: kiln.pid)
            #expect(programs.count >= 3 && programs.allSatisfy(LoadedPrograms.exists))
            try server.benchmark(["-t", "get", "-n", "1009", "-c", "1"])
            #expect(eventually { (try? Session(directory: directory + "/s"))?.callsInRows("GET") == 1009 })
            #expect(kiln.stop(signal: SIGKILL) == 128 + SIGKILL)
            // The kernel frees programs in the background.
            #expect(eventually { !programs.contains(where: LoadedPrograms.exists) })
            let session = try Session(directory: directory + "/s")
            #expect(session.callsInRows("GET") == 1009)
            #expect(session.record.ended == "running")
        }

        @Test func theTargetsExitEndsTheSessionWithWhatItHad() throws {
            let server = try RedisServer()
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(["-p", "\(server.pid)", "-F", "499", "-o", directory + "/s"])
            try #require(kiln.attached())
            try server.benchmark(["-t", "get", "-n", "100003", "-c", "10"])
            kill(server.pid, SIGKILL)
            #expect(kiln.wait() == 0)
            let session = try Session(directory: directory + "/s")
            #expect(session.counts["GET"] == 100_003)
            #expect(session.record.ended == "target exited")
            // Names are still found: the mapped files were open.
            #expect(session.folded.contains("tcp_recvmsg_[k]"))
            #expect(session.folded.contains("write"))
        }

        @Test func aCommandBehindTheDashesBoundsTheSession() throws {
            let server = try RedisServer()
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(["--port", "\(server.port)", "-o", directory + "/s", "--", "sleep", "0.7"])
            #expect(kiln.wait() == 0)
            let record = try Session(directory: directory + "/s").record
            #expect(record.ended == "command ended")
            #expect(record.durationS >= 0.6 && record.durationS < 5)
        }

        @Test func aCommandThatDoesNotEndIsKilledWithTheSession() throws {
            let server = try RedisServer()
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let started = Date()
            let kiln = try KilnRun(
                ["-p", "\(server.pid)", "-d", "0.5", "-o", directory + "/s", "--", "sh", "-c", "trap '' TERM; while :; do sleep 1; done"]
            )
            #expect(kiln.wait() == 0)
            #expect(Date().timeIntervalSince(started) < 30)
        }

        @Test func anExistingDirectoryStaysWhenTheStartFails() throws {
            let server = try RedisServer()
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let second = try RedisServer()
            for (output, others) in [(directory, []), (directory + "/a/b/c", []), (directory + "/a/b/c", ["-p", "\(second.pid)"])] {
                let kiln = try KilnRun(["-p", "\(server.pid)", "-o", output] + others + ["--", "/no/such/command"])
                #expect(kiln.wait() == 127)
                #expect(try FileManager.default.contentsOfDirectory(atPath: directory).isEmpty)
            }
        }

        @Test func outputThatCanNotBeWrittenIsSaid() throws {
            let server = try RedisServer()
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let shell = try Child(
                "sh", ["-c", "exec '\(KilnRun.binary)' redis -p \(server.pid) -d 0.5 -o \(directory)/s > /dev/full"], errors: directory + "/err"
            )
            #expect(shell.wait() == 1)
            #expect(try String(contentsOfFile: directory + "/err", encoding: .utf8).contains("cannot write standard output"))
            #expect(try Session(directory: directory + "/s").record.ended == "error")
        }

        @Test func aReaderThatLeavesEndsTheSessionInOrder() throws {
            let server = try RedisServer()
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let load = try Child("redis-benchmark", ["-p", "\(server.port)", "-q", "-l", "-t", "get", "-c", "4"])
            let shell = try Child("sh", ["-c", "'\(KilnRun.binary)' redis -p \(server.pid) -i 0.1 -d 20 -o \(directory)/s | head -1"])
            #expect(shell.wait() == 0)
            #expect(eventually { (try? Session(directory: directory + "/s").record.ended) == "output closed" })
            // The interval that nobody read is in the rows, and in the totals.
            let session = try Session(directory: directory + "/s")
            #expect(try #require(session.counts["GET"]) > 0 && session.counts["GET"] == session.callsInRows("GET"))
            _ = consume load
        }

        @Test func filesBelongToWhoCalledSudo() throws {
            let server = try RedisServer()
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(
                ["-p", "\(server.pid)", "-d", "0.3", "-o", directory + "/a/s"], wrapper: ["env", "SUDO_UID=65534", "SUDO_GID=65533"]
            )
            #expect(kiln.wait() == 0)
            for path in ["/a", "/a/s", "/a/s/session.json", "/a/s/commands.jsonl", "/a/s/syscalls.jsonl", "/a/s/stacks.folded", "/a/s/flamegraph.svg"] {
                var status = stat()
                try #require(stat(directory + path, &status) == 0)
                #expect(status.st_uid == 65534 && status.st_gid == 65533, "\(path)")
            }
        }

        @Test func jsonLinesAreTheRowsOfTheFiles() throws {
            let server = try RedisServer()
            let session = try Session.recording(pid: server.pid, ["--json"]) {
                try server.benchmark(["-t", "get", "-n", "1009", "-c", "1"])
            }
            let lines = try session.output.split(separator: "\n").map {
                try #require(try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])
            }
            let calls = lines.filter { $0["command"] as? String == "GET" && $0["phase"] as? String == "service" }.compactMap { $0["calls"] as? Int }
            #expect(calls.reduce(0, +) == 1009)
            #expect(lines.contains { $0["syscall"] as? String == "write" })
            #expect(lines.contains { $0["lost"] != nil })
        }

        @discardableResult
        private func expectFailure(_ arguments: [String], saying text: String) throws -> String {
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(arguments.contains("-o") ? arguments : arguments + ["-o", directory + "/s"])
            #expect(kiln.wait() == 1)
            #expect(kiln.errorText.contains(text), "\(kiln.errorText)")
            #expect(!kiln.errorText.contains("Fatal error"))
            return kiln.errorText
        }
    }
}
