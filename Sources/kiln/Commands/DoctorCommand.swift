import ArgumentParser
import KilnKernel

/// `kiln doctor`: checks what this host allows.
struct DoctorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Checks what kiln needs from this host, and reports what is missing.",
        discussion: """
            Loads every program, attaches it to kiln itself for a moment, and detaches it. The exit status is 0 if `kiln redis` can \
            run here, and 1 if it can't.
            """
    )

    @Flag(help: "Print one JSON object, with the verifier's complete log for each rejected program.")
    var json = false

    func run() throws {
        try reportingErrors {
            try requireLimits()
            let diagnosis = Diagnosis(Capabilities.findings(probeTypes.flatMap { $0.needs }), kernel: kernelRelease())
            let output = Output.standardOutput
            try json ? output.write(jsonLines([diagnosis])) : output.write(diagnosis.lines)
            if !diagnosis.can_profile { throw ExitCode(1) }
        }
    }
}

/// The output of `kiln doctor --json`.
private struct Diagnosis: Encodable {
    struct Version: Encodable { var version: String }

    struct Entry: Encodable {
        var name: String
        var group: String
        var present: Bool
        /// False if it was not tried because something that it needs is missing.
        var tried: Bool
        var required: Bool
        /// What was found, or why it is missing or was not tried.
        var words: String
        var takes_away: String
        var remedy: String
        var verifier_log: [String]?
    }

    var kiln = Version(version: kilnVersion)
    var kernel: String
    var can_profile: Bool
    /// The hook that `kiln redis` uses.
    var hook: String?
    var capabilities: [Entry]

    init(_ findings: [Capabilities.Finding], kernel: String) {
        self.kernel = kernel
        capabilities = findings.map { found in
            Entry(
                name: found.entry.name, group: found.entry.group.rawValue, present: found.outcome == .present,
                tried: found.outcome != .untried, required: found.entry.isRequired, words: found.words, takes_away: found.entry.takesAway,
                remedy: found.entry.remedy, verifier_log: found.verifierLog.isEmpty ? nil : found.verifierLog
            )
        }
        hook = capabilities.first { $0.group == Capabilities.Group.hooks.rawValue && $0.present }?.name
        can_profile = hook != nil && capabilities.allSatisfy { $0.present || !$0.required }
    }

    var lines: [Line] {
        var lines: [Line] = ["kiln \(kilnVersion) on Linux \(kernel)"], group = ""
        let width = capabilities.map(\.name.count).max() ?? 0
        for line in capabilities {
            if line.group != group { lines.append(Line(bold: line.group)) }
            group = line.group
            let name = line.name + String(repeating: " ", count: width - line.name.count)
            lines.append(Line(trimmed("  \(line.present ? "yes" : line.tried ? "no " : "-  ")  \(name)  \(line.words)")))
            guard line.tried, !line.present else { continue }
            let indented = String(repeating: " ", count: 7)
            lines.append("\(indented)affects: \(line.takes_away)")
            lines.append("\(indented)to get it: \(line.remedy)")
            lines += (line.verifier_log ?? []).suffix(9).map { "\(indented)verifier: \($0)" }
        }
        lines.append(Line(bold: verdict))
        return lines
    }

    private var verdict: String {
        let missing = capabilities.filter { $0.required && $0.tried && !$0.present }.map(\.name)
        guard missing.isEmpty else { return "kiln redis can't run here without: \(missing.joined(separator: ", "))." }
        return hook.map { "kiln redis can run here, with hook \($0)." } ?? "kiln redis can't run here: there is no hook."
    }

    private func trimmed(_ line: String) -> String {
        var line = line
        while line.last == " " { line.removeLast() }
        return line
    }
}
