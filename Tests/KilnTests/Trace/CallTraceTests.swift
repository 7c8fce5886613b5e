import Foundation
import Glibc
import KilnModel
import TestSupport
import Testing

/// A call as both tell it: numbers in decimal, those of threads and processes by the order in which they appear.
private struct ComparedCall: Equatable, CustomStringConvertible {
    var name: String
    var arguments: [UInt64]
    /// A number, an error's name, or `?`.
    var returned: String

    var description: String { "\(name)(\(arguments.map(String.init).joined(separator: ", "))) = \(returned)" }
}

extension KernelTests {
    /// Single system calls, against strace and against what a program says of itself.
    @Suite(.enabled(if: Program.canCompile, "cc is missing")) struct CallTraceTests {
        /// `-e raw=all`: `PID openat(0xffffff9c, 0x7ffc, 0, 0) = 0x3`, `= -1 ENOENT (No such file)`, `= ?`.
        private static func straced(_ command: [String], _ options: [String] = []) throws -> [Int32: [ComparedCall]] {
            let directory = temporaryDirectory(), file = directory + "/calls"
            defer { try? FileManager.default.removeItem(atPath: directory) }
            guard try Child("strace", ["-f", "-e", "raw=all", "-o", file] + options + command).wait() < 126 else { throw TestFailure("strace failed") }
            var calls: [Int32: [ComparedCall]] = [:], begun: [Int32: String] = [:]
            for line in try String(contentsOfFile: file, encoding: .utf8).split(separator: "\n") {
                guard let space = line.firstIndex(of: " "), let tid = Int32(line[..<space]) else { continue }
                var text = String(line[space...].drop { $0 == " " })
                if text.hasPrefix("+++") || text.hasPrefix("---") { continue }
                if let cut = text.firstRange(of: " <unfinished ...>") {
                    begun[tid] = String(text[..<cut.lowerBound])
                    continue
                }
                if text.hasPrefix("<... "), let end = text.firstRange(of: " resumed>") {
                    text = (begun.removeValue(forKey: tid) ?? "") + text[end.upperBound...]
                }
                guard let call = ComparedCall(strace: text) else { throw TestFailure("strace said: \(line)") }
                calls[tid, default: []].append(call)
            }
            // A thread that another one's exit_group ended in a call.
            for (tid, text) in begun { if let call = ComparedCall(strace: text + ") = ?") { calls[tid, default: []].append(call) } }
            return calls
        }

        private static func traced(_ command: [String], _ options: [String] = []) throws -> (calls: [Int32: [ComparedCall]], lost: [String: UInt64]) {
            let trace = try EventTraceRun<CallRow>("syscalls", options + ["--"] + command)
            return (Dictionary(grouping: trace.rows, by: \.tid).mapValues { $0.map(ComparedCall.init) }, trace.summary.lost)
        }

        /// Behind the exec of the program itself, whose arguments lie where its parent had them.
        private static func ofProgram(_ calls: [ComparedCall]) -> [ComparedCall] {
            Array(calls.lastIndex { $0.name == "execve" && $0.returned == "0" }.map { calls[($0 + 1)...] } ?? [])
        }

        private static func expect(_ kiln: [ComparedCall], _ strace: [ComparedCall], at place: SourceLocation = #_sourceLocation) {
            #expect(kiln.count == strace.count, sourceLocation: place)
            guard let index = zip(kiln, strace).enumerated().first(where: { $1.0 != $1.1 })?.offset else { return }
            Issue.record("call \(index): \(kiln[index]) instead of \(strace[index])", sourceLocation: place)
        }

        /// Addresses are the same where nothing is put at random places.
        @Test func aProgramsCallsAreThoseOfStraceWithTheirArgumentsAndReturns() throws {
            let program = try CompiledProgram(
                """
                #define _GNU_SOURCE
                #include <fcntl.h>
                #include <signal.h>
                #include <stdlib.h>
                #include <string.h>
                #include <sys/mman.h>
                #include <sys/socket.h>
                #include <sys/stat.h>
                #include <sys/wait.h>
                #include <unistd.h>
                static void handle(int number) {}
                int main(void)
                {
                    struct stat status;
                    char text[64];
                    int ends[2], file, i;
                    signal(SIGUSR1, handle);
                    kill(getpid(), SIGUSR1);
                    if (pipe(ends))
                        return 1;
                    for (i = 0; i < 5003; i++) {
                        write(ends[1], "abc", 3);
                        read(ends[0], text, sizeof text);
                    }
                    fcntl(ends[0], F_SETFL, O_NONBLOCK);
                    read(ends[0], text, 1);
                    close(77);
                    file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
                    fstat(file, &status);
                    mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, file, 0);
                    pread(file, text, 20, 1);
                    lseek(file, -1, SEEK_SET);
                    munmap(mmap(NULL, 1 << 21, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 1 << 21);
                    mprotect((void *)1, 4096, PROT_NONE);
                    socket(AF_UNIX, SOCK_STREAM, 99);
                    free(malloc(1 << 20));
                    mkdir("/proc/no", 0750);
                    getcwd(text, 1);
                    execl("/nowhere", "nowhere", NULL);
                    if (!fork()) {
                        raise(SIGTERM);
                        return 2;
                    }
                    wait(NULL);
                    return 3;
                }
                """, ["-O1"])
            let command = ["/usr/bin/setarch", "-R", program.path]
            let reference = try Self.straced(command)
            let trace = try EventTraceRun<CallRow>("syscalls", ["--"] + command, status: 3)
            let rows = Dictionary(grouping: trace.rows, by: \.tid).mapValues { $0.map(ComparedCall.init) }
            #expect(trace.summary.lost == [:])
            #expect(reference.count == 2 && rows.count == 2)
            for (own, others) in zip(rows.sorted { $0.key < $1.key }, reference.sorted { $0.key < $1.key }) {
                let parent = own.key == rows.keys.min()
                // Its own numbers, and those of the other process, are other ones each time.
                let numbers = { (keys: [Int32]) in Dictionary(uniqueKeysWithValues: zip(keys.sorted().map { UInt64($0) }, 1_000_000_001...)) }
                let kiln = (parent ? Self.ofProgram(own.value) : own.value).map { $0.replacing(numbers(Array(rows.keys))) }
                let strace = (parent ? Self.ofProgram(others.value) : others.value).map { $0.replacing(numbers(Array(reference.keys))) }
                #expect(kiln.count > (parent ? 10_000 : 2))
                Self.expect(kiln, strace)
            }
            // A sample of what strace alone would not show to be right.
            let write = try #require(trace.rows.first { $0.syscall == "write" })
            #expect(write.arguments?.first?.hasPrefix("fd=") == true && write.arguments?.last == "count=3" && write.returned == 3)
            #expect(trace.rows.allSatisfy { $0.latencyNs != nil && $0.abi == nil && ["setarch", "program"].contains($0.comm) })
        }

        private static let threads = """
            #define _GNU_SOURCE
            #include <fcntl.h>
            #include <pthread.h>
            #include <stdlib.h>
            #include <unistd.h>
            static int file;
            static char bytes[8][512];
            static void *work(void *number)
            {
                long own = (long)number, i;
                for (i = 0; i < 211 + own * 10; i++) {
                    pread(file, bytes[own], own + i % 5, i);
                    if (i % 7 == own % 7)
                        lseek(-1, own, SEEK_SET);
                }
                return NULL;
            }
            int main(void)
            {
                pthread_t threads[8];
                long i;
                file = open("/proc/self/exe", O_RDONLY);
                for (i = 0; i < 8; i++)
                    pthread_create(&threads[i], NULL, work, (void *)i);
                for (i = 0; i < 8; i++)
                    pthread_join(threads[i], NULL);
                return 0;
            }
            """

        @Test func eachThreadsCallsAreInItsOrder() throws {
            let program = try CompiledProgram(Self.threads, ["-O1", "-static", "-pthread"])
            let chosen = ["pread64", "lseek", "exit", "exit_group"]
            let reference = try Self.straced([program.path], ["-e", "trace=" + chosen.joined(separator: ",")])
            let (calls, lost) = try Self.traced([program.path], chosen.flatMap { ["--call", $0] })
            #expect(lost == [:])
            #expect(calls.count == 9 && reference.count == 9)
            // Threads by what they do: their numbers differ from run to run.
            func sorted(_ calls: [Int32: [ComparedCall]]) -> [[ComparedCall]] { calls.values.sorted { ($0.count, "\($0)") < ($1.count, "\($1)") } }
            for (own, strace) in zip(sorted(calls), sorted(reference)) { Self.expect(own.map { $0.replacing([:]) }, strace.map { $0.replacing([:]) }) }
        }

        @Test func callsOf32BitProgramsHaveTheirOwnNames() throws {
            let program = try CompiledProgram(
                """
                static long call(long number, long a, long b, long c)
                {
                    long result;
                    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
                    return result;
                }
                void _start(void)
                {
                    int i;
                    for (i = 0; i < 101; i++)
                        call(20, 0, 0, 0);
                    call(6, -1, 0, 0);
                    call(19, 77, -2, 1);
                    call(1, 5, 0, 0);
                }
                """, ["-m32", "-nostdlib", "-static", "-fno-pie", "-no-pie", "-fno-stack-protector"])
            let trace = try EventTraceRun<CallRow>("syscalls", ["--", program.path], status: 5)
            #expect(trace.rows.map(\.syscall) == ["execve"] + [String](repeating: "getpid", count: 101) + ["close", "lseek", "exit"])
            #expect(trace.rows.dropFirst().allSatisfy { $0.abi == "32-bit" } && trace.rows.first?.abi == nil)
            #expect(trace.rows[1].returned == Int64(trace.rows[1].pid) && trace.rows[1].arguments == [])
            #expect(trace.rows.suffix(3).map(\.error) == ["EBADF", "EBADF", nil] && trace.rows.suffix(3).first?.arguments == ["fd=-1"])
            #expect(trace.rows.last?.arguments == ["error_code=5"] && trace.rows.last?.returned == nil)
        }

        @Test func numbersThatNoCallHasAreLinesUnlessCallsAreChosen() throws {
            let program = try CompiledProgram(
                """
                static long call(long number)
                {
                    register long d __asm__("r10") = 4, e __asm__("r8") = 5, f __asm__("r9") = 6;
                    long result;
                    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(1), "S"(2), "d"(3), "r"(d), "r"(e), "r"(f) : "rcx", "r11", "memory");
                    return result;
                }
                void _start(void)
                {
                    long result;
                    call(9999);
                    __asm__ volatile("int $0x80" : "=a"(result) : "a"(999), "b"(1), "c"(2), "d"(3), "S"(4), "D"(5) : "memory");
                    call(9999 | 0x40000000);
                    call(500);
                    call(500000);
                    call(-2);
                    call(-1);
                    call(110);
                    call(231);
                }
                """, ["-nostdlib", "-static", "-fno-stack-protector"])
            let trace = try EventTraceRun<CallRow>("syscalls", ["--", program.path], status: 1)
            #expect(
                trace.rows.map(\.syscall)
                    == [
                        "execve", "syscall_9999", "syscall_999", "syscall_9999", "syscall_500", "syscall_500000", "syscall_-2", "syscall_-1", "getppid",
                        "exit_group",
                    ])
            #expect(trace.rows.map(\.abi) == [nil, nil, "32-bit", "x32", nil, nil, nil, nil, nil, nil])
            #expect(trace.rows[1...7].allSatisfy { $0.error == "ENOSYS" && $0.latencyNs != nil && $0.arguments?.count == 6 })
            #expect(trace.rows[1].arguments == ["0x1", "0x2", "0x3", "0x4", "0x5", "0x6"])
            let chosen = try EventTraceRun<CallRow>("syscalls", ["getppid,rt_sigreturn", "--", program.path], status: 1)
            #expect(chosen.rows.map(\.syscall) == ["getppid"])
        }

