@testable import KilnKernel
import Testing

/// What kiln does where something is missing that it needs, without a kernel that lacks it.
struct CapabilityTests {
    private static func entries(lacking missing: String) -> [Capabilities.Entry] {
        Capabilities.host.filter(\.isNeededByAll).map { entry in
            Capabilities.Entry(
                name: entry.name, group: entry.group, isRequired: true, takesAway: entry.takesAway, remedy: entry.remedy,
                probe: { if entry.name == missing { throw Capabilities.Missing(description: "this kernel has no \(missing)") } else { "" } }
            )
        }
    }

    @Test func aKernelOlderThanTheTestedOnesIsRefusedInOneLineUnlessItIsAskedFor() throws {
        let entries = Self.entries(lacking: "bpf_ktime_get_tai_ns")
        let refusal = try #require(throws: Capabilities.Missing.self) { try Capabilities.require(entries, untested: nil) }
        #expect(refusal.description.contains("6.1") && refusal.description.contains("--untested-kernel"))
        #expect(!refusal.description.contains("\n"))
        var told = 0
        try Capabilities.require(entries) { told += 1 }
        #expect(told == 1)
    }

    @Test func nothingElseThatAllNeedCanBeDoneWithout() {
        for name in ["initial user namespace", "privileges", "BTF", "bpf_loop", "bpf_task_pt_regs", "ring buffer"] {
            #expect(throws: Capabilities.Missing.self, "\(name)") { try Capabilities.require(Self.entries(lacking: name)) {} }
        }
    }
}
