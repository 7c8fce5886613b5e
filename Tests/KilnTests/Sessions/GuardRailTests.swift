import Foundation
import Glibc
import TestSupport
import Testing

extension KernelTests {
    /// A session limits what it costs, how long it runs, and what it does to another one.
    @Suite struct GuardRailTests {
        /// A budget that nothing can hold is not a reason to end: as little as possible is watched.
        @Test func aSessionAboveItsBudgetWatchesLess() throws {
            let server = try RedisServer()
            let load = try Child("redis-benchmark", ["-p", "\(server.port)", "-q", "-l", "-t", "get", "-c", "4"])
            let session = try Session.recording(pid: server.pid, ["--max-cost", "0.001"]) { try letWork(server.pid, seconds: 3) }
            _ = consume load
            let record = session.record, limit = try #require(record.costLimit)
            #expect(record.ended == "interrupted")
            #expect(limit.limitPercent == 0.001)
            let step = try #require(limit.steps.first)
            #expect(step.step == "1.0 % of the time, 1/4 of the samples, no system calls" && step.measuredPercent > 0.001 && step.measuredPercent < 100)
            #expect(session.output.contains(step.step))
            #expect(record.syscalls?.isEmpty ?? true)
            // As many samples are expected as at the frequencies that there were: fewer than at the first one all the time.
            #expect(Double(try #require(record.samples.onCPU.expected)) < record.cost.targetCPUS * 99)
        }

        @Test(arguments: [["--max-cost", "5"], ["--bpf-statistics"]])
        func whereTheKernelKeepsNoRunTimesALimitIsRefusedBeforeAnythingIsAttached(options: [String]) throws {
            let server = try RedisServer()
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(["-p", "\(server.pid)", "-o", directory + "/s"] + options, wrapper: Capability.withoutAdministration)
            #expect(kiln.wait() == 1)
            #expect(kiln.errorText.contains("which \(options[0]) needs") && kiln.errorText.contains("CAP_SYS_ADMIN"))
            #expect(kiln.errorText.split(separator: "\n").count == 1, "\(kiln.errorText)")
            #expect(access(directory + "/s", F_OK) != 0)
        }

        @Test(arguments: [["redis"], ["trace", "redis"], ["record"]])
        func aSessionWithoutATerminalSaysWhenItEnds(subcommand: [String]) throws {
            let server = try RedisServer()
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let place = subcommand == ["trace", "redis"] ? [] : ["-o", directory + "/s"]
            func said(_ more: [String]) throws -> String {
                let kiln = try KilnRun(subcommand.dropFirst() + ["-p", "\(server.pid)"] + place + more, subcommand: subcommand[0])
                try #require(kiln.attached(), "\(kiln.errorText)")
                kiln.stop()
                try? FileManager.default.removeItem(atPath: directory + "/s")
                return kiln.errorText
            }
            #expect(try said([]).contains(", for 300.0 s (no terminal; --duration gives another length)\n"))
            #expect(try said(["-d", "60"]).contains(", for 60.0 s\n"))
            #expect(try said(["--", "sleep", "60"]).contains(", until the command ends\n"))
        }

        @Test func twoSessionsOnOneServerAreBothExact() throws {
            let server = try RedisServer()
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            // Different hooks where there are, and both sample.
            let sessions = try ["a", "b"].enumerated().map { index, name in
                let hook = Capability.hooks[index % Capability.hooks.count]
                return try KilnRun(["-p", "\(server.pid)", "-i", "0.3", "-F", "199", "--hook", hook, "-o", "\(directory)/\(name)"])
            }
            for session in sessions { try #require(session.attached(), "\(session.errorText)") }
            let before = try server.commandStatistics()
            try server.benchmark(["-t", "set,get", "-n", "50021", "-c", "7"])
            try server.benchmark(["-t", "lpush", "-n", "200000", "-c", "20", "-P", "16"])
            let after = try server.commandStatistics()
            for session in sessions { #expect(session.stop() == 0, "\(session.errorText)") }
            for name in ["a", "b"] {
                let record = try Session(directory: "\(directory)/\(name)").record
                for command in ["SET", "GET", "LPUSH"] {
                    #expect(record.commands[command]?.count == (after[command] ?? 0) - (before[command] ?? 0), "\(command) in \(name)")
                    #expect(record.commands[command]?.phases["service"]?.count == record.commands[command]?.count)
                }
                #expect(record.lost.isEmpty, "\(record.lost)")
                let samples = record.samples.onCPU
                #expect(samples.recorded > 0 && samples.complete == samples.recorded)
            }
        }
    }
}
