import CLibbpf
import KilnBPF
import KilnModel

/// A part of the session that adds its cumulative numbers to a snapshot.
extension Snapshot {
    /// Losses that a program counted in its map, by the names the C side gives them.
    mutating func addLosses(_ map: BPFMap, count: Int, describe: (UInt32) -> kiln_loss) throws(KernelError) {
        for (index, amount) in try map.sums(of: count).enumerated() where amount != 0 {
            losses[String(cString: describe(UInt32(index)).name), default: 0] += amount
        }
    }

    /// Programs with what the kernel skipped of them, which no program can count itself.
    mutating func addPrograms(_ programs: [String: ProgramCounts]) {
        for (name, counts) in programs {
            self.programs[name] = counts
            if counts.recursionMisses != 0 { losses["recursion_misses", default: 0] += counts.recursionMisses }
        }
    }
}

/// What a loss means, by its name in every output.
public func lossMeaning(_ name: String) -> String? {
    if name == "recursion_misses" { return "events that came while the same program was running on that CPU" }
    if name == UnwindMaps.leftOutName { return UnwindMaps.leftOutMeaning }
    if name == UnwindMaps.mappingsLeftOutName { return UnwindMaps.mappingsLeftOutMeaning }
    let described = (0..<KILN_REQUEST_LOSS_COUNT.rawValue).map { kiln_describe_request_loss($0) }
        + (0..<KILN_SYSCALL_LOSS_COUNT.rawValue).map { kiln_describe_syscall_loss($0) }
        + (0..<KILN_STACK_LOSS_COUNT.rawValue).map { kiln_describe_stack_loss($0) }
    return described.first { String(cString: $0.name) == name }.map { String(cString: $0.meaning) }
}
