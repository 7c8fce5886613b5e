import Foundation
import Glibc
import KilnBPF
@testable import KilnKernel
import KilnModel
import TestSupport
import Testing

extension KernelTests {
    /// What probes cost is tried at functions of kiln, whose calls are none of the session's.
    @Suite(.enabled(if: Program.canCompile, "no C compiler")) struct ProbeCostTests {
        @Test func theTrialTakesNoFunctionsTimes() throws {
            let program = try Program(
                """
                __attribute__((noinline)) void spins(void) { for (volatile int i = 0; i < 1000000; i++) ; }
                int main() { for (;;) spins(); }
                """)
            let run = try FunctionRun(["-p", "\(program.pid)", "spins", "--time"]) { _ in usleep(600_000) }
            kill(program.pid, SIGKILL)
            let row = try run.row("spins"), times = try #require(row.times)
            #expect(row.calls > 10 && times.returned + 1 >= row.calls && times.outermost.count == times.returned, "\(row.calls) calls, \(times)")
            #expect(run.record.lost["functions_without_times"] == nil && row.letGoAfterS == nil, "\(run.record.lost) \(run.errors)")
        }

        /// Also where kiln is no member of the session: the trial's calls are counted and timed, but for no function.
        @Test func theTrialDoesWhatAMembersCallDoes() throws {
            let other = try Child("sleep", ["60"]), watched = try #require(WatchedProcesses(pids: [other.pid]))
            for timing in [FunctionTiming.none, .returnInstructions, .returnProbes] {
                let probe = try FunctionProbe([FunctionSite.ofKiln()], of: Members(watched), timing: timing)
                _ = try probe.measureCost(calls: 101)
                var counted: [UInt64] = [0, 0], places: [UInt32] = [0, 0]
                try probe.calls.forEachCopy(of: kiln_function_calls.self, entries: 2) { counted[$0] += $1.pointee.of_set.0 + $1.pointee.of_set.1 }
                try probe.timesOfRows.forEachValue(of: UInt32.self, entries: 2) { places[$0] = $1.pointee }
                // Three times a batch of each of two functions.
                #expect(counted == [0, 6 * 101], "\(timing)")
                #expect(places == [0, timing == .none ? 0 : 1], "\(timing)")
            }
        }

        @Test func callsOfKilnAreCountedOnlyWhereItIsTheTarget() throws {
            let own = try #require(WatchedProcesses(pids: [getpid()]))
            for isTarget in [false, true] {
                let members = Members(isTarget ? own : nil)
                var probe = try FunctionProbe([FunctionSite.ofKiln()], of: members, timing: .none, onlyProcess: isTarget ? getpid() : nil)
                #expect(try probe.attach().refused.isEmpty)
                // Calls the probed function three times a batch, without and with the trial's probes.
                _ = try probe.measureCost(calls: 101)
                #expect(try probe.callCounts() == [isTarget ? 6 * 101 : 0])
                probe.detach()
            }
        }

        /// By every kernel that kiln runs on; what an older one runs in single step would be taken for cheap otherwise.
        @Test func emulatedInstructionsAreThoseOfEveryKernel() throws {
            let emulated: [[UInt8]] = [
                [0x55, 0x90], [0x41, 0x57], [0x90, 0x90], [0x66, 0x90], [0xe8, 0], [0xe9, 0], [0xeb, 0], [0x74, 0], [0x0f, 0x84],
            ]
            // nopl, endbr64, sub of %rsp, mov, ret, pop
            let stepped: [[UInt8]] = [[0x0f, 0x1f], [0xf3, 0x0f], [0x48, 0x83], [0x89, 0xf8], [0xc3, 0x90], [0x5d, 0xc3]]
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            try Data((emulated + stepped).flatMap(\.self)).write(to: URL(fileURLWithPath: directory + "/code"))
            let code = try MappedCode(directory + "/code")
            for (index, instruction) in (emulated + stepped).enumerated() {
                #expect(code.isEmulated(at: UInt64(index * 2)) == (index < emulated.count), "\(instruction)")
            }
        }
    }
}