        @Test func aTraceInWhichNobodyMadeACallFails() throws {
            let kiln = try KilnRun(["syscalls", "--comm", "kiln-nobody", "-d", "0.3"], subcommand: "trace")
            #expect(kiln.wait() == 1 && kiln.errorText.contains("kiln: no system call was made by those that were asked for"))
            #expect(try KilnRun(["syscalls", "mkdir", "--comm", "kiln-nobody", "-d", "0.3"], subcommand: "trace").wait() == 0)
        }

        @Test func filtersLeaveOutWhatWasNotAskedFor() throws {
            let sleeps = ["/bin/sh", "-c", "read x </nowhere; sleep 0.3; exit 0"]
            let failed = try EventTraceRun<CallRow>("syscalls", ["--failed", "open*,read", "--"] + sleeps)
            #expect(failed.rows.contains { $0.syscall == "openat" && $0.error == "ENOENT" })
            #expect(failed.rows.allSatisfy { $0.error != nil && ($0.syscall.hasPrefix("open") || $0.syscall == "read") })

            let slow = try EventTraceRun<CallRow>("syscalls", ["--slower-than", "250", "--"] + sleeps)
            #expect(Set(slow.rows.map(\.syscall)) == ["clock_nanosleep", "wait4"])
            #expect(slow.rows.allSatisfy { ($0.latencyNs ?? 0) >= 250_000_000 && ($0.latencyNs ?? 0) < 2_000_000_000 })

            let files = try EventTraceRun<CallRow>("syscalls", ["--class", "file", "--limit", "5", "--"] + sleeps)
            #expect(files.said.contains("kiln: ended the command"))
            #expect(files.rows.count == 5 && files.rows.first?.syscall == "execve" && files.summary.lines == 5)
        }

