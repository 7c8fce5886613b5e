import KilnTargets
import TestSupport
import Testing

@testable import kiln

/// What `kiln` alone prints.
struct OverviewTests {
    private func overview(
        others: [Overview.Busy] = [], obstacle: String? = nil, needsSudo: Bool = false, host: String? = nil, limits: [String] = []
    ) -> Overview {
        Overview(kernel: "6.1", servers: [], others: others, obstacle: obstacle, needsSudo: needsSudo, host: host, limits: limits)
    }

    @Test func threeCommandsAreSuggested() {
        let busy = [Overview.Busy(pid: 7, name: "python3", share: 0.534)], plain = overview(others: busy)
        #expect(plain.suggestions.map(\.command) == ["kiln record --pid 7 -d 10", "kiln syscalls --pid 7 -d 10", "kiln doctor"])
        #expect(plain.lines.contains("  python3 pid 7: 53 % of a CPU") && plain.lines.contains("  everything that a session needs"))
        #expect(overview().suggestions.first?.command == "kiln record --all -d 10")
    }

    @Test func rightsAndHostsArePartOfTheCommands() {
        let reason = "nothing: this process lacks CAP_BPF."
        #expect(overview(obstacle: reason, needsSudo: true).suggestions.first?.command == "sudo kiln record --all -d 10")
        #expect(overview(obstacle: reason, needsSudo: true, host: "web1").suggestions.first?.command == "kiln --host web1 --sudo record --all -d 10")
        #expect(overview(host: "web1").suggestions.last?.command == "kiln --host web1 doctor")
        // Without what the kernel lacks, sudo is of no use.
        #expect(overview(obstacle: "nothing: no BTF").suggestions.first?.command == "kiln doctor")
    }

    @Test func thisHostIsDescribedWithoutRights() {
        let text = Overview.ofThisHost().lines.map { $0.bold + $0.text }
        for heading in ["Runs here", "May do here", "Try next"] { #expect(text.contains(heading)) }
        #expect(text[text.firstIndex(of: "Try next")!...].count == 5)
    }
}
