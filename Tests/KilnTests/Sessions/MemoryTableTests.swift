import Foundation
import KilnBPF
import KilnKernel
import TestSupport
import Testing

/// ARCHITECTURE's table of the kernel's memory, against the maps that the embedded objects declare. Needs no privileges.
struct MemoryTableTests {
    @Test func everyMapStandsInIt() throws {
        let text = try String(contentsOf: checkout.appendingPathComponent("ARCHITECTURE.md"), encoding: .utf8)
        let section = try #require(text.components(separatedBy: "### Memory\n").last?.components(separatedBy: "\n#").first)
        // The second column: `name`, `name`
        let named = section.split(separator: "\n").filter { $0.hasPrefix("| ") }
            .flatMap { $0.components(separatedBy: " | ")[1].components(separatedBy: "`") }
        let objects = [
            ("redis", kiln_redis_object()), ("client", kiln_client_object()), ("trace", kiln_trace_object()),
            ("syscalls", kiln_syscalls_object()), ("syscall_times", kiln_syscall_times_object()), ("stacks", kiln_stacks_object()),
            ("exec", kiln_exec_object()),
            ("call_trace", kiln_call_trace_object()),
            ("functions", kiln_functions_object()),
        ]
        var declared: Set<String> = []
        for (name, object) in objects { declared.formUnion(try BPFObject(object, name: name).mapNames) }
        #expect(declared.count > 30)
        #expect(declared.subtracting(named).sorted() == [])
    }
}
