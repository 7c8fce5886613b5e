import CLibbpf
import KilnModel

/// A BPF program in the kernel, for people who want to know what runs there.
public struct LoadedProgram: Sendable {
    public var name: String
    /// The object it was loaded with, and how long the kernel took for all of that: what is loaded beside it takes time from it.
    public var object: String
    public var objectLoadTime: Nanoseconds
    /// The kernel's number of it, as in `bpftool prog`.
    public var id: UInt32
    /// Of the program as the verifier left it, functions included.
    public var instructions: Int
    /// How many the verifier followed, each as often as a path led there; nil: this kernel doesn't tell (before 5.16).
    public var verified: Int?
    /// Where it is attached: a tracepoint as BPF names it, a function, a timer; each once.
    public var places: [String]
    public var counts: ProgramCounts
}

extension BPFObject {
    /// The loaded programs, in the order of the object.
    package func loadedPrograms() -> [LoadedProgram] {
        var loaded: [LoadedProgram] = []
        forEachLoaded { name, info in
            loaded.append(LoadedProgram(
                name: name, object: self.name, objectLoadTime: loadTime, id: info.id, instructions: Int(info.xlated_prog_len) / MemoryLayout<bpf_insn>.size,
                verified: info.verified_insns == 0 ? nil : Int(info.verified_insns), places: places(of: name), counts: ProgramCounts(info)
            ))
        }
        return loaded
    }
}

extension ProgramCounts {
    /// From what the kernel says of the program.
    init(_ info: bpf_prog_info) {
        self.init()
        runs = info.run_cnt
        runTime = Nanoseconds(info.run_time_ns)
        recursionMisses = info.recursion_misses
    }
}
