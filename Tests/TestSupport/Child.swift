import Foundation
import Glibc

/// A program started by a test or a benchmark; killed with its last reference.
///
/// Not Foundation's Process: its waitUntilExit() turns a run loop, which can hang on the threads that tests run on.
public final class Child {
    public let pid: pid_t
    private var status: Int32?

    /// The program is looked up in PATH. Output goes to the files named, or nowhere.
    public init(_ program: String, _ arguments: [String], output: String = "/dev/null", errors: String = "/dev/null") throws {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0o644)
        posix_spawn_file_actions_addopen(&actions, 2, errors, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0o644)
        // Threads of tests block signals, and a child would inherit that.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
        var words = ([program] + arguments).map { strdup($0) } + [nil]
        defer { for word in words { free(word) } }
        var child: pid_t = 0
        let result = posix_spawnp(&child, program, &actions, &attributes, &words, environ)
        guard result == 0 else { throw TestFailure("cannot start \(program): \(String(cString: strerror(result)))") }
        pid = child
    }

    /// What a command prints, if it ends with status 0.
    public static func output(of command: [String]) throws -> String {
        let file = temporaryDirectory() + "/output"
        defer { try? FileManager.default.removeItem(atPath: URL(fileURLWithPath: file).deletingLastPathComponent().path) }
        let status = try Child(command[0], Array(command.dropFirst()), output: file).wait()
        guard status == 0 else { throw TestFailure("\(command.joined(separator: " ")) ended with \(status)") }
        return String(decoding: FileManager.default.contents(atPath: file) ?? Data(), as: UTF8.self)
    }

    /// A command that doesn't begin before it is told to (SIGCONT).
    public static func held(_ command: [String]) throws -> Child {
        let child = try Child("sh", ["-c", "kill -STOP $$; exec \"$@\"", "sh"] + command)
        guard eventually({ (try? String(contentsOfFile: "/proc/\(child.pid)/stat", encoding: .utf8))?.contains(") T ") == true }) else {
            throw TestFailure("the shell did not stop")
        }
        return child
    }

    deinit {
        if isRunning { kill(pid, SIGKILL) }
        wait()
    }

    public var isRunning: Bool {
        guard status == nil else { return false }
        var now: Int32 = 0
        if waitpid(pid, &now, WNOHANG) == pid { status = now }
        return status == nil
    }

    /// The exit status, or 128 and the signal's number.
    @discardableResult
    public func wait() -> Int32 {
        var now: Int32 = status ?? 0
        if status == nil {
            while waitpid(pid, &now, 0) < 0, errno == EINTR {}
            status = now
        }
        return now & 0x7f == 0 ? (now >> 8) & 0xff : 128 + (now & 0x7f)
    }
}
