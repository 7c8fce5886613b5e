import Foundation
import Glibc
import KilnModel
import TestSupport
import Testing

/// What bad options of `kiln syscalls` get.
struct SyscallUsageTests {
    @Test(arguments: [
        [], ["-a", "--call", "raed"], ["-a", "--call", ""], ["-a", "--call", "read,raed"], ["-a", "--class", "file,net"], ["-a", "--by", "pid"],
        ["-a", "-i", "0"], ["-a", "--stacks", "all"],
        ["--children", "--", "true"], ["-a", "--slower-than", "1x"],
    ])
    func optionsThatMakeNoSenseAreWrongUsage(arguments: [String]) throws {
        let kiln = try KilnRun(arguments, subcommand: "syscalls")
        #expect(kiln.wait() == 64)
        #expect(kiln.errorText.hasPrefix("Error: "), "\(kiln.errorText)")
    }

    @Test func similarNamesAreOffered() throws {
        let kiln = try KilnRun(["-a", "--call", "readd"], subcommand: "syscalls")
        #expect(kiln.wait() == 64)
        let similar = kiln.errorText.split(separator: "Similar: ").last?.prefix { $0 != "." }.split(separator: ", ") ?? []
        #expect(kiln.errorText.contains("Similar: ") && similar.contains("read"), "\(kiln.errorText)")
    }
}

/// A session of `kiln syscalls`, read back from its files.
struct SyscallSession {
    let record: SessionRecord
    let rows: [SyscallTimesRow]
    let said: String

    var calls: [SyscallTimesRecord] { record.syscallTimes ?? [] }

    /// All rows of a call together, or those of a thread or process.
    func call(_ name: String, _ abi: String? = nil, tid: Int32? = nil, pid: Int32? = nil) -> TimedCalls {
        calls.filter { $0.syscall == name && $0.abi == abi && (tid == nil || $0.tid == tid) && (pid == nil || $0.pid == pid) }
            .reduce(into: TimedCalls()) { $0.add(TimedCalls($1)) }
    }

    /// `kiln syscalls` with these arguments; with `body`, while that runs, otherwise until it ends by itself.
    static func run(_ arguments: [String], status expected: Int32 = 0, during body: (() throws -> Void)? = nil) throws -> SyscallSession {
        let directory = temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let kiln = try KilnRun(["-o", directory + "/session"] + arguments, subcommand: "syscalls")
        guard kiln.attached() else { throw TestFailure("kiln did not attach: \(kiln.errorText)") }
        try body?()
        let status = body == nil ? kiln.wait() : kiln.stop()
        guard status == expected else { throw TestFailure("kiln ended with \(status): \(kiln.errorText)") }
        return try SyscallSession(directory + "/session", said: kiln.outputText)
    }

    init(_ directory: String, said: String) throws {
        record = try JSONDecoder().decode(SessionRecord.self, from: Data(contentsOf: URL(fileURLWithPath: directory + "/session.json")))
        rows = try String(contentsOfFile: directory + "/syscalls.jsonl", encoding: .utf8).split(separator: "\n").map {
            try JSONDecoder().decode(SyscallTimesRow.self, from: Data($0.utf8))
        }
        self.said = said
    }
}

/// A program that makes known numbers of known calls in eight threads, and then executes itself in a thread that is not the leader.
struct CallingProgram {
    static let threads = 8
    /// By thread: how often it makes each call.
    static let counts: [[UInt64]] = [
        [1009, 13, 101, 211, 3, 307, 401, 53, 3], [1013, 17, 103, 223, 5, 311, 409, 59, 5], [1019, 19, 107, 227, 7, 313, 419, 61, 7],
        [1021, 23, 109, 229, 11, 317, 421, 67, 2], [1031, 29, 113, 233, 13, 331, 431, 71, 3], [1033, 31, 127, 239, 17, 337, 433, 73, 5],
        [1039, 37, 131, 241, 19, 347, 439, 79, 2], [1049, 41, 137, 251, 23, 349, 443, 83, 3],
    ]
    /// The calls of these counts, with the errno that each of them returns.
    static let calls: [(name: String, abi: String?, errno: String?)] = [
        ("getppid", nil, nil), ("close", nil, "EBADF"), ("openat", nil, "ENOENT"), ("recvfrom", nil, "EAGAIN"), ("syscall_4000", nil, "ENOSYS"),
        ("getpid", "32-bit", nil), ("close", "32-bit", "EBADF"), ("rt_sigreturn", nil, nil), ("clock_nanosleep", nil, nil),
    ]
    static func sum(_ call: Int) -> UInt64 { counts.reduce(0) { $0 + $1[call] } }
    static let status: Int32 = 7

