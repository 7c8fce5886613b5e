import Foundation
import Glibc
import TestSupport
import Testing
extension KernelTests {
    @Suite struct StackTests {
        @Test func aStockServersStacksAreWhole() throws {
            let server = try RedisServer()
            let session = try Session.recording(pid: server.pid, ["-F", "499"]) {
                try server.benchmark(["-t", "set,get,lpush", "-n", "\(load(200_003))", "-c", "50"])
                try server.benchmark(["-t", "get,hset,zadd", "-n", "\(load(500_009))", "-P", "16", "-c", "50"])
            }
            let samples = session.record.samples.onCPU
            #expect(samples.recorded > load(500))
            #expect(session.wholeShare >= 0.995, "\(samples.ends)")
            #expect(samples.ends["complete"] == samples.complete)
            #expect(samples.ends.values.reduce(0, +) == samples.recorded)
            #expect(session.output.contains("% of stacks complete"))
            let stacks = session.stacks
            let commands = stacks.samples(through: "processCommand")
            #expect(commands > 0)
            #expect(stacks.samples(through: "_start", "main", "aeMain", "readQueryFromClient", "processInputBuffer", "processCommand") == commands)
        }

        @Test(.enabled(if: access("/usr/bin/python3", X_OK) == 0, "python3 is not installed"))
        func pythonsStacksAreWhole() throws {
            // It works when all that it needs is mapped, which takes seconds where Python is slow.
            let directory = temporaryDirectory(), ready = directory + "/ready"
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let python = try Child(
                "/usr/bin/python3",
                [
                    "-c",
                    "import json, sys\nwork = lambda: json.loads(json.dumps([{'a': i} for i in range(100)]))\nwork()\nopen(sys.argv[1], 'w')\nwhile True: work()",
                    ready,
                ])
            try #require(eventually { FileManager.default.fileExists(atPath: ready) })
            let session = try Session.sampling(pid: python.pid)
            #expect(session.record.samples.onCPU.recorded > 300)
            #expect(session.wholeShare >= 0.995, "\(session.record.samples.onCPU.ends)")
        }

        @Test func stacksHoldTheServersFunctionsAndTheKernels() throws {
            let server = try RedisServer()
            let session = try Session.recording(pid: server.pid, ["-F", "499"]) {
                try server.benchmark(["-t", "set,get", "-n", "\(load(1_500_007))", "-P", "32", "-c", "20"])
                try server.benchmark(["-t", "get", "-n", "\(load(60_013))", "-c", "20"])
            }
            let lines = session.folded.split(separator: "\n")
            let frames = Set(lines.flatMap { $0[..<($0.lastIndex(of: " ") ?? $0.endIndex)].split(separator: ";").map(String.init) })
            for function in ["processCommand", "readQueryFromClient", "tcp_recvmsg_[k]", "tcp_sendmsg_[k]", "do_syscall_64_[k]"] {
                #expect(frames.contains(function), "\(function) is in no stack")
            }
            #expect(lines.allSatisfy { $0.hasPrefix("redis-server;") })
            let samples = session.record.samples.onCPU
            let counted = lines.compactMap { $0.split(separator: " ").last.flatMap { UInt64($0) } }.reduce(0, +)
            #expect(counted == samples.recorded)
        }

        /// Code that came into the kernel after it had started: kallsyms lists BPF programs as it does the functions of modules.
        @Test func theSessionsOwnProgramsAreNamedInItsStacks() throws {
            let server = try RedisServer()
            var programs: Set<String> = []
            let session = try Session.recording(pid: server.pid, ["-F", "999", "--hook", Capability.hooks[0]]) {
                programs = try Self.listedPrograms()
                try server.benchmark(["-t", "get", "-n", "300000", "-c", "20"])
            }
            guard !programs.isEmpty else {
                try Test.cancel("REFUSED by this host: names of BPF programs: /proc/kallsyms does not list them (sysctl net.core.bpf_jit_kallsyms)")
            }
            let frames = session.folded.split(whereSeparator: { ";\n".contains($0) }).map { $0.prefix { $0 != " " } }
            let own = frames.filter { frame in frame.hasSuffix("_[k]") && programs.contains(String(frame.dropLast("_[k]".count))) }
            let names = Set(own)
            // A tenth of the server's time is spent in the program that sees its receives.
            let receives = ["socket": "_socket_receive", "fentry": "_fentry_tcp_receive", "syscall": "_syscall_exit"][Capability.hooks[0]] ?? ""
            #expect(names.contains { $0.dropLast("_[k]".count).hasSuffix(receives) }, "\(names) of \(programs)")
        }

        /// As kallsyms writes them: `bpf_prog_TAG_NAME`, and their functions likewise.
        private static func listedPrograms() throws -> Set<String> {
            let file = try FileHandle(forReadingFrom: URL(fileURLWithPath: "/proc/kallsyms"))
            let lines = String(decoding: try file.readToEnd() ?? Data(), as: UTF8.self).split(separator: "\n")
            return Set(
                lines.lazy.filter { $0.hasSuffix("\t[bpf]") && $0.contains(" bpf_prog_") }.compactMap {
                    $0.dropLast("\t[bpf]".count).split(separator: " ").last.map(String.init)
                })
        }

        @Test(.tags(.timing)) func samplesAgreeWithTheServersCPUTime() throws {
            let server = try RedisServer()
            let stolenBefore = try stolenTime()
            let session = try Session.recording(pid: server.pid, ["-F", "499"]) {
                try server.benchmark(["-t", "get", "-n", "2000000", "-P", "32", "-c", "20"])
            }
            let samples = session.record.samples.onCPU
            let recorded = Double(samples.recorded), expected = Double(try #require(samples.expected))
            #expect(expected > 300)
            #expect(session.record.lost.isEmpty)
            // What a hypervisor takes, clock and timer don't see alike: the clock leaves it out as far as it is told, the
            // timer fires late, or once for several times. By no more than what was taken can they differ.
            let stolen = (try stolenTime() - stolenBefore) / 1e9 * 499
            #expect(abs(recorded - expected) < expected * 0.05 + stolen, "\(recorded) of \(expected), \(stolen) stolen")
        }

        @Test func systemCallsAreCountedByName() throws {
            let server = try RedisServer()
            let session = try Session.recording(pid: server.pid) {
                try server.benchmark(["-t", "get", "-n", "10007", "-c", "1"])
            }
            let calls = try #require(session.record.syscalls)
            // The benchmark also asks for the configuration, before and between.
            #expect((calls["write"]?.count ?? 0) >= 10_008)
            #expect((calls["write"]?.count ?? 0) < 10_100)
            #expect((calls["read"]?.count ?? 0) >= 10_008)
            #expect((calls["epoll_wait"]?.count ?? 0) > 1000)
            #expect((calls["accept4"]?.errors ?? 0) >= 1)
        }
    }
}
