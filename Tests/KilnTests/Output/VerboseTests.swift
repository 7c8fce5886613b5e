import Foundation
import TestSupport
import Testing

extension KernelTests {
    /// What --verbose tells of a trace and of recorded stacks; of `kiln redis` it is told in `TLSTests`.
    @Suite struct VerboseTests {
        @Test(arguments: Capability.hooks)
        func aTraceTellsWhatIsLoadedWhereAndHowOftenItRan(hook: String) throws {
            let server = try RedisServer()
            let trace = try TraceRun.recording(pid: server.pid, hook: hook, ["--json", "--verbose", "--bpf-statistics"]) { _ in
                let client = try Connection(port: server.port)
                for _ in 0..<101 { _ = try client.reply(to: "GET", "x") }
            }
            let lines = trace.said.split(separator: "\n")
            let (program, place) =
                ["socket": ("socket_receive", "tp_btf/sock_recv_length"), "syscall": ("syscall_exit", "tp_btf/sys_exit")][hook]
                ?? ("fentry_tcp_receive", "tcp_recvmsg")
            let told = lines.filter { $0.hasPrefix(program + " ") }
            try #require(told.count == 2, "\(trace.said)")
            #expect(told[0].contains(place))
            #expect(lines.contains { $0.hasPrefix("refused: ") })
            // The tracepoints see other processes, too.
            #expect(try #require(runs(told[1])) >= 101)
        }

        @Test func recordedStacksTellHowOftenTheirTimerRan() throws {
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let work = try Child("sh", ["-c", "while :; do :; done"])
            let kiln = try KilnRun(["-p", "\(work.pid)", "--verbose", "--bpf-statistics", "-F", "499", "-o", directory + "/s"], subcommand: "record")
            try #require(kiln.attached(), "\(kiln.errorText)")
            try letWork(work.pid, seconds: 0.5)
            #expect(kiln.stop() == 0)
            let lines = kiln.errorText.split(separator: "\n"), told = lines.filter { $0.hasPrefix("sample ") }
            try #require(told.count == 2, "\(kiln.errorText)")
            #expect(lines.contains("refused: nothing"))
            let record = try Session(directory: directory + "/s").record
            #expect(try #require(runs(told[1])) >= record.samples.onCPU.recorded)
            #expect(try #require(record.cost.programs?["sample"]).runs >= record.samples.onCPU.recorded)
        }

        /// The second column of the table at the end.
        private func runs(_ line: Substring) -> UInt64? {
            UInt64(line.split(separator: " ").dropFirst().first?.filter { $0 != "," } ?? "")
        }
    }
}
