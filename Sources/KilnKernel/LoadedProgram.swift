import CLibbpf
import KilnModel

/// A loaded BPF program, for `--verbose`.
public struct LoadedProgram: Sendable {
    public var name: String
    /// The object it was loaded with, and the load time of that object, which includes waiting for objects that load at the same time.
    public var object: String
    public var objectLoadTime: Nanoseconds
    /// The kernel's id, as in `bpftool prog`.
    public var id: UInt32
    /// Instructions of the program after verification, including its functions.
    public var instructions: Int
    /// Instructions that the verifier processed on all paths; nil before Linux 5.16.
    public var verified: Int?
    /// The places where it is attached, each once: a tracepoint by its BPF name, a function, a timer.
    public var places: [String]
    public var counts: ProgramCounts
}

extension BPFObject {
    /// The loaded programs, in the order of the object.
    package func loadedPrograms() -> [LoadedProgram] {
        var loaded: [LoadedProgram] = []
        forEachLoaded { name, info in
            loaded.append(
                LoadedProgram(
                    name: name, object: self.name, objectLoadTime: loadTime, id: info.id, instructions: Int(info.xlated_prog_len) / MemoryLayout<bpf_insn>.size,
                    verified: info.verified_insns == 0 ? nil : Int(info.verified_insns), places: places(of: name), counts: ProgramCounts(info)
                ))
        }
        return loaded
    }
}

extension ProgramCounts {
    /// From the kernel's information about the program.
    init(_ info: bpf_prog_info) {
        self.init()
        runs = info.run_cnt
        runTime = Nanoseconds(info.run_time_ns)
        recursionMisses = info.recursion_misses
    }
}
