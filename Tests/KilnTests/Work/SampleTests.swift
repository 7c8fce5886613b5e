import Foundation
import TestSupport
import Testing

extension KernelTests {
    /// Stacks by interval, and by the latency of their call.
    @Suite(.enabled(if: Program.canCompile, "no C compiler")) struct SampleTests {
        /// A command is slow in the third and fourth of six seconds.
        @Test(.tags(.timing)) func aSlowTimeHasItsStacksInItsCells() throws {
            let server = try KnownWork.server(), client = try Connection(port: server.port)
            var moments: [(isSlow: Bool, end: Date)] = []
            let session = try WorkSession(server, ["--off-cpu", "-i", "0.25"]) {
                for second in 0..<6 {
                    let isSlow = second == 2 || second == 3, end = Date().addingTimeInterval(1)
                    while Date() < end { try client.ask(isSlow ? ["BRANCH", "1"] : ["BRANCH", "0"]) }
                    moments.append((isSlow, Date()))
                }
            }
            session.expectSums()
            let branches = session.samples.samples.filter { $0.isOf("on-cpu", "BRANCH", "exec") }
            let slow = branches.filter { $0.frames.contains("slow_branch") }, fast = branches.filter { $0.frames.contains("fast_branch") }
            #expect(slow.map(\.weight).reduce(0, +) > 3000 && fast.map(\.weight).reduce(0, +) > 3000)
            // Each has the band of its latency, cell by cell: 2 ms and more, or 100 us and more.
            #expect(
                slow.allSatisfy { $0.band.map { $0.upper ?? .max > 2_000_000 } == true },
                "\(slow.first { $0.band == nil || $0.band?.upper ?? 0 < 2_000_000 } as Any)")
            let late = fast.filter { $0.band.map { $0.lower < 1_000_000 } != true }.map(\.weight).reduce(0, +)
            #expect(late * 50 < fast.map(\.weight).reduce(0, +), "\(late)")
            let began = moments[1].end, ended = moments[3].end
            for sample in slow {
                let time = try date(ofRow: sample.time)
                #expect(time > began && time < ended.addingTimeInterval(0.3), "\(sample.time): slow from \(began) to \(ended)")
            }
            for sample in fast {
                let time = try date(ofRow: sample.time)
                #expect(time < began.addingTimeInterval(0.3) || time > ended, "\(sample.time): slow from \(began) to \(ended)")
            }
        }

        /// A call's samples are where the call is: in the interval in which it was answered.
        @Test(.tags(.timing)) func aCallThatIsLongerThanIntervalsIsInItsLastOne() throws {
            let server = try KnownWork.server(), client = try Connection(port: server.port)
            let session = try WorkSession(server, ["-i", "0.2"]) {
                try client.ask(["BURN.A", "1100000"])
                usleep(300_000)
            }
            session.expectSums()
            let burnt = session.samples.samples.filter { $0.isOf("BURN.A", "exec", "burn_a") }
            #expect(Set(burnt.map(\.time)).count == 1 && burnt.map(\.weight).reduce(0, +) > 4999)
            let band = try #require(burnt.first?.band), upper = try #require(band.upper)
            #expect(band.lower <= 1_150_000_000 && upper > 1_100_000_000)
            // expectSums has found it where such a call is.
            #expect(session.calls.filter { $0.command == "BURN.A" && !$0.slots.isEmpty }.count == 1)
        }

        /// A client that has gone, and one that waits for a list: neither has a reply.
        @Test(.tags(.timing)) func callsWithoutAnEndLoseNoSample() throws {
            let server = try KnownWork.server(), waiting = try Connection(port: server.port)
            let session = try WorkSession(server) {
                try waiting.send(request("BLPOP", "nothing", "0"))
                for _ in 0..<10 { try Connection(port: server.port).send(request("BURN.B", "10000")) }
                try server.repeating(50, ["BURN.A", "1000"])
            }
            session.expectSums()
            let burnt = session.samples.samples.filter { $0.isOf("BURN.A", "exec", "burn_a") }
            #expect(burnt.map(\.weight).reduce(0, +) > 100 && burnt.allSatisfy { $0.band?.lower ?? 0 > 500_000 })
            // Ten calls of 10 ms.
            let unanswered = session.samples.samples.filter { $0.isOf("on-cpu", "burn_b") }
            #expect(unanswered.map(\.weight).reduce(0, +) > 250)
        }

