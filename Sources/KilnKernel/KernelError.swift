import CLibbpf
import Glibc

/// What the kernel refused: what was tried, why it failed, and what to do. One line, and the verifier's last lines below
/// it where a program was rejected.
public struct KernelError: Error, CustomStringConvertible {
    public var attempt: String
    /// The errno, positive.
    public var code: Int32
    /// The end of the verifier's log, or empty.
    public var verifierLog: [String] = []
    /// The number of a BPF helper that the program calls and this kernel doesn't have: reason enough without a log.
    public private(set) var missingHelper: Int?

    package init(_ attempt: String, code: Int32, log: String = "") {
        self.attempt = attempt
        self.code = code
        let lines = log.split(separator: "\n").map(String.init)
        let unknown = "invalid func unknown#"
        missingHelper = lines.lazy.compactMap { line in
            line.firstRange(of: unknown).flatMap { Int(line[$0.upperBound...].prefix { $0.isNumber }) }
        }.first
        if missingHelper == nil, let end = lines.lastIndex(where: { $0.hasPrefix("processed ") }) {
            verifierLog = lines[max(0, end - 8)...end].map { $0 }
        }
    }

    public var description: String {
        if let missingHelper {
            return "cannot \(attempt): this kernel has no BPF helper \(missingHelper). kiln needs Linux 5.17 or later, and 6.3 for hook socket."
        }
        let line = "cannot \(attempt): \(errnoName(code)). \(advice)"
        return ([line] + verifierLog.map { "  verifier: " + $0 }).joined(separator: "\n")
    }

    private var advice: String {
        switch code {
        case EPERM, EACCES:
            verifierLog.isEmpty
                ? "Run as root, or grant CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN."
                : "This kernel's verifier refuses the program; please report its last lines."
        case ENOENT, ESRCH: "This kernel doesn't have it."
        case ENOMEM: "Free memory, or watch fewer processes."
        case EOPNOTSUPP, EINVAL: "This kernel doesn't support it."
        case EMFILE, ENFILE: "Raise the limit of open files (ulimit -n)."
        default: "See what dmesg says, or try again; nothing was left attached."
        }
    }
}

/// `EPERM (Operation not permitted)`
func errnoName(_ code: Int32) -> String {
    let names: [Int32: String] = [
        EPERM: "EPERM", ENOENT: "ENOENT", ESRCH: "ESRCH", EACCES: "EACCES", EBUSY: "EBUSY", EEXIST: "EEXIST", EINVAL: "EINVAL",
        ENOMEM: "ENOMEM", ENOSPC: "ENOSPC", EMFILE: "EMFILE", ENFILE: "ENFILE", E2BIG: "E2BIG", EOPNOTSUPP: "EOPNOTSUPP",
        ENODEV: "ENODEV", EFAULT: "EFAULT",
    ]
    let text = strerror(code).map { String(cString: $0) } ?? "errno \(code)"
    return names[code].map { "\($0) (\(text))" } ?? text
}
