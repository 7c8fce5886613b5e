import Foundation
import Glibc

/// What kernel tests need of the machine, probed by running kiln itself: nothing is guessed from versions.
enum Capability {
    /// The hooks that can be attached here, in kiln's order. The others' tests are skipped, each with what is missing.
    static let hooks: [String] = ["socket", "fentry", "syscall"].filter { hook in
        guard let missing = probe(hook: hook) else { return true }
        // CI doesn't let tests be skipped on a machine that can run them, but for the one hook that hosts like to refuse altogether.
        let isRefused = hook == "fentry" && missing.contains("EPERM (") && !missing.contains("verifier:")
        FileHandle.standardError.write(Data("\(isRefused ? "REFUSED by this host:" : "SKIPPED") tests of hook \(hook): \(missing)\n".utf8))
        return false
    }

    static let canProfile = !hooks.isEmpty

    /// Runs what stands behind it with all of root's capabilities but CAP_SYS_ADMIN.
    static let withoutAdministration = ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"]

    /// Attach to a process of our own for a moment.
    private static func probe(hook: String) -> String? {
        guard access("/usr/bin/redis-server", X_OK) == 0 else { return "redis-server is not installed" }
        let directory = temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        do {
            let target = try Child("sleep", ["60"])
            let kiln = try KilnRun(["-p", "\(target.pid)", "--hook", hook, "-F", "0", "-o", directory + "/session"])
            defer { kiln.stop() }
            return kiln.attached() ? nil : kiln.errorText.trimmingCharacters(in: .whitespacesAndNewlines)
        } catch {
            return "\(error)"
        }
    }
}

/// A directory of our own, to be removed by who asked for it.
func temporaryDirectory(in parent: String = "/tmp") -> String {
    var template = Array("\(parent)/kiln-test-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { fatalError("cannot make a directory in \(parent)") }
    return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

/// Wait until `condition` holds, looking every 10 ms; false after `seconds`.
func eventually(within seconds: Double = 60, _ condition: () -> Bool) -> Bool {
    let end = Date().addingTimeInterval(seconds)
    while !condition() {
        if Date() > end { return false }
        usleep(10_000)
    }
    return true
}
