import Glibc

/// The command behind `--` that runs as long as the session: `kiln redis -- sleep 10`.
struct BoundingCommand {
    let pid: Int32

    /// Start it, found by PATH, with signals as they were before kiln blocked and ignored some.
    init(_ arguments: [String]) throws {
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
        let result = posix_spawnp(&child, arguments[0], nil, &attributes, &words, environ)
        guard result == 0 else {
            throw Failure("cannot start `\(arguments[0])`: \(errorText(result)). The command behind -- bounds the session.")
        }
        pid = child
    }

    /// Ask it to end if it hasn't; one that is still there after a second is killed.
    func end() {
        var status: Int32 = 0
        kill(pid, SIGTERM)
        for _ in 0..<100 {
            if waitpid(pid, &status, WNOHANG) != 0 { return }
            usleep(10_000)
        }
        kill(pid, SIGKILL)
        waitpid(pid, &status, 0)
    }
}