        /// The call that a process was in when the session began, and nothing of others.
        @Test func aCallThatBeganBeforeTheSessionIsToldAsSuch() throws {
            let target = try Child("sleep", ["1.5"])
            let trace = try EventTraceRun<CallRow>("syscalls", ["-p", "\(target.pid)"]) { _ in try Child("/bin/true", []).wait() }
            #expect(trace.rows.first?.syscall == "clock_nanosleep" && trace.rows.first?.latencyNs == nil && trace.rows.first?.returned == 0)
            #expect(trace.rows.last?.syscall == "exit_group" && trace.rows.last?.returned == nil && trace.rows.last?.arguments == ["error_code=0"])
            #expect(trace.rows.allSatisfy { $0.pid == target.pid && $0.comm == "sleep" })
        }

        /// A flood is traced or counted: each call of the program is a line or lost.
        @Test func aFloodIsTracedOrCounted() throws {
            let calls = load(2_000_003)
            let program = try CompiledProgram(
                """
                #include <stdlib.h>
                #include <sys/syscall.h>
                #include <unistd.h>
                int main(int count, char **words)
                {
                    long left = atol(words[1]);
                    while (left--)
                        syscall(SYS_getppid);
                    return 0;
                }
                """)
            let kiln = try KilnRun(["syscalls", "getppid", "--", program.path, "\(calls)"], subcommand: "trace")
            #expect(kiln.wait() == 0)
            let lines = UInt64(kiln.outputBytes.count { $0 == UInt8(ascii: "\n") })
            let said = kiln.errorText.split(whereSeparator: { " ,\n".contains($0) })
            let lost = said.firstIndex(of: "calls_lost").flatMap { UInt64(said[$0 - 1].filter(\.isNumber)) } ?? 0
            #expect(lines + lost == calls, "\(lines) lines, \(kiln.errorText)")
            #expect(lines > 0)
        }
    }
}

