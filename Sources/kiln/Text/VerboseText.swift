import KilnKernel
import KilnModel

/// What --verbose tells, on standard error: what is loaded into the kernel and where, how often it ran, and what was refused.
struct VerboseText {
    let programs: [LoadedProgram]
    /// Whether the kernel keeps run counts (--bpf-statistics).
    let hasStatistics: Bool

    /// When everything is attached. `refused`: what this kernel didn't allow, a line each.
    func begin(refused: [String]) -> [String] {
        var table = Table(["PROGRAM", "attached to", "id", "instructions", "verified"], leftAligned: 2)
        for program in programs {
            let place = program.places.isEmpty ? "nothing" : program.places.joined(separator: ", ")
            let verified = program.verified.map { grouped(UInt64($0)) } ?? "-"
            table.add([program.name, place, "\(program.id)", grouped(UInt64(program.instructions)), verified])
        }
        return table.lines + objects + (refused.isEmpty ? ["refused: nothing"] : refused.map { "refused: \($0)" })
    }

    /// What each object took of a start. Objects are loaded by two threads: their times don't add up.
    private var objects: [String] {
        var table = Table(["OBJECT", "programs", "verified", "loaded in"], leftAligned: 1)
        var rest = programs[...]
        while let first = rest.first {
            let together = rest.prefix { $0.object == first.object && $0.objectLoadTime == first.objectLoadTime }
            rest = rest.dropFirst(together.count)
            let verified = together.reduce(0) { $0 + ($1.verified ?? 0) }
            table.add([first.object, "\(together.count)", verified == 0 ? "-" : grouped(UInt64(verified)), "\(first.objectLoadTime)"])
        }
        return table.lines
    }

    /// At the session's end. `losses`: everything lost, with what it means.
    func end(losses: [String]) -> [String] {
        var table = Table(["PROGRAM", "runs", "time", "each", "missed"], leftAligned: 1)
        for program in programs {
            let counts = program.counts
            let each = counts.runs == 0 ? "-" : "\(Nanoseconds(counts.runTime.count / counts.runs))"
            let known = hasStatistics ? [grouped(counts.runs), "\(counts.runTime)", each] : ["-", "-", "-"]
            table.add([program.name] + known + [grouped(counts.recursionMisses)])
        }
        return table.lines
            + (hasStatistics ? [] : ["runs and time: the kernel keeps them with --bpf-statistics only, which costs time itself"])
            + losses
    }
}

/// `--verbose`: what is loaded, and what this kernel refused, when everything is attached; how often it ran, at the end.
struct VerboseSink: Sink {
    /// Whether the kernel keeps run counts.
    let hasStatistics: Bool
    /// Nothing else prints the losses.
    let printsLosses: Bool

    func begin(_ start: SessionStart) { tell(VerboseText(programs: start.programs(), hasStatistics: hasStatistics).begin(refused: start.refusals)) }

    func end(_ result: SessionResult) {
        let losses = printsLosses ? result.records.first.map { SessionText($0).losses } : nil
        tell(VerboseText(programs: result.programs(), hasStatistics: hasStatistics).end(losses: losses ?? []))
    }

    private func tell(_ lines: [String]) { for line in lines { say(Line(line)) } }
}

extension ProgramOptions {
    /// The sinks that they ask for.
    func sinks(printingLosses: Bool = false) -> [any Sink] {
        verbose ? [VerboseSink(hasStatistics: bpfStatistics, printsLosses: printingLosses)] : []
    }

    func validateForKernel() throws {
        if bpfStatistics { try Capabilities.requireRunStatistics(for: "--bpf-statistics") }
    }
}

/// What was refused, for `--verbose`; said at once, too.
func refusal(of hook: CommandHook, _ error: KernelError) -> String {
    say("kiln: hook \(hook.rawValue) is not to be had here: ", error)
    return "hook \(hook.rawValue): \(error.cause)"
}

/// The same, but not said: nothing is missing without them.
func refusal(ofPreemptionOff error: KernelError?) -> [String] {
    error.map { ["programs of TLS that switch off preemption, others are used: \($0.cause)"] } ?? []
}
