import Foundation
import Glibc
import KilnModel
import TestSupport
import Testing

extension KernelTests {
    /// Calls whose entry a session does not see, and what stands beside the calls that are asked for.
    @Suite(.enabled(if: Program.canCompile, "no C compiler")) struct UnseenEntrySyscallTests {
        /// Seccomp lets 211 calls through, and denies 503.
        private static let denied = """
            #include <errno.h>
            #include <linux/filter.h>
            #include <linux/seccomp.h>
            #include <stddef.h>
            #include <sys/prctl.h>
            #include <sys/syscall.h>
            #include <unistd.h>
            int main(void)
            {
                struct sock_filter code[] = {
                    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
                    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
                    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
                };
                struct sock_fprog filter = { 4, code };
                int i;
                for (i = 0; i < 211; i++)
                    syscall(SYS_getppid);
                if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter))
                    return 1;
                for (i = 0; i < 503; i++)
                    syscall(SYS_getppid);
                return 0;
            }
            """

        @Test func callsThatSeccompDeniesAreCountedAndPrinted() throws {
            let program = try CompiledProgram(Self.denied)
            let session = try SyscallSession.run(["--", program.path])
            let calls = session.call("getppid")
            #expect(calls.latency.count == 211 && calls.withoutEntry == 503 && calls.returned == 714 && calls.earlier.count == 0, "\(calls)")
            #expect(session.calls.first { $0.syscall == "getppid" }?.errnos == ["EPERM": 503] && session.record.lost.isEmpty)
            #expect(session.said.contains("without an entry: getppid 503"), "\(session.said)")

            let trace = try EventTraceRun<CallRow>("syscalls", ["getppid", "--", program.path])
            let unseen = trace.rows.filter { $0.latencyNs == nil }
            #expect(trace.rows.count == 714 && unseen.count == 503)
            #expect(unseen.allSatisfy { $0.beganBefore == false && $0.error == "EPERM" })
        }

        /// A thread becomes a member by its new name: in the call that gives it one.
        @Test func theCallThatMakesAThreadAMemberHasNoTime() throws {
            let program = try CompiledProgram(
                """
                #include <sys/prctl.h>
                #include <sys/syscall.h>
                #include <unistd.h>
                int main(void)
                {
                    int i;
                    for (i = 0; i < 7; i++)
                        syscall(SYS_getppid);
                    prctl(PR_SET_NAME, "kiln-member");
                    for (i = 0; i < 101; i++)
                        syscall(SYS_getppid);
                    return 0;
                }
                """)
            let session = try SyscallSession.run(["--comm", "kiln-member", "--", program.path])
            let naming = session.call("prctl"), calls = session.call("getppid")
            #expect(naming.withoutEntry == 1 && naming.calls == 1 && calls.latency.count == 101 && calls.calls == 101, "\(naming) \(calls)")
            let trace = try EventTraceRun<CallRow>("syscalls", ["getppid,prctl", "--comm", "kiln-member", "--", program.path])
            #expect(trace.rows.map(\.syscall) == ["prctl"] + Array(repeating: "getppid", count: 101))
            #expect(trace.rows.first?.beganBefore == false && trace.rows.dropFirst().allSatisfy { $0.latencyNs != nil && $0.beganBefore == nil })
        }

        /// No other call tells when the session began.
        @Test(.tags(.timing)) func aLongCallFromBeforeTheSessionIsAmongTheSlowOnes() throws {
            let target = try Child("sleep", ["1.5"])
            let trace = try EventTraceRun<CallRow>("syscalls", ["*nanosleep", "--slower-than", "100", "-p", "\(target.pid)"])
            #expect(trace.rows.map(\.syscall) == ["clock_nanosleep"] && trace.rows.first?.latencyNs == nil && trace.rows.first?.beganBefore == true)
        }

        /// Calls are counted a few milliseconds before stacks are taken. The first return that has a stack is then still one of a call that is asked for.
        @Test(.tags(.timing)) func stacksAreThoseOfCountedCallsBesideOthers() throws {
            let program = try Program(
                """
                #define _GNU_SOURCE
                #include <sys/syscall.h>
                #include <unistd.h>
                __attribute__((noinline)) void ask(void) { syscall(SYS_getppid); asm volatile(""); }
                __attribute__((noinline)) void other(void) { for (int i = 0; i < 9; i++) syscall(SYS_getuid); asm volatile(""); }
                int main(void) { for (;;) { ask(); other(); usleep(1000); } }
                """, ["-O1", "-fomit-frame-pointer"])
            defer { program.signal(SIGKILL) }
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(
                ["-p", "\(program.pid)", "-o", directory + "/session", "--stacks", "calls", "--call", "getppid"], subcommand: "syscalls")
            guard kiln.attached() else { throw TestFailure("kiln did not attach: \(kiln.errorText)") }
            usleep(500_000)
            #expect(kiln.stop() == 0, "\(kiln.errorText)")
            let session = try SyscallSession(directory + "/session", said: kiln.outputText)
            let event = try #require(session.record.samples.events?.first)
            let stacks = Stacks(try String(contentsOfFile: "\(directory)/session/\(event.file)", encoding: .utf8))
            let counted = session.call("getppid").returned
            #expect(event.count > 50 && event.count <= counted && event.lost == 0, "\(event), \(counted) calls")
            #expect(stacks.samples(through: "main", "ask") == event.count && stacks.samples(through: "getppid_[k]") == event.count)
        }

        /// The table of 32-bit programs has another number for prctl.
        @Test func aRenamingByA32BitCallIsSeen() throws {
            let program = try CompiledProgram(
                """
                #include <sys/syscall.h>
                #include <unistd.h>
                static char name[] = "kiln-renamed";
                int main(void)
                {
                    int result;
                    syscall(SYS_getppid);
                    __asm__ volatile("int $0x80" : "=a"(result) : "a"(172), "b"(15), "c"(name) : "memory", "r8", "r9", "r10", "r11");
                    return result;
                }
                """, ["-O1", "-static", "-no-pie"])
            let session = try SyscallSession.run(["--", program.path])
            #expect(session.call("prctl", "32-bit").latency.count == 1)
            #expect(Set(session.calls.map(\.comm)) == ["kiln-renamed"])
        }

        /// The limit of counted arguments is 4,096.
        @Test(arguments: [4096, 4097]) func argumentsOfAFailedExecutionAreCountedUpToTheLimit(count: Int) throws {
            let program = try CompiledProgram(
                """
                #include <unistd.h>
                int main(void)
                {
                    static char *arguments[\(count) + 1];
                    int i;
                    for (i = 0; i < \(count); i++)
                        arguments[i] = "a";
                    execv("/nowhere/many", arguments);
                    execv((char *)8, arguments);
                    return 0;
                }
                """)
            let trace = try EventTraceRun<ExecutionRow>("exec", ["--failed", "--", program.path])
            #expect(trace.rows.map(\.file) == ["/nowhere/many", nil] && trace.rows.map(\.error) == ["ENOENT", "EFAULT"])
            let row = try #require(trace.rows.first)
            #expect(!row.unreadable && row.argumentsMissing == (count == 4096 ? 4096 - row.arguments.count : nil), "\(row.arguments.count)")
            #expect(trace.rows.last?.line.contains("(path not readable)") == true)
        }
    }
}
