import Glibc
import KilnHosts
import Synchronization
import SystemPackage

/// The system's ssh with a command on another host, and pipes to its three streams.
///
/// What ssh asks (a passphrase, whether a host key is right) it asks on the terminal itself. https://man.openbsd.org/ssh.1
final class SSHProcess: Sendable {
    let pid: pid_t
    let input: FileDescriptor, output: FileDescriptor, errors: FileDescriptor
    private let status = Mutex<Int32?>(nil)

    /// - Parameters:
    ///   - configuration: ssh's own configuration file, instead of the user's.
    ///   - asks: ssh may ask; otherwise it fails where it would have to.
    init(_ host: HostName, _ command: String, configuration: String?, asks: Bool) throws {
        // No terminal there, no forwardings of the configuration, and our own command instead of one of the configuration.
        var words = ["ssh", "-T", "-o", "ClearAllForwardings=yes", "-o", "RemoteCommand=none"]
        if !asks { words += ["-o", "BatchMode=yes"] }
        if let configuration { words += ["-F", configuration] }
        words += ["--", host.description, command]

        let pipes = try (0..<3).map { _ in try ClosingPipe() }
        do { pid = try Self.start(words, input: pipes[0].readEnd, output: pipes[1].writeEnd, errors: pipes[2].writeEnd) } catch {
            pipes.forEach { $0.close() }
            throw Failure("cannot start ssh: \(errorText(error.rawValue)). Install it: apt install openssh-client")
        }
        for end in [pipes[0].readEnd, pipes[1].writeEnd, pipes[2].writeEnd] { try? end.close() }
        (input, output, errors) = (pipes[0].writeEnd, pipes[1].readEnd, pipes[2].readEnd)
        // A connection that takes nothing more must not hold up whoever writes.
        _ = fcntl(input.rawValue, F_SETFL, O_NONBLOCK)
    }

    /// In kiln's own process group, which has the terminal, or ssh could not ask. Ctrl-C is for kiln, which ends the session in order: ssh ignores it.
    private static func start(
        _ words: [String], input: FileDescriptor, output: FileDescriptor, errors: FileDescriptor
    ) throws(Errno) -> pid_t {
        var actions = posix_spawn_file_actions_t(), attributes = posix_spawnattr_t(), none = sigset_t(), standard = sigset_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        for (place, end) in [input, output, errors].enumerated() { posix_spawn_file_actions_adddup2(&actions, end.rawValue, Int32(place)) }
        sigemptyset(&none)
        sigemptyset(&standard)
        for signal in [SIGPIPE, SIGXFSZ, SIGHUP, SIGTERM] { sigaddset(&standard, signal) }
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setsigdefault(&attributes, &standard)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        defer { for word in arguments { free(word) } }
        let former = signal(SIGINT, SIG_IGN)
        defer { signal(SIGINT, former) }
        var child: pid_t = 0
        let failed = posix_spawnp(&child, "ssh", &actions, &attributes, &arguments, environ)
        guard failed == 0 else { throw Errno(rawValue: failed) }
        return child
    }

    func closeInput() { try? input.close() }

    func terminate() { send(SIGTERM) }

    /// Its number is another's once it has been waited for.
    private func send(_ signal: Int32) { status.withLock { if $0 == nil { kill(pid, signal) } } }

    /// Waits up to `patience` seconds for its end, and kills it then. Returns its exit status; 255 is its own failure.
    func end(patience: Double) -> Int32 {
        for attempt in 0... {
            let ended = status.withLock { status in
                var now: Int32 = 0
                if status == nil, waitpid(pid, &now, WNOHANG) == pid { status = now & 0x7f == 0 ? now >> 8 & 0xff : 128 + now & 0x7f }
                return status
            }
            if let ended { return ended }
            if Double(attempt) / 100 >= patience { send(SIGKILL) }
            usleep(10_000)
        }
        return 255
    }
}
