import CLibbpf
import Glibc

/// Requirements of kiln for its process and for the kernel. Each is probed by trying it, never by a version number:
/// distributions backport features, and hosts forbid what their kernels can do.
public enum Capabilities {
    /// In the order in which they are needed.
    public enum Group: String, CaseIterable, Sendable { case process, kernel, hooks, features }

    public struct Entry: Sendable {
        public let name: String
        public let group: Group
        /// `kiln redis` can't run without it. Of the hooks, one is enough.
        public let isRequired: Bool
        /// The features that are missing without it, and the substitute.
        public let takesAway: String
        /// How to get it.
        public let remedy: String
        /// Returns a description of what was found, or throws the reason why it is missing.
        let probe: @Sendable () throws -> String

        /// Every program of kiln needs it.
        var isNeededByAll: Bool { isRequired && (group == .process || group == .kernel) }
    }

    public enum Outcome: Sendable { case present, missing, untried }

    /// The result of a probe.
    public struct Finding: Sendable {
        public let entry: Entry
        public let outcome: Outcome
        /// What was found, or why it is missing or was not tried, in one line.
        public let words: String
        /// The verifier's last lines on a rejected program.
        public let verifierLog: [String]
    }

    /// The reason why kiln can't run here, in one line.
    public struct Missing: Error, CustomStringConvertible {
        public let description: String
    }

    /// A marker for the oldest tested BPF: a helper that came with that kernel, and that distributions backport with the rest of its BPF.
    /// No program calls it.
    static let tested = "bpf_ktime_get_tai_ns"

    static let typeInformation = "/sys/kernel/btf/vmlinux"

    /// The requirements of every session, and features that make it faster.
    public static let host: [Entry] = [
        Entry(
            name: "initial user namespace", group: .process, isRequired: true, takesAway: "everything", remedy: "Run kiln as root of the host.",
            probe: probeUserNamespace
        ),
        Entry(
            name: "privileges", group: .process, isRequired: true, takesAway: "everything",
            remedy:
                "Run it with sudo, or give the program its rights once: \(rightsCommand()). Then \(runStatisticsPurpose) still don't work: they need CAP_SYS_ADMIN.",
            probe: probePrivileges
        ),
        Entry(
            name: "BTF", group: .kernel, isRequired: true, takesAway: "everything",
            remedy: "kiln needs a kernel built with CONFIG_DEBUG_INFO_BTF=y, as the usual distributions have.",
            probe: { try probeTypeInformation(at: typeInformation) }
        ),
        helper("bpf_loop", BPF_FUNC_loop, required: true, takesAway: "everything", since: "5.17"),
        helper("bpf_task_pt_regs", BPF_FUNC_task_pt_regs, required: true, takesAway: "hook socket, and stacks", since: "5.15"),
        helper(
            tested, BPF_FUNC_ktime_get_tai_ns, required: true, takesAway: "everything, unless --untested-kernel is given",
            since: "6.1, the oldest kernel with tests of exact counts and complete stacks; --untested-kernel lets kiln run here anyway"
        ),
        map("ring buffer", BPF_MAP_TYPE_RINGBUF, required: true, takesAway: "stacks", since: "5.8"),
        map("socket storage", BPF_MAP_TYPE_SK_STORAGE, required: false, takesAway: "the hooks socket and fentry", since: "5.2"),
        map("task storage", BPF_MAP_TYPE_TASK_STORAGE, required: true, takesAway: "everything", since: "5.11"),
        Entry(
            name: "batches of per-CPU arrays", group: .kernel, isRequired: false, takesAway: "speed: rows are read one by one",
            remedy: "They came with Linux 5.13.", probe: probeBatches
        ),
        Entry(
            name: "batches of maps of maps", group: .kernel, isRequired: false,
            takesAway: "speed: unwind tables are loaded one by one, about 10 ms each", remedy: "They came with Linux 5.19.",
            probe: probeOuterBatches
        ),
        Entry(
            name: "uprobes", group: .kernel, isRequired: false,
            takesAway: "commands of TLS connections: they are counted as tls_connections; in kiln record the events uprobe, uretprobe and usdt",
            remedy: "A kernel with CONFIG_UPROBE_EVENTS=y that isn't locked down.",
            probe: {
                let result = kiln_probe_uprobe()
                guard result == 0 else { throw KernelError("probe a function of a program", code: -result) }
                return ""
            }
        ),
        Entry(
            name: "uprobe_multi", group: .kernel, isRequired: false, takesAway: "speed: functions are attached one by one",
            remedy: "It came with Linux 6.6, and follows all threads of a process since 6.13.",
            probe: {
                let result = kiln_probe_uprobe_multi()
                guard result == 0 else { throw KernelError("attach several functions at once", code: -result) }
                return ""
            }
        ),
        kernelFunctions,
        runStatistics,
    ]

