import CLibbpf
import KilnBPF
import KilnModel

/// Adds a probe's cumulative counts to a snapshot.
extension Snapshot {
    /// Adds the losses in a program's map, with their names from the C headers.
    mutating func addLosses(_ map: BPFMap, count: Int, describe: (UInt32) -> kiln_loss) throws(KernelError) {
        for (index, amount) in try map.sums(of: count).enumerated() where amount != 0 {
            losses[String(cString: describe(UInt32(index)).name), default: 0] += amount
        }
    }

    /// Adds the programs, and as losses the runs that the kernel skipped, which no program can count.
    mutating func addPrograms(_ programs: [String: ProgramCounts]) {
        for (name, counts) in programs {
            self.programs[name] = counts
            if counts.recursionMisses != 0 { losses["recursion_misses", default: 0] += counts.recursionMisses }
        }
    }
}

/// The meaning of a loss, by its name in every output.
public func lossMeaning(_ name: String) -> String? {
    if name == "recursion_misses" { return "events during which the same program was already running on that CPU" }
    if name == UnwindMaps.leftOutName { return UnwindMaps.leftOutMeaning }
    if name == UnwindMaps.mappingsLeftOutName { return UnwindMaps.mappingsLeftOutMeaning }
    let described =
        (0..<KILN_REQUEST_LOSS_COUNT.rawValue).map { kiln_describe_request_loss($0) }
        + (0..<KILN_SYSCALL_LOSS_COUNT.rawValue).map { kiln_describe_syscall_loss($0) }
        + (0..<KILN_SYSCALL_TIME_LOSS_COUNT.rawValue).map { kiln_describe_syscall_time_loss($0) }
        + (0..<KILN_FUNCTION_LOSS_COUNT.rawValue).map { kiln_describe_function_loss($0) }
        + (0..<KILN_STACK_LOSS_COUNT.rawValue).map { kiln_describe_stack_loss($0) }
        + (0..<KILN_EXEC_LOSS_COUNT.rawValue).map { kiln_describe_exec_loss($0) }
        + (0..<KILN_CALL_LOSS_COUNT.rawValue).map { kiln_describe_call_loss($0) }
    return described.first { String(cString: $0.name) == name }.map { String(cString: $0.meaning) }
}