extension ComparedCall {
    /// `read(0x3, 0x7ffc, 0x1) = 0x1`
    fileprivate init?(strace text: String) {
        guard let open = text.firstIndex(of: "("),
            let close = text.range(
                of: ")", options: .backwards, range: text.startIndex..<(text.range(of: " = ", options: .backwards)?.upperBound ?? text.endIndex)),
            let equals = text.range(of: " = ", options: .backwards)
        else { return nil }
        name = String(text[..<open])
        var numbers: [UInt64] = []
        for word in text[text.index(after: open)..<close.lowerBound].split(separator: ",") {
            let digits = word.trimmingCharacters(in: .whitespaces)
            guard let number = digits.hasPrefix("0x") ? UInt64(digits.dropFirst(2), radix: 16) : UInt64(digits) else { return nil }
            numbers.append(number)
        }
        arguments = numbers
        let words = text[equals.upperBound...].split(separator: " ").map(String.init)
        guard let result = words.first else { return nil }
        if result == "?" {
            returned = words.count > 1 ? words[1] : "?"
        } else if result == "-1", words.count > 1 {
            returned = words[1]
        } else {
            returned = result.hasPrefix("0x") ? UInt64(result.dropFirst(2), radix: 16).map(String.init) ?? result : result
        }
    }

    fileprivate init(_ row: CallRow) {
        name = row.syscall
        arguments = (row.arguments ?? []).map { text in
            let value = text.split(separator: "=").last ?? ""
            if value.hasPrefix("0x") { return UInt64(value.dropFirst(2), radix: 16) ?? 0 }
            if value.hasPrefix("0"), value.count > 1 { return UInt64(value.dropFirst(), radix: 8) ?? 0 }
            return Int64(value).map { UInt64(bitPattern: $0) } ?? 0
        }
        returned = row.error ?? row.returned.map { String(UInt64(bitPattern: $0)) } ?? "?"
    }

    /// With other numbers for those that differ from run to run.
    fileprivate func replacing(_ numbers: [UInt64: Int]) -> ComparedCall {
        var call = self
        // strace prints the argument of a 32-bit type as one of 64 bits, with or without a sign.
        call.arguments = arguments.map { value in
            let value = value == UInt64(bitPattern: Int64(Int32(truncatingIfNeeded: value))) ? value & 0xffff_ffff : value
            return numbers[value].map { UInt64($0) } ?? value
        }
        call.returned = UInt64(returned).flatMap { numbers[$0] }.map(String.init) ?? returned
        return call
    }
}