    /// Tries everything. Without privileges nothing is tried; without a kernel feature that all programs need, no program.
    ///
    /// - Parameter probes: The needs of each probe.
    public static func findings(_ probes: [Entry]) -> [Finding] {
        var findings: [Finding] = [], missing: Entry?
        for entry in host + probes {
            if let missing, missing.group == .process || entry.group == .hooks || entry.group == .features {
                findings.append(Finding(entry: entry, outcome: .untried, words: "not tried without \(missing.name)", verifierLog: []))
                continue
            }
            let found = finding(entry)
            findings.append(found)
            if found.outcome == .missing, entry.isNeededByAll, entry.name != tested { missing = missing ?? entry }
        }
        return findings
    }

    /// Throws if something that every session needs is missing. Takes about a millisecond. On a kernel older than the oldest tested one,
    /// `untested` is called if it is given; otherwise this throws.
    public static func require(untested: (() -> Void)? = nil) throws(Missing) { try require(host, untested: untested) }

    static func require(_ entries: [Entry], untested: (() -> Void)?) throws(Missing) {
        for entry in entries where entry.isNeededByAll {
            let found = finding(entry)
            guard found.outcome == .present else {
                if entry.name == tested, let untested {
                    untested()
                    continue
                }
                throw Missing(description: "cannot profile: \(found.words). \(entry.remedy) `kiln doctor` lists what this host allows.")
            }
        }
    }

    private static let runStatisticsPurpose = "--max-cost, --bpf-statistics, and the run-time statistics of kiln cost"

    private static let runStatistics = Entry(
        name: "run-time statistics", group: .kernel, isRequired: false,
        takesAway: runStatisticsPurpose,
        remedy: "They need CAP_SYS_ADMIN: run it with sudo, or give the program that right as well: \(rightsCommand("CAP_SYS_ADMIN")).",
        probe: {
            _ = try RunStatistics()
            return ""
        }
    )

    private static let kernelFunctions = Entry(
        name: "kprobe_multi", group: .kernel, isRequired: false, takesAway: "functions of the kernel in kiln functions (kernel:NAME); --list names them",
        remedy: "It came with Linux 5.18, in a kernel with CONFIG_FPROBE=y that isn't locked down.",
        probe: {
            let result = kiln_probe_kprobe_multi()
            guard result == 0 else { throw KernelError("probe a function of the kernel", code: -result) }
            return ""
        }
    )

    /// Throws if functions of the kernel can't be probed.
    public static func requireKernelFunctions() throws(Missing) {
        let found = finding(kernelFunctions)
        guard found.outcome == .present else {
            throw Missing(
                description:
                    "functions of the kernel need kprobe_multi, which is missing: \(found.words). \(kernelFunctions.remedy) `kiln doctor` lists what this host allows."
            )
        }
    }

    /// Throws if the kernel's BPF run-time statistics can't be switched on. `purpose`: the feature that needs them.
    public static func requireRunStatistics(for purpose: String) throws(Missing) {
        let found = finding(runStatistics)
        guard found.outcome == .present else {
            throw Missing(description: "\(found.words), which \(purpose) needs. \(runStatistics.remedy) `kiln doctor` lists what this host allows.")
        }
    }

    /// What this host allows, in a few words.
    public struct Rights: Sendable {
        /// Why no session can run here, and what to do; nil: sessions can run.
        public let obstacle: String?
        /// Nothing but rights of the process is missing.
        public let lacksPrivileges: Bool
        /// What sessions can't do here, with the reasons.
        public let limits: [String]
    }

    /// Takes some milliseconds, and attaches programs to nothing but kiln itself.
    public static func rights() -> Rights {
        for entry in host where entry.isNeededByAll {
            let found = finding(entry)
            guard found.outcome == .missing else { continue }
            return Rights(obstacle: "nothing: \(found.words). \(entry.remedy)", lacksPrivileges: entry.name == "privileges", limits: [])
        }
        let limits = host.filter { !$0.isRequired }.map { finding($0) }.filter { $0.outcome == .missing }
        return Rights(obstacle: nil, lacksPrivileges: false, limits: limits.map { "\($0.entry.takesAway) (\($0.words))" })
    }

    static func finding(_ entry: Entry) -> Finding {
        do {
            return Finding(entry: entry, outcome: .present, words: try entry.probe(), verifierLog: [])
        } catch let error as KernelError {
            return Finding(entry: entry, outcome: .missing, words: error.cause, verifierLog: error.isRejection ? error.log : [])
        } catch {
            return Finding(entry: entry, outcome: .missing, words: "\(error)", verifierLog: [])
        }
    }
}