    static let source = """
            #define _GNU_SOURCE
            #include <errno.h>
            #include <fcntl.h>
            #include <pthread.h>
            #include <signal.h>
            #include <stdio.h>
            #include <stdlib.h>
            #include <sys/socket.h>
            #include <sys/syscall.h>
            #include <sys/wait.h>
            #include <time.h>
            #include <unistd.h>
            #define THREADS 8
            /* For each thread: getppid, close(-1), openat of nothing, recvfrom of nothing yet, unknown, 32-bit getpid, 32-bit close(-1), signals, sleeps. */
            static const int counts[THREADS][9] = {
            	{ 1009, 13, 101, 211, 3, 307, 401, 53, 3 }, { 1013, 17, 103, 223, 5, 311, 409, 59, 5 }, { 1019, 19, 107, 227, 7, 313, 419, 61, 7 },
            	{ 1021, 23, 109, 229, 11, 317, 421, 67, 2 }, { 1031, 29, 113, 233, 13, 331, 431, 71, 3 }, { 1033, 31, 127, 239, 17, 337, 433, 73, 5 },
            	{ 1039, 37, 131, 241, 19, 347, 439, 79, 2 }, { 1049, 41, 137, 251, 23, 349, 443, 83, 3 } };
            static FILE *out;
            static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
            static void handle(int number) {}
            static long long now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000LL + t.tv_nsec; }
            static int old_call(int number, int first) {
            	int result;
            	__asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(first) : "memory", "r8", "r9", "r10", "r11");
            	return result;
            }
            static void *work(void *argument) {
            	const int *count = counts[(long)argument];
            	int sockets[2], i;
            	char byte;
            	long long slept = 0, began;
            	struct timespec time = { 0, 20000000 };
            	socketpair(AF_UNIX, SOCK_STREAM, 0, sockets);
            	for (i = 0; i < count[0]; i++) syscall(SYS_getppid);
            	for (i = 0; i < count[1]; i++) close(-1);
            	for (i = 0; i < count[2]; i++) openat(AT_FDCWD, "/nothing/there", O_RDONLY);
            	for (i = 0; i < count[3]; i++) recv(sockets[0], &byte, 1, MSG_DONTWAIT);
            	for (i = 0; i < count[4]; i++) syscall(4000);
            	for (i = 0; i < count[5]; i++) old_call(20, 0);
            	for (i = 0; i < count[6]; i++) old_call(6, -1);
            	for (i = 0; i < count[7]; i++) syscall(SYS_tgkill, getpid(), (int)syscall(SYS_gettid), SIGUSR1);
            	for (i = 0; i < count[8]; i++) { began = now(); clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL); slept += now() - began; }
            	pthread_mutex_lock(&lock);
            	fprintf(out, "%d %ld %lld\\n", (int)syscall(SYS_gettid), (long)argument, slept);
            	fflush(out);
            	pthread_mutex_unlock(&lock);
            	return NULL;
            }
            static void *block(void *argument) { int ends[2]; char byte; if (pipe(ends)) return NULL; read(ends[0], &byte, 1); return NULL; }
            static void *replace(void *argument) { char *again[] = { argument, "again", NULL }; syscall(SYS_setpriority, 0, 0, 0); execv(argument, again); return NULL; }
            int main(int count, char **arguments) {
            	pthread_t threads[THREADS], blocked;
            	char path[512];
            	long i;
            	alarm(60);
            	if (count == 2 && arguments[1][0] == 'a') { /* executed by a thread that is not the leader */
            		for (i = 0; i < 97; i++) syscall(SYS_getpgid, 0);
            		pthread_create(&blocked, NULL, block, NULL);
            		usleep(50000);
            		return 7;
            	}
            	snprintf(path, sizeof path, "%s/counts", arguments[1]);
            	out = fopen(path, "w");
            	signal(SIGUSR1, handle);
            	for (i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, work, (void *)i);
            	for (i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
            	for (i = 0; i < 11; i++) { pid_t child = fork(); if (!child) _exit(0); waitpid(child, NULL, 0); }
            	for (i = 0; i < 5; i++) execl("/nothing/there", "x", NULL);
            	fclose(out);
            	pthread_create(&blocked, NULL, replace, arguments[0]);
            	pause();
            }
        """

    private let program: CompiledProgram
    var directory: String { program.directory }
    var command: [String] { [program.path, directory] }

    init() throws { program = try CompiledProgram(Self.source, ["-O1", "-pthread"]) }

    /// Of each thread its tid, and how long it slept by its own clock.
    func said() throws -> [(tid: Int32, thread: Int, slept: UInt64)] {
        try String(contentsOfFile: directory + "/counts", encoding: .utf8).split(separator: "\n").map { line in
            let words = line.split(separator: " ")
            guard words.count == 3, let tid = Int32(words[0]), let thread = Int(words[1]), let slept = UInt64(words[2]) else {
                throw TestFailure("the program wrote \(line)")
            }
            return (tid, thread, slept)
        }
    }
}
