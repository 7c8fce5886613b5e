import Foundation
import Glibc
import TestSupport

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
