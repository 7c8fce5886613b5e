import Glibc

/// A program that a test has started; ended and waited for with the last reference.
///
/// Not Foundation's Process, whose waitUntilExit() needs a run loop that the threads of concurrent tests don't turn.
final class ChildProcess {
    let pid: pid_t
    /// The wait status, once the program has ended.
    private var status: Int32?

    private let endsBySignal: Int32

    /// - Parameters:
    ///   - command: program, looked up in PATH and the system's directories, and arguments.
    ///   - signal: what it is ended by; unshare(1), for one, ignores SIGTERM while its child runs.
    init(_ command: [String], quietly: Bool = true, endsBySignal signal: Int32 = SIGTERM) throws {
        endsBySignal = signal
        guard let program = command.first.flatMap({ path($0) }) else { throw Failure(text: "\(command) is not installed") }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
        if quietly { posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0) }
        var arguments = command.map { strdup($0) } + [nil]
        defer { for argument in arguments { free(argument) } }
        // Tests run on threads that block nearly all signals, and a child inherits the mask: it would never see SIGTERM.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
        var pid: pid_t = 0
        let error = posix_spawn(&pid, program, &actions, &attributes, &arguments, environ)
        guard error == 0 else { throw Failure(text: "cannot start \(program): \(String(cString: strerror(error)))") }
        self.pid = pid
    }

    deinit {
        if isRunning { kill(pid, endsBySignal) }
        for _ in 0..<200 where isRunning { usleep(10_000) }
        if isRunning { kill(pid, SIGKILL) }
        waitUntilExit()
    }

    var isRunning: Bool {
        if status != nil { return false }
        var now: Int32 = 0
        if waitpid(pid, &now, WNOHANG) == pid { status = now }
        return status == nil
    }

    @discardableResult func waitUntilExit() -> Int32 {
        if let status { return status }
        var now: Int32 = 0
        while waitpid(pid, &now, 0) < 0, errno == EINTR {}
        status = now
        return now
    }
}

struct Failure: Error, CustomStringConvertible {
    var text: String
    var description: String { text }
}

func path(_ program: String) -> String? {
    if program.hasPrefix("/") { return program }
    let directories = getenv("PATH").map { String(cString: $0).split(separator: ":").map(String.init) } ?? []
    return (directories + ["/usr/bin", "/usr/sbin", "/usr/local/bin"]).map { $0 + "/" + program }
        .first { access($0, X_OK) == 0 }
}

/// Whether a command ends with status 0.
func succeeds(_ command: [String]) -> Bool {
    guard let child = try? ChildProcess(command) else { return false }
    return child.waitUntilExit() == 0
}
