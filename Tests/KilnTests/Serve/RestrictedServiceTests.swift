import Foundation
import TestSupport
import Testing

@testable import kiln

/// A run with what `systemd/kiln.service` allows, on a host whose first process need not be systemd.
private enum UnitRestrictions {
    /// With libseccomp, what systemd does for SystemCallFilter, RestrictAddressFamilies, MemoryDenyWriteExecute and RestrictNamespaces.
    private static let filter = """
        import os, seccomp, socket, subprocess, sys
        end = sys.argv.index("--")
        families, words, command = sys.argv[1].split(","), sys.argv[2:end], sys.argv[end + 1:]

        def calls(word):
            if not word.startswith("@"): return {word}
            text = subprocess.run(["systemd-analyze", "--no-pager", "syscall-filter", word], capture_output=True, text=True, check=True).stdout
            inner = [line.strip() for line in text.split("\\n")[1:] if line.strip() and not line.strip().startswith("#")]
            return set().union(*map(calls, inner))

        rules = seccomp.SyscallFilter(seccomp.ERRNO(1))
        for call in set().union(*map(calls, ["@default"] + words)) - {"setns", "unshare"}:
            conditions = [[]]
            if call == "socket": conditions = [[seccomp.Arg(0, seccomp.EQ, getattr(socket, family))] for family in families]
            if call == "mmap": conditions = [[seccomp.Arg(2, seccomp.MASKED_EQ, 6, protection)] for protection in (0, 2, 4)]
            if call in ("mprotect", "pkey_mprotect"): conditions = [[seccomp.Arg(2, seccomp.MASKED_EQ, 4, 0)]]
            for condition in conditions:
                try: rules.add_rule(seccomp.ALLOW, call, *condition)
                except (OSError, RuntimeError): pass  # of another architecture, or newer than libseccomp
        rules.load()
        os.execvp(command[0], command)
        """

    static let canRun =
        program("systemd-analyze") != nil && program("setpriv") != nil
        && (try? Child("/usr/bin/python3", ["-c", "import seccomp"]).wait()) == 0

    /// The words before a command: it runs as a user without rights but for the unit's capabilities.
    static func wrapper() throws -> [String] {
        let capabilities = try ServiceUnit.words(of: "AmbientCapabilities").map { "+" + $0.lowercased().dropFirst("CAP_".utf8.count) }
        let only = "-all," + capabilities.joined(separator: ",")
        return ["/usr/bin/python3", "-c", filter, try ServiceUnit.words(of: "RestrictAddressFamilies").joined(separator: ",")]
            + (try ServiceUnit.words(of: "SystemCallFilter")) + ["--"]
            + [
                "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps", only, "--ambient-caps", only, "--bounding-set", only,
                "--no-new-privs",
            ]
    }
}

extension KernelTests {
    @Suite(.enabled(if: UnitRestrictions.canRun, "systemd-analyze, setpriv or python3-seccomp is missing"))
    struct RestrictedServiceTests {
        /// A session is exact, and has stacks, with what the unit allows.
        @Test func theUnitAllowsWhatASessionNeeds() throws {
            let server = try RedisServer(), directory = try TemporaryDirectory(), output = directory.url.path + "/session"
            try FileManager.default.setAttributes([.posixPermissions: 0o777], ofItemAtPath: directory.url.path)
            let kiln = try KilnRun(["--port", "\(server.port)", "--off-cpu", "-o", output], wrapper: try UnitRestrictions.wrapper())
            guard kiln.attached() else { throw TestFailure("kiln did not attach: \(kiln.errorText)") }
            let count = load(10_007)
            try server.benchmark(["-c", "5", "-n", "\(count)", "get", "nothing"])
            #expect(kiln.stop() == 0, "\(kiln.errorText)")
            let session = try Session(directory: output, output: kiln.outputText)
            #expect(session.counts["GET"] == count)
            let stacks = try String(contentsOfFile: output + "/stacks.off-cpu.folded", encoding: .utf8)
            #expect(stacks.contains("main;aeMain"))
        }

        /// The filter is one.
        @Test func otherCallsAreRefused() throws {
            let wrapper = try UnitRestrictions.wrapper(), denied = ["unshare", "--net", "true"]
            #expect(try Child(wrapper[0], wrapper.dropFirst() + ["true"]).wait() == 0)
            #expect(try Child(wrapper[0], wrapper.dropFirst() + denied).wait() != 0)
        }
    }
}
