import CLibbpf
import Glibc

/// An operation that the kernel refused, the reason, and what to do. One line; for a rejected program also the verifier's last lines.
public struct KernelError: Error, CustomStringConvertible {
    public var attempt: String
    /// The errno, positive.
    public var code: Int32
    /// The last lines of libbpf and the verifier.
    public private(set) var log: [String]
    /// The number of a BPF helper that the program calls and this kernel lacks. The log is then not needed.
    public private(set) var missingHelper: Int?

    /// What to do, if the errno alone is not enough to say.
    private let remedy: String?

    package init(_ attempt: String, code: Int32, log: String = "", remedy: String? = nil) {
        self.attempt = attempt
        self.remedy = remedy
        self.code = code
        let lines = log.split(separator: "\n").map(String.init)
        self.log = lines
        let unknown = "invalid func unknown#"
        missingHelper =
            lines.lazy.compactMap { line in
                line.firstRange(of: unknown).flatMap { Int(line[$0.upperBound...].prefix { $0.isNumber }) }
            }.first
    }

    /// The verifier rejected a program.
    public var isRejection: Bool { !verifierLog.isEmpty }

    /// The verifier's last lines; empty if it rejected nothing.
    public var verifierLog: [String] {
        guard missingHelper == nil, let end = log.lastIndex(where: { $0.hasPrefix("processed ") }) else { return [] }
        return Array(log[max(0, end - 8)...end])
    }

    /// The operation and the reason.
    public var cause: String {
        missingHelper.map { "cannot \(attempt): this kernel has no BPF helper \($0)" } ?? "cannot \(attempt): \(errnoName(code))"
    }

    public var description: String {
        ([cause + ". " + advice] + verifierLog.map { "  verifier: " + $0 }).joined(separator: "\n")
    }

    private var advice: String {
        if let remedy { return remedy }
        if missingHelper != nil { return "`kiln doctor` lists what this kernel lacks." }
        return switch code {
        case EPERM, EACCES:
            verifierLog.isEmpty
                ? "This host forbids it; `kiln doctor` lists what it allows."
                : "This kernel's verifier rejects the program; please report its last lines. `kiln doctor` lists alternatives."
        case ENOENT, ESRCH: "This kernel doesn't have it; `kiln doctor` lists what it has."
        case ENOMEM: "Free memory, or watch fewer processes."
        case EOPNOTSUPP, ENOTSUPP, EINVAL: "This kernel doesn't support it; `kiln doctor` lists what it supports."
        case EMFILE, ENFILE: "Raise the limit of open files (ulimit -n)."
        default: "Look at the output of dmesg and `kiln doctor`, or try again; nothing is left attached."
        }
    }
}

/// The kernel's internal error (linux/errno.h), which BPF returns to user space.
private let ENOTSUPP: Int32 = 524

/// `EPERM (Operation not permitted)`
func errnoName(_ code: Int32) -> String {
    let names: [Int32: String] = [
        EPERM: "EPERM", ENOENT: "ENOENT", ESRCH: "ESRCH", EACCES: "EACCES", EBUSY: "EBUSY", EEXIST: "EEXIST", EINVAL: "EINVAL",
        ENOMEM: "ENOMEM", ENOSPC: "ENOSPC", EMFILE: "EMFILE", ENFILE: "ENFILE", E2BIG: "E2BIG", EOPNOTSUPP: "EOPNOTSUPP",
        ENODEV: "ENODEV", EFAULT: "EFAULT",
    ]
    if code == ENOTSUPP { return "ENOTSUPP (Not supported)" }
    let text = strerror(code).map { String(cString: $0) } ?? "errno \(code)"
    return names[code].map { "\($0) (\(text))" } ?? text
}
