import ArgumentParser
import Flamegraph
import KilnSymbols

/// `kiln collapse`: what other profilers print, as folded stacks.
struct CollapseCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "collapse", abstract: "Turns the output of other profilers into folded stacks.",
        subcommands: [CollapsePerfCommand.self]
    )
}

/// `kiln collapse perf`: the text of `perf script` to folded stacks.
struct CollapsePerfCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "perf", abstract: "Turns the text of `perf script` into folded stacks."
    )

    @Argument(help: "What `perf script` printed, files or - for standard input. Several are merged.")
    var files = ["-"]

    private var file: String { files.joined(separator: ", ") }

    @Option(name: .shortAndLong, help: ArgumentHelp("Write here instead of standard output.", valueName: "file"))
    var output: String?

    @Flag(help: "Show the process's number beside its name.")
    var pid = false

    @Flag(help: "Show the process's and the thread's number beside the name.")
    var tid = false

    @Flag(help: "Write names and numbers only: no marks of kinds (_[k] kernel, _[j] JIT-compiled, _[i] inlined), no comments.")
    var plain = false

    @Flag(help: "Mark kernel frames only.")
    var kernel = false

    @Flag(help: "Mark JIT-compiled frames only; with --kernel, both.")
    var jit = false

    @Flag(help: "Mark frames of all kinds, as without this option: kept for scripts that say so.")
    var all = false

    @Flag(help: "Count samples, whatever their periods.")
    var count = false

    @Flag(help: "Show the addresses of frames that have no symbol.")
    var addrs = false

    @Flag(help: "Show inlined functions, marked with _[i]: those that perf printed, and those that addr2line finds.")
    var `inline` = false

    @Flag(help: "With --inline: show file and line of what addr2line finds.")
    var context = false

    @Option(help: ArgumentHelp("Count this event only, or several: repeat it. The default is the first event in the input.", valueName: "event"))
    var eventFilter: [String] = []

    func validate() throws {
        if plain, kernel || jit || all || `inline` { throw ValidationError("--plain writes no marks: leave out --kernel, --jit, --all and --inline.") }
        if context, !`inline` { throw ValidationError("--context shows where inlined functions come from: give --inline too.") }
    }

    func run() throws {
        try reportingErrors {
            var options = PerfScriptOptions()
            options.showsProcess = pid
            options.showsThread = tid
            let marksAll = all || !plain && !kernel && !jit
            options.marksKernel = kernel || marksAll
            options.marksJIT = jit || marksAll
            options.marksInlined = `inline` || marksAll
            options.countsSamples = count
            options.demangle = { demangled($0) }
            options.showsAddresses = addrs
            options.events = eventFilter
            var collapser = PerfScriptCollapser(options, inlines: `inline` ? AddressLines(showsContext: context) : nil)
            for file in files {
                try readPieces(of: file, "`perf script` text") { collapser.read($0) }
                collapser.endInput()
            }
            tell(collapser.report)
            try check(collapser.report)
            try writePieces(to: output) { write in
                if !plain { try write(Array(collapser.measure.comments.utf8)) }
                try collapser.writeFolded(write)
            }
        }
    }

    private func tell(_ report: PerfScriptReport) {
        for line in report.rejectedLines { say("kiln: \(files[line.input]): \(line)") }
        if report.rejectedCount > report.rejectedLines.count {
            say("kiln: \(file): \(report.rejectedCount) lines in all could not be understood")
        }
        let counted = report.events.filter { $0.isCounted && !$0.name.isEmpty }.map(\.name)
        let left = report.events.filter { !$0.isCounted }
        if !counted.isEmpty, !left.isEmpty {
            say(
                "kiln: \(file): counted \(report.samples) samples of \(counted.joined(separator: ", ")); left out \(list(left)). Choose another with --event-filter."
            )
        }
        if report.samplesWithoutStack == report.samples, report.samples > 0 {
            say("kiln: \(file): no sample has a stack: only processes are counted. `perf record -g` records stacks.")
        } else if report.samplesWithoutStack > 0 {
            say("kiln: \(file): \(report.samplesWithoutStack) of \(report.samples) samples have no stack: only their process is counted")
        }
    }

    private func check(_ report: PerfScriptReport) throws {
        if report.samples > 0 { return }
        if !eventFilter.isEmpty, !report.events.isEmpty {
            throw Failure("\(file): no sample of \(eventFilter.joined(separator: ", ")); there are \(list(report.events)). Name one with --event-filter.")
        }
        throw Failure(
            """
            \(file): no samples. Give what `perf script` prints of a recording made with `perf record -g`; of the fields that -F names, \
            comm, tid (or pid) and one of time, event and cpu are needed: `perf script -F +comm,+tid,+time`.
            """)
    }

    private func list(_ events: [PerfScriptReport.Event]) -> String {
        events.map { "\($0.samples) of \($0.name.isEmpty ? "no named event" : $0.name)" }.joined(separator: ", ")
    }
}
