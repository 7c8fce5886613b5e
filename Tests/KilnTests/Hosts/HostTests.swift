import Foundation
import Glibc
import TestSupport
import Testing

@testable import kiln

/// A run of `kiln --host there …`.
private func run(_ ssh: SSHServer, _ arguments: [String], options: [String] = [], wrapper: [String] = []) throws -> KilnRun {
    try KilnRun(["there", "--ssh-config", ssh.configuration] + options + arguments, subcommand: "--host", wrapper: wrapper)
}

/// What kiln leaves in a directory for temporary files.
private func leftOver(_ directory: TemporaryDirectory) -> [String] {
    ((try? FileManager.default.contentsOfDirectory(atPath: directory.url.path)) ?? ["?"]).filter { $0.hasPrefix("kiln") }
}

extension KernelTests {
    /// Another host: a real sshd on loopback, or in a network namespace.
    @Suite(.serialized, .enabled(if: SSHServer.canRun, "sshd, ssh or ssh-keygen is missing"))
    struct HostTests {
        private let temporary: TemporaryDirectory
        private let programs: TemporaryDirectory

        /// Where sshd starts programs, kiln is installed.
        init() throws {
            temporary = try TemporaryDirectory()
            programs = try TemporaryDirectory()
            try FileManager.default.createSymbolicLink(atPath: programs.url.path + "/kiln", withDestinationPath: KilnRun.binary)
        }

        private func environment(installed: Bool = true) -> [String] {
            let path = (installed ? programs.url.path + ":" : "") + "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
            return ["SetEnv PATH=\(path) TMPDIR=\(temporary.url.path)"]
        }

