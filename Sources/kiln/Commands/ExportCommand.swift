import ArgumentParser
import Flamegraph
import FoundationEssentials
import KilnKernel
import KilnModel
import KilnProfiles
import KilnSessions

/// `kiln export`: a session's stacks for other tools.
struct ExportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export", abstract: "Writes a recorded session's stacks in the format of another tool, or sends them to a server.",
        discussion: "Formats:\n"
            + ExportFormat.all.map { "  \($0.name): \($0.title); files \($0.endings.map { "*\($0)" }.joined(separator: ", "))" }.joined(separator: "\n")
    )

    @Argument(help: ArgumentHelp("A directory that a session of kiln wrote.", valueName: "dir"), completion: .directory)
    var directory: String

    @Option(
        help: ArgumentHelp(
            "\(ExportFormat.all.map(\.name).joined(separator: ", ")). The default is that of the file's name.", valueName: "format"))
    var format: String?

    @Option(
        name: .shortAndLong, help: ArgumentHelp("Write here instead of standard output; compressed if the name ends in .gz.", valueName: "file"),
        completion: .file())
    var output: String?

    @Option(
        help: ArgumentHelp("Only these samples: on-cpu, off-cpu or the name of an event. pprof takes one kind, and on-cpu by default.", valueName: "kind"))
    var kind: String?

    @Flag(help: "pprof: write inlined functions as lines of the location that they are inlined into. Many tools show only one line of a location.")
    var inlinedAsLines = false

    @Option(
        help: ArgumentHelp("perfetto: show these requests, too: what `kiln trace redis --json` wrote in the same time.", valueName: "file"), completion: .file()
    )
    var trace: String?

    @OptionGroup var push: PushOptions

    func validate() throws {
        if push.push != nil {
            guard format == nil, output == nil, trace == nil, !inlinedAsLines else {
                throw ValidationError("--push sends the format that the server takes: leave --format, --output, --trace and --inlined-as-lines out.")
            }
            return
        }
        let names = ExportFormat.all.map(\.name).joined(separator: ", ")
        if let format, !ExportFormat.all.contains(where: { $0.name == format }) {
            throw ValidationError("--format \(format) is not known. There are: \(names).")
        }
        if format == nil {
            guard let output else { throw ValidationError("Give --format, one of \(names), --output with a file's name that tells, or --push.") }
            guard ExportFormat.named(byFile: output) != nil else {
                let endings = ExportFormat.all.flatMap(\.endings).joined(separator: ", ")
                throw ValidationError("--output \(output) tells no format: give --format, one of \(names), or a name that ends in \(endings).")
            }
        }
        if inlinedAsLines, chosenFormat?.name != ExportFormat.pprof.name { throw ValidationError("--inlined-as-lines is for pprof.") }
        if trace != nil, chosenFormat?.name != ExportFormat.perfetto.name { throw ValidationError("--trace is for perfetto.") }
    }

    private var chosenFormat: ExportFormat? {
        format.flatMap { name in ExportFormat.all.first { $0.name == name } } ?? output.flatMap(ExportFormat.named(byFile:))
    }

    func run() throws {
        try reportingErrors("reading the session") {
            if let target = try push.target() { return try send(to: target) }
            guard let format = chosenFormat else { return }
            if output == nil || output == "-", Output.standardOutput.isTerminal {
                throw Failure("\(format.name) is not for terminals. Name a file with --output, or redirect standard output.")
            }
            let files = DirectoryFiles(place: directory)
            try refuseOutput(output, onto: files.inputs + (trace.map { [$0] } ?? []))
            var profile = try Profile(of: files, version: kilnVersion)
            try choose(&profile, hasOneKind: format.hasOneKind)
            var options = ExportOptions()
            options.inlinedAreLines = inlinedAsLines
            if let trace { options.requests = try requests(of: trace) }
            let bytes = try format.bytes(profile, options)
            let isCompressed = output.map { $0.hasSuffix(".gz") || $0 == "-" && format.isUsuallyCompressed } ?? format.isUsuallyCompressed
            let file = isCompressed ? Gzip.compressed(bytes) : bytes
            try writePieces(to: output) { try $0(file) }
            sayMissing(profile)
        }
    }

    private func sayMissing(_ profile: Profile) {
        for series in profile.series where series.dropped > 0 {
            say("kiln: \(directory): \(series.dropped) \(series.unit.name) of \(series.name) are missing: the session had no room to keep them over time")
        }
    }

    private func send(to target: PushTarget) throws {
        var profile = try Profile(of: DirectoryFiles(place: directory), version: kilnVersion)
        try choose(&profile, hasOneKind: false)
        let requests = try target.destination.requests(profile, target.endpoint)
        // Signals are read from here on: a transfer that is interrupted leaves no files.
        let events = try SessionEvents(), pusher = try Pusher(send: target.send)
        try pusher.finish(adding: { requests }, to: target.endpoint.place, until: events.interruption())
        sayMissing(profile)
    }

    /// The lines of a trace. Its last line, which has sums, and one that was cut off at the end are left out.
    private func requests(of file: String) throws -> [TraceRow] {
        var text: [UInt8] = []
        try readPieces(of: file, "what `kiln trace redis --json` writes") { text += $0 }
        let lines = text.split(separator: UInt8(ascii: "\n"))
        return try lines.enumerated().compactMap { number, line in
            do {
                return try JSONDecoder().decode(TraceRow.self, from: Data(line))
            } catch {
                if number == lines.count - 1 { return nil }
                throw Failure("cannot read \(file), line \(number + 1): no request. Give what `kiln trace redis --json` wrote.")
            }
        }
    }

    /// Leaves the samples of the kinds that are asked for, and that the format has room for.
    private func choose(_ profile: inout Profile, hasOneKind: Bool) throws {
        let names = profile.series.map(\.name), filled = profile.series.filter { !$0.samples.isEmpty }
        if let kind {
            guard let series = profile.series.first(where: { $0.name == kind }) else {
                throw Failure("\(directory): no samples of \(kind). There are: \(names.joined(separator: ", ")).")
            }
            guard !series.samples.isEmpty else { throw Failure("\(directory): nothing was recorded of \(kind). Export another kind, or record longer.") }
            profile.series = [series]
        } else if hasOneKind, let first = filled.first {
            profile.series = [first]
            let others = filled.dropFirst().map(\.name)
            if !others.isEmpty {
                say("kiln: \(directory): wrote \(first.name); for \(others.joined(separator: ", ")) give --kind")
            }
        } else {
            profile.series = filled
        }
    }
}
