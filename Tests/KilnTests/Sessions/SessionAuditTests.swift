import Foundation
import Glibc
import TestSupport
import Testing

extension KernelTests {
    /// --audit and `kiln report` on real sessions.
    @Suite struct SessionAuditTests {
        @Test func anAuditFindsTheServersCountsAndNamesWhatScriptsAdd() throws {
            let server = try RedisServer()
            let session = try Session.recording(pid: server.pid, ["--audit"]) {
                let client = try Connection(port: server.port)
                for _ in 0..<101 { _ = try client.reply(to: "GET", "x") }
                _ = try client.reply(to: "EVAL", "redis.call('GET', 'x') redis.call('GET', 'x') return 1", "0")
                try client.send(request("NOSUCH") + request("MULTI") + request("INCR", "n") + request("DISCARD"))
                _ = try client.reply(to: "EVAL", "redis.pcall('LPUSH', 's') return 1", "0")
                try client.settle()
            }
            let rows = try #require(session.record.audit).commands
            func row(_ command: String) throws -> String? { try #require(rows.first { $0.command == command }).difference }
            #expect(try row("GET") == "the server has 2 more: calls made by scripts (2 ran)")
            #expect(try row("EVAL") == nil)
            #expect(try row("ECHO") == nil)
            #expect(try row("NOSUCH") == "the server has 1 fewer: unknown to it")
            #expect(try row("INCR") == "the server has 1 fewer: queued and discarded")
            let errors = try #require(session.record.audit).errors
            #expect(errors.map(\.word) == ["ERR"])
            #expect(errors.first?.difference == "the server has 1 more: errors inside scripts (2 ran)")
            #expect(session.output.contains("AUDIT"))
            #expect(session.output.contains("and 1 of 1 errors differ, for the reasons given"))
            #expect(session.output.contains("exec: ") && session.output.contains(" longer than usec_per_call (median of "))
        }

        @Test func anErrorThatOnlyTheServerSawIsInTheVerdict() throws {
            let server = try RedisServer()
            let session = try Session.recording(pid: server.pid, ["--audit"]) {
                let client = try Connection(port: server.port), quiet = try Connection(port: server.port)
                for _ in 0..<7 { _ = try client.reply(to: "LPUSH", "x") }
                try quiet.send(request("CLIENT", "REPLY", "OFF") + request("LPUSH", "x") + request("LPUSH", "x") + request("CLIENT", "REPLY", "ON"))
                try quiet.receive(until: "+OK\r\n")
                try client.settle()
            }
            let audit = try #require(session.record.audit), error = try #require(audit.errors.first)
            #expect(audit.commands.allSatisfy { $0.difference == nil })
            #expect(audit.errors.count == 1 && error.kilnMost == 7 && error.server == 9)
            #expect(error.difference == "the server has 2 more: errors to clients that turned replies off (CLIENT REPLY)")
            #expect(session.output.contains("audit: 1 of 1 errors differ, for the reasons given"))
        }

        @Test func theAuditsPasswordComesFromAFileOrTheEnvironment() throws {
            let server = try RedisServer(["--user", "auditor", "on", ">secret of a test", "+info", "~*"])
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            try "secret of a test\n".write(toFile: directory + "/password", atomically: true, encoding: .utf8)
            let named = ["--audit", "--audit-user", "auditor"]
            let session = try Session.recording(pid: server.pid, named + ["--audit-password-file", directory + "/password"]) {}
            #expect(session.record.audit != nil)
            let kiln = try KilnRun(
                ["-p", "\(server.pid)", "-d", "0.3", "-o", directory + "/s"] + named, wrapper: ["env", "REDISCLI_AUTH=not-the-one"]
            )
            #expect(kiln.wait() == 1)
            #expect(kiln.errorText.contains("refuses the password"))
            #expect(!kiln.errorText.contains("not-the-one"))
            #expect(access(directory + "/s", F_OK) != 0)
        }

        /// What the session of a server that can't be asked says; it leaves nothing behind.
        private func refusal(pid: Int32, environment: [String] = []) throws -> String {
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(
                ["-p", "\(pid)", "-d", "0.3", "-F", "0", "--no-syscalls", "-o", directory + "/s", "--audit"],
                wrapper: ["env", "-u", "REDISCLI_AUTH"] + environment
            )
            #expect(kiln.wait() == 1)
            #expect(kiln.outputText.isEmpty)
            #expect(access(directory + "/s", F_OK) != 0)
            let lines = kiln.errorText.split(separator: "\n")
            #expect(lines.count == 1)
            return lines.last.map(String.init) ?? ""
        }

        private static let credentials = "REDISCLI_AUTH or --audit-password-file"

        @Test(
            arguments: [
                (
                    ["--rename-command", "INFO", "ask"], [],
                    "doesn't answer INFO for --audit: it has no command of this name. It may have been renamed "
                        + "(`rename-command` in the server's configuration): leave --audit out."
                ),
                (["--requirepass", "of a test"], [], "doesn't answer INFO for --audit: it requires a password. Give it in \(credentials)."),
                (
                    ["--user", "default", "on", "nopass", "+ping", "~*"], [],
                    "doesn't answer INFO for --audit: the user may not run INFO. Allow it "
                        + "(`ACL SETUSER name +info`), or give another one in --audit-user, with the password in \(credentials)."
                ),
                (
                    [], ["REDISCLI_AUTH=of-a-test"],
                    "doesn't answer AUTH for --audit: it refuses to authenticate; it may have no password. Remove the one in \(credentials)."
                ),
            ] as [([String], [String], String)])
        func aServerThatRefusesToTellGetsALineOfItsOwn(arguments: [String], environment: [String], line: String) throws {
            let server = try RedisServer(arguments)
            #expect(try refusal(pid: server.pid, environment: environment) == "kiln: pid \(server.pid) (redis-server) \(line)")
        }

        @Test func aFullServerAndABusyOneHaveTheirLines() throws {
            let server = try RedisServer(["--busy-reply-threshold", "10"]), client = try Connection(port: server.port)
            _ = try client.reply(to: "CONFIG", "SET", "maxclients", "1")
            #expect(
                try refusal(pid: server.pid) == "kiln: pid \(server.pid) (redis-server) doesn't answer PING for --audit: it has reached its limit of clients "
                    + "(`maxclients`). Close some, or raise the limit (`CONFIG SET maxclients`).")
            _ = try client.reply(to: "CONFIG", "SET", "maxclients", "100")
            let watching = try Connection(port: server.port)
            try client.send(request("EVAL", "while true do end", "0"))
            guard eventually({ (try? watching.reply(to: "PING"))?.hasPrefix("-BUSY") == true }) else { throw TestFailure("it is not busy") }
            #expect(
                try refusal(pid: server.pid)
                    == "kiln: pid \(server.pid) (redis-server) doesn't answer INFO for --audit: it is busy with a script or a function. "
                    + "Try again when that has ended, or end it (`SCRIPT KILL`, `FUNCTION KILL`).")
            _ = try watching.reply(to: "SCRIPT", "KILL")
        }

