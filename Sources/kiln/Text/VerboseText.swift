import KilnKernel
import KilnModel

/// The lines of `--verbose`: which BPF programs are loaded, where they are attached, how often they ran, and what the kernel refused.
struct VerboseText {
    let programs: [LoadedProgram]
    /// The kernel keeps run counts (`--bpf-statistics`).
    let hasStatistics: Bool

    /// The lines after attaching. `refused`: what this kernel refused, a line each.
    func begin(refused: [String]) -> [String] {
        var table = Table(["PROGRAM", "attached to", "id", "instructions", "verified"], leftAligned: 2)
        for program in programs {
            let place = program.places.isEmpty ? "nothing" : program.places.joined(separator: ", ")
            let verified = program.verified.map { grouped(UInt64($0)) } ?? "-"
            table.add([program.name, place, "\(program.id)", grouped(UInt64(program.instructions)), verified])
        }
        return table.lines + objects + (refused.isEmpty ? ["refused: nothing"] : refused.map { "refused: \($0)" })
    }

    /// The load time of each object. Two threads load, so the times don't add up.
    private var objects: [String] {
        var table = Table(["OBJECT", "programs", "verified", "loaded in"], leftAligned: 1)
        var rest = programs[...]
        while let first = rest.first {
            let sameObject = rest.prefix { $0.object == first.object && $0.objectLoadTime == first.objectLoadTime }
            rest = rest.dropFirst(sameObject.count)
            let verified = sameObject.reduce(0) { $0 + ($1.verified ?? 0) }
            table.add([first.object, "\(sameObject.count)", verified == 0 ? "-" : grouped(UInt64(verified)), "\(first.objectLoadTime)"])
        }
        return table.lines
    }

    /// The lines at the session's end. `losses`: all losses with their meanings.
    func end(losses: [String]) -> [String] {
        var table = Table(["PROGRAM", "runs", "time", "each", "missed"], leftAligned: 1)
        for program in programs {
            let counts = program.counts
            let each = counts.runs == 0 ? "-" : "\(Nanoseconds(counts.runTime.count / counts.runs))"
            let known = hasStatistics ? [grouped(counts.runs), "\(counts.runTime)", each] : ["-", "-", "-"]
            table.add([program.name] + known + [grouped(counts.recursionMisses)])
        }
        return table.lines
            + (hasStatistics ? [] : ["runs and time: only with --bpf-statistics, which adds overhead itself"])
            + losses
    }
}

/// `--verbose`: loaded programs and refusals when everything is attached, run counts at the end. On standard error.
struct VerboseSink: Sink {
    /// The kernel keeps run counts.
    let hasStatistics: Bool
    /// Prints the losses, if no other sink does.
    let printsLosses: Bool

    func begin(_ start: SessionStart) { write(VerboseText(programs: start.programs(), hasStatistics: hasStatistics).begin(refused: start.refusals)) }

    func end(_ result: SessionResult) {
        let losses = printsLosses ? result.records.first.map { SessionText($0).losses } : nil
        write(VerboseText(programs: result.programs(), hasStatistics: hasStatistics).end(losses: losses ?? []))
    }

    private func write(_ lines: [String]) { for line in lines { say(Line(line)) } }
}

extension ProgramOptions {
    /// The sinks for these options.
    func sinks(printingLosses: Bool = false) -> [any Sink] {
        verbose ? [VerboseSink(hasStatistics: bpfStatistics, printsLosses: printingLosses)] : []
    }

    func validateForKernel() throws {
        if bpfStatistics { try Capabilities.requireRunStatistics(for: "--bpf-statistics") }
    }
}

/// The line for `--verbose` about a refused hook. Also prints a warning at once.
func refusal(of hook: CommandHook, _ error: KernelError) -> String {
    say("kiln: hook \(hook.rawValue) is not available here: ", error)
    return "hook \(hook.rawValue): \(error.cause)"
}

/// The line for `--verbose` about refused programs that switch off preemption. Prints no warning, because no result is missing without
/// them.
func refusal(ofPreemptionOff error: KernelError?) -> [String] {
    error.map { ["TLS programs that switch off preemption, kiln uses others: \($0.cause)"] } ?? []
}
