import Glibc

/// A command that runs beside kiln: the one behind `--` that bounds a session (`kiln redis -- sleep 10`), or one whose cost is
/// measured.
struct BoundingCommand {
    let pid: Int32

    /// Start it, found by PATH, with signals as they were before kiln blocked and ignored some. `errors`: its standard error, if
    /// not kiln's own; then its output goes nowhere.
    init(_ arguments: [String], errors: Int32? = nil) throws {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        if let errors {
            posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
            posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0)
            posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO)
        }
        var attributes = posix_spawnattr_t()
        var none = sigset_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        var ignored = sigset_t()
        sigemptyset(&ignored)
        sigaddset(&ignored, SIGPIPE)
        posix_spawnattr_setsigdefault(&attributes, &ignored)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
        var words: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        defer { for word in words { free(word) } }
        var child: pid_t = 0
        let result = posix_spawnp(&child, arguments[0], &actions, &attributes, &words, environ)
        guard result == 0 else {
            throw Failure("cannot start `\(arguments[0])`: \(errorText(result)). Give a program that exists, by its path or on PATH.")
        }
        pid = child
    }

    /// Ask it to end if it hasn't; one that is still there after `patience` seconds is killed. Its exit status, or 128 and the
    /// signal's number.
    @discardableResult
    func end(_ signal: Int32 = SIGTERM, patience: Double = 1) -> Int32 {
        var status: Int32 = 0
        kill(pid, signal)
        var ended = false
        for _ in 0..<Int(patience * 100) where !ended {
            ended = waitpid(pid, &status, WNOHANG) != 0
            if !ended { usleep(10_000) }
        }
        if !ended {
            kill(pid, SIGKILL)
            waitpid(pid, &status, 0)
        }
        return status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f)
    }
}
