import Foundation
import Glibc
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
            #expect(errors.first?.difference == "the server has 1 more: errors inside of scripts (2 ran)")
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
            #expect(missing.errorText.contains("session.json") && missing.errorText.contains("Give a directory"))
        }
    }
}