        /// Counts, files and words are those of a session here.
        @Test(arguments: [true, false]) func aSessionIsAsItWouldBeHere(installed: Bool) throws {
            let server = try RedisServer(), ssh = try SSHServer(extra: environment(installed: installed)), here = try TemporaryDirectory()
            let output = here.url.path + "/session"
            let kiln = try run(ssh, ["redis", "--port", "\(server.port)", "-i", "0.5", "-o", output], options: installed ? [] : ["--binary", KilnRun.binary])
            guard kiln.attached() else { throw TestFailure("kiln did not attach: \(kiln.errorText)") }
            try server.benchmark(["-c", "5", "-n", "10007", "get", "nothing"])
            // The rows of the first intervals are here before the session ends.
            let rows = output + "/commands.jsonl"
            #expect(eventually(within: 10) { (try? String(contentsOfFile: rows, encoding: .utf8))?.contains("GET") == true })
            #expect(kiln.stop() == 0, "\(kiln.errorText)")
            let session = try Session(directory: output, output: kiln.outputText)
            #expect(session.counts["GET"] == 10_007 && session.callsInRows("GET") == 10_007)
            #expect(session.record.ended == "interrupted")
            #expect(kiln.outputText.contains("\nGET ") && kiln.outputText.contains("wrote \(output)/: session.json, "))
            for file in ["stacks.folded", "flamegraph.svg", "report.html"] { #expect(access("\(output)/\(file)", R_OK) == 0, "\(file)") }
            #expect(leftOver(temporary) == [])
        }

        /// Through a jump host, and where the user's login shell is not POSIX's.
        @Test(arguments: ["jump host", "tcsh", "fish"]) func whatLiesBetweenDoesNotMatter(_ between: String) throws {
            let shell = between == "jump host" ? nil : between
            // sshd gives this command to root's own shell.
            let forced = shell.map { ["ForceCommand exec \($0) -c \"$SSH_ORIGINAL_COMMAND\""] } ?? []
            let server = try RedisServer(), ssh = try SSHServer(extra: environment(installed: false) + forced), here = try TemporaryDirectory()
            let kiln = try KilnRun(
                [
                    shell == nil ? "behind" : "there", "--ssh-config", ssh.configuration, "--binary", KilnRun.binary, "redis", "--port", "\(server.port)",
                    "-o", here.url.path + "/s",
                ],
                subcommand: "--host")
            guard kiln.attached() else { throw TestFailure("kiln did not attach: \(kiln.errorText)") }
            try server.benchmark(["-c", "5", "-n", "1009", "get", "nothing"])
            #expect(kiln.stop() == 0, "\(kiln.errorText)")
            #expect(try Session(directory: here.url.path + "/s", output: kiln.outputText).counts["GET"] == 1009)
            #expect(leftOver(temporary) == [])
        }

        @Test func anotherProgramThanKilnIsRefusedInOneLine() throws {
            let ssh = try SSHServer(extra: environment(installed: false))
            let kiln = try run(ssh, ["doctor"], options: ["--binary", "/bin/true"])
            #expect(kiln.wait() == 1)
            let lines = kiln.errorText.split(separator: "\n")
            #expect(lines.count == 1 && lines[0].contains(": the program that was sent did not start as kiln "), "\(kiln.errorText)")
            #expect(leftOver(temporary) == [])
        }

        @Test func eachSubcommandRunsThere() throws {
            let server = try RedisServer(), ssh = try SSHServer(extra: environment()), here = try TemporaryDirectory()
            let load = try Child("redis-benchmark", ["-p", "\(server.port)", "-c", "4", "-n", "100000000", "-q", "-t", "get"])
            defer { kill(load.pid, SIGKILL) }
            let pid = "\(server.pid)", port = "\(server.port)"
            let runs: [([String], String)] = [
                (["record", "-p", pid, "-d", "1", "-o", here.url.path + "/record"], "redis-server"),
                (["syscalls", "-p", pid, "-d", "1"], "epoll_wait"),
                (["functions", "-p", pid, "-d", "1", "-i", "1", "dictFind", "-o", here.url.path + "/functions"], "dictFind"),
                (["trace", "redis", "--port", port, "-d", "1", "--limit", "5"], "GET"),
                (["trace", "syscalls", "-p", pid, "-d", "1", "--limit", "5"], "redis-server "),
                (["cost", "--port", port, "-d", "5", "--window", "0.3"], "CPU time a command"),
                (["doctor"], "kiln redis can run here"),
            ]
            for (arguments, expected) in runs {
                let kiln = try run(ssh, arguments), status = kiln.wait()
                // Uneven traffic is a result of `cost`, too.
                #expect(status == 0 || arguments[0] == "cost", "\(arguments): \(kiln.errorText)")
                #expect(kiln.outputText.contains(expected), "\(arguments): \(kiln.outputText)\n\(kiln.errorText)")
            }
            #expect(access(here.url.path + "/record/stacks.folded", R_OK) == 0)
            #expect(leftOver(temporary) == [])
        }

        /// Standard output, standard error and the exit status stay apart.
        @Test func streamsAndStatusAreThoseOfTheSubcommand() throws {
            let server = try RedisServer(), ssh = try SSHServer(extra: environment()), here = try TemporaryDirectory()
            let good = try run(ssh, ["redis", "--port", "\(server.port)", "--json", "-o", here.url.path + "/s", "--", "sh", "-c", "sleep 0.5; exit 7"])
            #expect(good.wait() == 7)
            #expect(good.outputText.split(separator: "\n").allSatisfy { $0.hasPrefix("{") }, "\(good.outputText)")
            #expect(good.errorText.contains(": attached to") && good.errorText.contains("ended with status 7"))
            let bad = try run(ssh, ["redis", "--port", "1", "-o", here.url.path + "/none"])
            #expect(bad.wait() == 1 && bad.outputText == "" && bad.errorText.contains("port 1"))
            #expect(access(here.url.path + "/none", F_OK) != 0, "a session that didn't begin has left a directory")
        }

        /// What is wrong with the arguments is said before ssh is started.
        @Test func wrongArgumentsNeedNoConnection() throws {
            for arguments in [["redis", "--frequency", "-1"], ["redis", "--no-such"], ["flamegraph", "x"], ["rediss"]] {
                let kiln = try KilnRun(["nowhere.invalid"] + arguments, subcommand: "--host")
                #expect(kiln.wait() == 64 && !kiln.errorText.contains("nothing was started"), "\(arguments): \(kiln.errorText)")
            }
        }

        /// Otherwise this host would be observed.
        @Test(arguments: [["redis", "--host", "x"], ["doctor", "--host=x"], ["record", "--all", "--sudo"]])
        func hostsStandBeforeTheSubcommand(_ arguments: [String]) throws {
            let kiln = try KilnRun(Array(arguments.dropFirst()), subcommand: arguments[0])
            #expect(kiln.wait() == 64 && kiln.errorText.contains("stands before the subcommand"), "\(kiln.errorText)")
        }

        @Test func anotherHostKeyIsRefused() throws {
            let ssh = try SSHServer(extra: environment())
            try ssh.forgetKey()
            let kiln = try run(ssh, ["doctor"])
            #expect(kiln.wait() == 1)
            #expect(kiln.errorText.contains("Host key verification failed") && kiln.errorText.contains("kiln: there: nothing was started there"))
            #expect(!ssh.log.contains("Accepted"))
        }

        /// ssh, or kiln here, is killed.
        @Test(arguments: ["ssh", "kiln"]) func theSessionEndsWithItsConnection(_ killed: String) throws {
            let server = try RedisServer(), ssh = try SSHServer(extra: environment()), here = try TemporaryDirectory()
            let kiln = try run(ssh, ["redis", "--port", "\(server.port)", "-i", "0.3", "-o", here.url.path + "/s"])
            guard kiln.attached() else { throw TestFailure("kiln did not attach: \(kiln.errorText)") }
            let session = try #require(try sessionProcess(of: server))
            let held = try LoadedPrograms.held(by: session)
            #expect(!held.isEmpty)
            sleep(2)
            kill(killed == "kiln" ? kiln.pid : try #require(try child(named: "ssh", of: kiln.pid)), SIGKILL)
            #expect(eventually(within: 5) { held.allSatisfy { !LoadedPrograms.exists($0) } })
            #expect(eventually(within: 5) { leftOver(temporary) == [] })
            guard killed == "ssh" else { return }
            #expect(kiln.wait() == 1)
            #expect(kiln.errorText.contains("the connection was lost after") && kiln.errorText.contains("has what had arrived: commands.jsonl"))
        }

        /// A command that ignores requests to end.
        @Test func aStubbornCommandEndsWithTheConnection() throws {
            let ssh = try SSHServer(extra: environment()), here = try TemporaryDirectory(), length = "61.0\(getpid())"
            let kiln = try run(ssh, ["record", "-o", here.url.path + "/s", "--", "sh", "-c", "trap '' TERM INT; sleep \(length); sleep \(length)"])
            func sleeps() -> Bool { (try? Child("pgrep", ["-f", "^sleep \(length)"]).wait()) == 0 }
            #expect(eventually { sleeps() })
            kill(try #require(try child(named: "ssh", of: kiln.pid)), SIGKILL)
            #expect(eventually(within: 10) { !sleeps() })
            #expect(eventually(within: 5) { leftOver(temporary) == [] })
        }

        /// The network is cut, and no packet says so.
        @Test(.enabled(if: program("ip") != nil, "ip is missing")) func aCutNetworkEndsTheSession() throws {
            let network = try CutNetwork(), server = try RedisServer(command: network.inside + ["redis-server"], bind: [network.there], hidden: true)
            let ssh = try SSHServer(address: network.there, wrapper: network.inside, extra: environment()), here = try TemporaryDirectory()
            let kiln = try run(ssh, ["redis", "-p", "\(server.pid)", "-i", "0.3", "-o", here.url.path + "/s"])
            guard kiln.attached() else { throw TestFailure("kiln did not attach: \(kiln.errorText)") }
            let session = try #require(try sessionProcess(of: server))
            let held = try LoadedPrograms.held(by: session)
            sleep(2)
            try network.cut()
            // Five seconds, and what a busy machine adds.
            #expect(eventually(within: 6) { held.allSatisfy { !LoadedPrograms.exists($0) } })
            #expect(eventually(within: 5) { leftOver(temporary) == [] })
            #expect(kiln.wait() == 1)
            #expect(kiln.errorText.contains("the connection was lost after") && access(here.url.path + "/s/commands.jsonl", R_OK) == 0)
        }

        @Test func keptFilesStay() throws {
            let server = try RedisServer(), ssh = try SSHServer(extra: environment()), here = try TemporaryDirectory()
            let kiln = try run(ssh, ["redis", "--port", "\(server.port)", "-d", "1", "-o", here.url.path + "/s"], options: ["--keep"])
            #expect(kiln.wait() == 0, "\(kiln.errorText)")
            let kept = leftOver(temporary)
            #expect(kept.count == 1 && kiln.errorText.contains("there: the files stay in \(temporary.url.path)/\(kept[0])/session"))
            #expect(
                try FileManager.default.contentsOfDirectory(atPath: "\(temporary.url.path)/\(kept[0])/session").sorted()
                    == FileManager.default.contentsOfDirectory(atPath: here.url.path + "/s").sorted())
        }

        /// There is no room for the session's files, here or there.
        @Test(arguments: ["here", "there"]) func aFullDiskIsOneLine(_ place: String) throws {
            let full = try SmallDisk(megabytes: 1), server = try RedisServer(), here = try TemporaryDirectory()
            let elsewhere = ["SetEnv PATH=\(programs.url.path):/usr/sbin:/usr/bin:/sbin:/bin TMPDIR=\(full.path)"]
            let ssh = try SSHServer(extra: place == "here" ? environment() : elsewhere)
            let kiln = try run(
                ssh, ["redis", "--port", "\(server.port)", "-i", "0.1", "-o", (place == "here" ? full.path : here.url.path) + "/s", "-d", "20"])
            guard kiln.attached() else { throw TestFailure("kiln did not attach: \(kiln.errorText)") }
            try full.fill()
            try server.benchmark(["-c", "5", "-n", "10000"])
            #expect(kiln.wait() == 1)
            #expect(kiln.errorText.contains("No space left on device"), "\(kiln.errorText)")
            #expect(leftOver(temporary) == [])
        }

        /// Several hosts: one table, a directory each.
        @Test func severalHostsAreOneTable() throws {
            let servers = try [RedisServer(), RedisServer()], ssh = try SSHServer(users: ["root"], extra: environment()), here = try TemporaryDirectory()
            for server in servers { try server.benchmark(["-c", "1", "-n", "1", "ping"]) }
            let runs = try ["redis", "syscalls"].map { subcommand in
                let kiln = try KilnRun(
                    [
                        "there", "--host", "root-there", "--ssh-config", ssh.configuration, subcommand, "-p", "\(servers[0].pid)", "-o",
                        "\(here.url.path)/\(subcommand)",
                    ],
                    subcommand: "--host")
                let attached = eventually { kiln.errorText.components(separatedBy: ": attached to").count == 3 || !kiln.isRunning }
                guard attached, kiln.isRunning else { throw TestFailure("kiln did not attach: \(kiln.errorText)") }
                return kiln
            }
            try servers[0].benchmark(["-c", "1", "-n", "100", "get", "x"])
            for (kiln, row) in zip(runs, [" GET  ", " epoll_wait  "]) {
                #expect(kiln.stop() == 0, "\(kiln.errorText)")
                let rows = kiln.outputText.split(separator: "\n").filter { $0.contains(row) }
                #expect(rows.contains { $0.hasPrefix("there ") } && rows.contains { $0.hasPrefix("root-there ") }, "\(kiln.outputText)")
            }
            for host in ["there", "root-there"] { #expect(try Session(directory: "\(here.url.path)/redis/\(host)").counts["GET"] == 100) }
        }

        /// The process that has attached programs to a server.
        private func sessionProcess(of server: RedisServer) throws -> Int32? {
            try FileManager.default.contentsOfDirectory(atPath: "/proc").compactMap { Int32($0) }.first { pid in
                let words = (try? String(contentsOfFile: "/proc/\(pid)/cmdline", encoding: .utf8))?.split(separator: "\0").map(String.init) ?? []
                return words.first == "/proc/self/exe" && (words.contains("\(server.port)") || words.contains("\(server.pid)"))
            }
        }

        private func child(named name: String, of parent: Int32) throws -> Int32? {
            try String(contentsOfFile: "/proc/\(parent)/task/\(parent)/children", encoding: .utf8).split(separator: " ").compactMap { Int32($0) }.first { pid in
                (try? String(contentsOfFile: "/proc/\(pid)/comm", encoding: .utf8)) == name + "\n"
            }
        }
    }
}

/// A network namespace with a cable that can be cut.
private final class CutNetwork {
    private let name = "kiln-test-\(getpid())", cable = "kiln\(getpid() % 100_000)"
    let there: String
    /// The words before a command that runs in it.
    let inside: [String]

    init() throws {
        let network = "10.\(200 + Int(getpid()) % 50).\(Int(getpid()) / 50 % 250)"
        there = network + ".2"
        inside = ["ip", "netns", "exec", name]
        for words in [
            ["netns", "add", name], ["link", "add", cable, "type", "veth", "peer", "name", "inner", "netns", name],
            ["addr", "add", network + ".1/24", "dev", cable], ["link", "set", cable, "up"],
            ["-n", name, "addr", "add", there + "/24", "dev", "inner"], ["-n", name, "link", "set", "inner", "up"], ["-n", name, "link", "set", "lo", "up"],
        ] { _ = try Child.output(of: ["ip"] + words) }
    }

    func cut() throws { _ = try Child.output(of: ["ip", "link", "set", cable, "down"]) }

    deinit {
        _ = try? Child.output(of: ["ip", "link", "del", cable])
        _ = try? Child.output(of: ["ip", "netns", "del", name])
    }
}

/// A file system of a few megabytes.
private final class SmallDisk {
    private let directory = temporaryDirectory()
    var path: String { directory }

    init(megabytes: Int) throws { _ = try Child.output(of: ["mount", "-t", "tmpfs", "-o", "size=\(megabytes)m", "none", directory]) }

    func fill() throws { _ = try Child("sh", ["-c", "cat /dev/zero >\(directory)/fill"]).wait() }

    deinit {
        _ = try? Child.output(of: ["umount", "-l", directory])
        rmdir(directory)
    }
}