        /// A server in this process that gives each connection one answer.
        @Test(arguments: [
            ("-LOADING Redis is loading the dataset in memory", "it is still loading its data. Try again when it has (`loading:0` in INFO)."),
            (
                "-DENIED Redis is running in protected mode",
                "it is in protected mode, and answers only connections from a loopback address. "
                    + "Let it listen on one (`bind 127.0.0.1`) or on a unix socket (`unixsocket`)."
            ),
            ("-ODD\u{1b} of a test", "its answer begins with ODD\\x1b. Look at the server's log, or leave --audit out."),
        ])
        func whatAServerSaysInPlaceOfItsStatisticsIsTold(answer: String, line: String) throws {
            let python = try PythonClient(
                port: 0,
                """
                listener = socket.create_server(("127.0.0.1", 0))
                tell("ready")
                while True:
                    client, _ = listener.accept()
                    while client.recv(65536): client.sendall(\(pythonText(answer + "\r\n")))
                """)
            _ = try python.told("ready")
            #expect(try refusal(pid: python.pid).hasSuffix(" for --audit: " + line))
        }

        private func pythonText(_ text: String) -> String { "bytes([" + text.utf8.map { "\($0)" }.joined(separator: ",") + "])" }

        @Test func encryptedPortsArePassedOverAndAServerWithoutAnotherIsRefused() throws {
            let keys = try TLSKeys(), server = try RedisServer(keys.arguments), client = try Connection(port: server.port)
            // Behind the encrypted one, where kiln looks next, and above what the kernel gives away.
            let plain = UInt16.random(in: 61001...64999)
            #expect(try client.reply(to: "CONFIG", "SET", "port", "\(plain)") == "+OK\r\n")
            try FileManager.default.removeItem(atPath: server.unixSocket)
            let session = try Session.recording(pid: server.pid, ["--audit", "-F", "0", "--no-syscalls"]) { try Connection(port: plain).settle() }
            #expect(session.record.audit != nil)
            #expect(try client.reply(to: "CONFIG", "SET", "port", "0") == "+OK\r\n")
            #expect(
                try refusal(pid: server.pid) == "kiln: pid \(server.pid) (redis-server) accepts only encrypted connections, and --audit needs a plain one. "
                    + "Give the server a plain port (`port`) or a unix socket (`unixsocket`), or leave --audit out.")
        }

        @Test func theCommandStartsWhenTheServerHasBeenAsked() throws {
            let server = try RedisServer(), directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            // What can't answer keeps the command waiting.
            kill(server.pid, SIGSTOP)
            defer { kill(server.pid, SIGCONT) }
            let kiln = try KilnRun([
                "-p", "\(server.pid)", "-o", directory + "/s", "--audit", "-F", "0", "--no-syscalls", "--", "sh", "-c",
                "touch \(directory)/started; redis-cli -p \(server.port) SET a b >/dev/null",
            ])
            /// It holds a socket, and waits for an answer.
            func isAsking() -> Bool {
                let descriptors = "/proc/\(kiln.pid)/fd"
                return (try? FileManager.default.contentsOfDirectory(atPath: descriptors))?.contains { name in
                    (try? FileManager.default.destinationOfSymbolicLink(atPath: "\(descriptors)/\(name)"))?.hasPrefix("socket:") == true
                } == true
            }
            guard eventually({ isAsking() || !kiln.isRunning }), kiln.isRunning else { throw TestFailure("kiln did not ask: \(kiln.errorText)") }
            // A command that had been started would have come so far.
            usleep(300_000)
            #expect(access(directory + "/started", F_OK) != 0)
            kill(server.pid, SIGCONT)
            #expect(kiln.wait() == 0)
            #expect(access(directory + "/started", F_OK) == 0)
            let set = try #require(try Session(directory: directory + "/s").record.audit).commands.first { $0.command == "SET" }
            #expect(set?.kilnLeast == 1 && set?.kilnMost == 1 && set?.serverCalls == 1)
        }

        @Test func aReportIsWhatTheSessionSaidAtItsEnd() throws {
            let server = try RedisServer()
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            for name in ["a", "b"] {
                let kiln = try KilnRun(["-p", "\(server.pid)", "-i", "0.2", "-o", "\(directory)/\(name)"])
                try #require(kiln.attached())
                for _ in 0..<2 { try server.benchmark(["-t", "get", "-n", "30011", "-c", "5"] + (name == "b" ? ["-P", "8"] : [])) }
                #expect(kiln.stop() == 0)
                let report = try KilnRun(["\(directory)/\(name)"], subcommand: "report")
                #expect(report.wait() == 0)
                let end = try #require(kiln.outputText.range(of: "Session of ")).lowerBound
                let said = kiln.outputText[end...].split(separator: "\n").filter { !$0.hasPrefix("wrote ") }
                #expect(report.outputText.split(separator: "\n") == said)
            }
            let comparison = try KilnRun(["\(directory)/a", "\(directory)/b"], subcommand: "report")
            #expect(comparison.wait() == 0)
            #expect(comparison.outputText.contains("numbers"))
            let missing = try KilnRun([directory], subcommand: "report")
            #expect(missing.wait() == 1)
            #expect(missing.errorText.contains("session.json") && missing.errorText.contains("Give one of them: \(directory)/a, \(directory)/b."))
        }
    }
}
