import Foundation
import Glibc
import TestSupport

/// A real sshd with keys of its own on loopback, and a configuration of ssh that reaches it as `there`, and through itself as `behind`.
final class SSHServer {
    static let canRun = sshd != nil && program("ssh-keygen") != nil && program("ssh") != nil && getuid() == 0

    private static let sshd: String? = ["/usr/sbin/sshd", "/usr/bin/sshd"].first { access($0, X_OK) == 0 }

    let port: UInt16
    /// For ssh's option -F.
    let configuration: String
    private let directory = temporaryDirectory()
    private let daemon: Child

    /// - Parameters:
    ///   - address: Where it listens, and what `there` stands for.
    ///   - wrapper: The words before the command: it may run in a network namespace.
    ///   - users: Names under which ssh reaches it: `there` as root, and each of these as `NAME-there`.
    ///   - extra: Lines for the configuration of sshd.
    init(address: String = "127.0.0.1", wrapper: [String] = [], users: [String] = [], extra: [String] = []) throws {
        port = try freePort()
        configuration = directory + "/config"
        // OpenSSH wants it, and Debian's service makes it.
        mkdir("/run/sshd", 0o755)
        chmod(directory, 0o755)
        for key in ["host", "user"] { _ = try Child.output(of: ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "\(directory)/\(key)"]) }
        let publicKey = try String(contentsOfFile: directory + "/user.pub", encoding: .utf8)
        try publicKey.write(toFile: directory + "/authorized", atomically: true, encoding: .utf8)
        chmod(directory + "/authorized", 0o644)
        let lines = [
            "Port \(port)", "ListenAddress \(address)", "HostKey \(directory)/host", "AuthorizedKeysFile \(directory)/authorized", "StrictModes no",
            "PidFile none", "UsePAM no", "PasswordAuthentication no", "KbdInteractiveAuthentication no", "PermitRootLogin yes",
        ]
        try (lines + extra).joined(separator: "\n").appending("\n").write(toFile: directory + "/sshd_config", atomically: true, encoding: .utf8)
        let common = """
              HostName \(address)
              Port \(port)
              IdentityFile \(directory)/user
              IdentitiesOnly yes
              UserKnownHostsFile \(directory)/known
              StrictHostKeyChecking yes
              HostKeyAlias there

            """
        let hosts = [("there", "root")] + users.map { ("\($0)-there", $0) }
        let client = hosts.map { name, user in "Host \(name)\n  User \(user)\n" + common }
        let jump = "Host behind\n  ProxyJump there\n" + common
        try (client + [jump]).joined().write(toFile: configuration, atomically: true, encoding: .utf8)
        let command = wrapper + [Self.sshd ?? "sshd", "-D", "-e", "-f", directory + "/sshd_config"]
        daemon = try Child(command[0], Array(command.dropFirst()), output: directory + "/log", errors: directory + "/log")
        try know(host: "\(directory)/host.pub")
        guard eventually(within: 10, { log.contains("Server listening") }) else { throw TestFailure("sshd did not start: \(log)") }
    }

    deinit {
        kill(daemon.pid, SIGTERM)
        daemon.wait()
        try? FileManager.default.removeItem(atPath: directory)
    }

    var log: String { (try? String(contentsOfFile: directory + "/log", encoding: .utf8)) ?? "" }

    /// Writes another key than the server's into the client's list of known hosts.
    func forgetKey() throws {
        _ = try Child.output(of: ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory + "/other"])
        try know(host: directory + "/other.pub")
    }

    private func know(host key: String) throws {
        let words = try String(contentsOfFile: key, encoding: .utf8).split(separator: " ").prefix(2).joined(separator: " ")
        try "there \(words)\n".write(toFile: directory + "/known", atomically: true, encoding: .utf8)
    }
}
