import CLibbpf
import Glibc

/// What kiln needs of its process and of the kernel. Each entry is probed by trying it, never by a version: kernels
/// of distributions have what newer ones brought, and hosts refuse what their kernels have.
public enum Capabilities {
    /// In the order in which they are needed.
    public enum Group: String, CaseIterable, Sendable { case process, kernel, hooks, features }

    public struct Entry: Sendable {
        public let name: String
        public let group: Group
        /// `kiln redis` can't run without. Of the hooks, one is enough.
        public let isRequired: Bool
        /// What is not to be had without it, and what is done instead.
        public let takesAway: String
        /// How to get it.
        public let remedy: String
        /// Says what was found, or throws why it is missing.
        let probe: @Sendable () throws -> String

        /// Whatever kiln does in the kernel needs it.
        var isNeededByAll: Bool { isRequired && (group == .process || group == .kernel) }
    }

    public enum Outcome: Sendable { case present, missing, untried }

    /// What became of a probe.
    public struct Finding: Sendable {
        public let entry: Entry
        public let outcome: Outcome
        /// What was found, or why it is missing or was not tried: one line.
        public let words: String
        /// What the verifier said of a program that it rejected.
        public let verifierLog: [String]
    }

    /// Why kiln can't run here at all: one line.
    public struct Missing: Error, CustomStringConvertible {
        public let description: String
    }

    /// The mark of the lowest BPF that kiln is tested with: a helper that came with it, and with what distributions take from it into
    /// older kernels. Nothing calls it.
    static let tested = "bpf_ktime_get_tai_ns"

    static let typeInformation = "/sys/kernel/btf/vmlinux"

    /// What every session needs, and what makes it faster.
    public static let host: [Entry] = [
        Entry(
            name: "initial user namespace", group: .process, isRequired: true, takesAway: "everything", remedy: "Run kiln as root of the host.",
            probe: probeUserNamespace
        ),
        Entry(
            name: "privileges", group: .process, isRequired: true, takesAway: "everything",
            remedy: "Run as root (sudo kiln ...), or grant the process these capabilities.", probe: probePrivileges
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
            since: "6.1, the lowest on which counts were found exact and stacks whole; --untested-kernel lets kiln run here all the same"
        ),
        map("ring buffer", BPF_MAP_TYPE_RINGBUF, required: true, takesAway: "stacks", since: "5.8"),
        map("socket storage", BPF_MAP_TYPE_SK_STORAGE, required: false, takesAway: "the hooks socket and fentry", since: "5.2"),
        Entry(
            name: "batches of per-CPU arrays", group: .kernel, isRequired: false, takesAway: "speed: rows are read one by one",
            remedy: "They came with Linux 5.13.", probe: probeBatches
        ),
        Entry(
            name: "batches of maps of maps", group: .kernel, isRequired: false,
            takesAway: "speed: unwind tables are handed over one by one, each at some 10 ms", remedy: "They came with Linux 5.19.",
            probe: probeOuterBatches
        ),
        Entry(
            name: "uprobes", group: .kernel, isRequired: false, takesAway: "commands of TLS connections: they are counted as unseen",
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
        runStatistics,
    ]

    /// Try everything. Without privileges nothing can be tried; without what any program needs, no program.
    ///
    /// - Parameter probes: What each kind of observation needs besides.
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

    /// Throws unless what is needed in any case is there. Takes about a millisecond. `untested`, if given, is told of a kernel that is
    /// older than what kiln is tested with, which then is no reason to throw.
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

    private static let runStatistics = Entry(
        name: "run-time statistics", group: .kernel, isRequired: false,
        takesAway: "kiln redis --max-cost and --bpf-statistics, and BPF run-time statistics in kiln cost",
        remedy: "Run as root, or grant the process CAP_SYS_ADMIN.",
        probe: {
            _ = try RunStatistics()
            return ""
        }
    )

    /// Throws unless the kernel's run-time statistics can be switched on. `purpose`: what needs them.
    public static func requireRunStatistics(for purpose: String) throws(Missing) {
        let found = finding(runStatistics)
        guard found.outcome == .present else {
            throw Missing(description: "\(found.words), which \(purpose) needs. \(runStatistics.remedy) `kiln doctor` lists what this host allows.")
        }
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