        /// A session that is shorter than an interval.
        @Test func aShortCommandHasAnInterval() throws {
            let program = try CompiledProgram("int main(void) { for (volatile int i = 0; i < 30000000; i++) ; return 0; }")
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(["-F", "4999", "-o", directory + "/s", "--", program.path], subcommand: "record")
            #expect(kiln.wait() == 0, "\(kiln.errorText)")
            let samples = try SampleFile(directory + "/s/samples.jsonl")
            let folded = Stacks(try String(contentsOfFile: "\(directory)/s/stacks.folded", encoding: .utf8)).sums
            #expect(!samples.times.isEmpty && !folded.isEmpty && samples.sums(of: "on-cpu", byCommand: false) == folded)
            // Frames know the file that they lie in.
            let notes = try Child.output(of: ["readelf", "-n", program.path])
            let buildID = try #require(notes.components(separatedBy: "Build ID: ").dropFirst().first?.prefix { $0.isHexDigit })
            #expect(samples.modules["main"] == [[program.path, String(buildID)]])
            #expect(samples.modules.keys.allSatisfy { !$0.hasSuffix("_[k]") })
        }

        /// A call that is never answered has no latency, and loses no sample.
        @Test(.tags(.timing)) func withoutAReplyThereIsNoLatency() throws {
            let server = try KnownWork.server(), client = try Connection(port: server.port)
            let session = try WorkSession(server) {
                try client.ask(["BURN.A", "1000"])
                try client.send(request("CLIENT", "REPLY", "OFF"))
                for _ in 0..<20 { try client.send(request("BURN.B", "10000")) }
                try Connection(port: server.port).ask(["PING"])
                usleep(400_000)
            }
            session.expectSums()
            let burnt = session.samples.samples.filter { $0.isOf("burn_b") }
            #expect(burnt.map(\.weight).reduce(0, +) > 500 && burnt.allSatisfy { $0.band == nil })
        }

        /// Samples without any command, ten times a second.
        @Test(.tags(.timing)) func recordedProgramsHaveIntervalsToo() throws {
            let program = try CompiledProgram(
                """
                #include <time.h>
                #include <unistd.h>
                static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec / 1e9; }
                __attribute__((noinline)) static void first(double end) { while (now() < end) for (volatile int i = 0; i < 1000; i++) ; __asm__ volatile(""); }
                __attribute__((noinline)) static void second(double end) { while (now() < end) for (volatile int i = 0; i < 1000; i++) ; __asm__ volatile(""); }
                int main(void) { double begin = now(); first(begin + 1); second(begin + 2); sleep(1); return 0; }
                """, ["-O1", "-fno-omit-frame-pointer"])
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(["-F", "999", "--off-cpu", "-o", directory + "/s", "--", program.path], subcommand: "record")
            #expect(kiln.wait() == 0, "\(kiln.errorText)")
            let samples = try SampleFile(directory + "/s/samples.jsonl")
            func folded(_ name: String) throws -> [String: UInt64] { Stacks(try String(contentsOfFile: "\(directory)/s/\(name)", encoding: .utf8)).sums }
            #expect(try samples.sums(of: "on-cpu", byCommand: false) == folded("stacks.folded"))
            #expect(try samples.sums(of: "off-cpu", byCommand: false) == folded("stacks.off-cpu.folded"))
            #expect(samples.samples.filter { $0.isOf("off-cpu", "main", "sleeping") }.map(\.weight).reduce(0, +) > 900_000_000)
            #expect(samples.samples.allSatisfy { $0.command == nil && $0.phase == nil && $0.band == nil })
            let times = ["first", "second"].map { name in Set(samples.samples.filter { $0.isOf("on-cpu", name) }.map(\.time)).sorted() }
            // One after the other; they may share the interval between them.
            #expect(times[0].count > 5 && times[1].count > 5, "\(times)")
            #expect(times[0].last ?? "~" <= times[1].first ?? "", "\(times)")
        }
    }
}
