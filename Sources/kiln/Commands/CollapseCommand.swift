import ArgumentParser
import Flamegraph
import Glibc
import KilnProfiles
import KilnSymbols

/// `kiln collapse`: what other profilers print, as folded stacks.
struct CollapseCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "collapse", abstract: "Turns the output of other profilers into folded stacks.",
        discussion: """
            `kiln collapse FILE` finds the format in the text. Where it can't, or for files whose name is that of a format, name it: \
            `kiln collapse gdb FILE`. `kiln collapse auto --help` lists the options.
            """,
        subcommands: [
            CollapseAutoCommand.self, CollapsePerfCommand.self, CollapseGDBCommand.self, CollapseEUStackCommand.self, CollapseJStackCommand.self,
            CollapseCPUProfileCommand.self, CollapseCallgrindCommand.self, CollapseBPFTraceCommand.self, CollapsePprofCommand.self, CollapseOTLPCommand.self,
            CollapseFoldedCommand.self,
        ],
        defaultSubcommand: CollapseAutoCommand.self
    )
}

extension CollapseFormat {
    /// All, in the order in which they are guessed.
    static let known = [.pprof, .otlp] + all
    /// Those that `kiln flamegraph` reads by itself: nobody needs to see their text.
    static let drawn = [pprof, otlp, bpftrace]
}

/// `kiln collapse FILE`: the format is that of the text.
struct CollapseAutoCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "auto", abstract: "Finds the format in the text.")
    @OptionGroup var arguments: CollapseArguments

    func run() throws { try reportingErrors("reading") { try arguments.collapse(nil) } }
}

/// A subcommand that names a format of `CollapseFormat.all`.
protocol CollapseFormatCommand: ParsableCommand {
    static var format: CollapseFormat { get }
    var arguments: CollapseArguments { get }
}

extension CollapseFormatCommand {
    static var configuration: CommandConfiguration {
        CommandConfiguration(commandName: format.name, abstract: "Turns \(format.title) into folded stacks.")
    }
    func run() throws { try reportingErrors("reading") { try arguments.collapse(Self.format) } }
}

struct CollapsePerfCommand: CollapseFormatCommand {
    static let format = CollapseFormat.perf
    @OptionGroup var arguments: CollapseArguments
}

struct CollapseGDBCommand: CollapseFormatCommand {
    static let format = CollapseFormat.gdb
    @OptionGroup var arguments: CollapseArguments
}

struct CollapseEUStackCommand: CollapseFormatCommand {
    static let format = CollapseFormat.euStack
    @OptionGroup var arguments: CollapseArguments
}

struct CollapseJStackCommand: CollapseFormatCommand {
    static let format = CollapseFormat.jstack
    @OptionGroup var arguments: CollapseArguments
}

struct CollapseCPUProfileCommand: CollapseFormatCommand {
    static let format = CollapseFormat.cpuprofile
    @OptionGroup var arguments: CollapseArguments
}

struct CollapseCallgrindCommand: CollapseFormatCommand {
    static let format = CollapseFormat.callgrind
    @OptionGroup var arguments: CollapseArguments
}

struct CollapsePprofCommand: CollapseFormatCommand {
    static let format = CollapseFormat.pprof
    @OptionGroup var arguments: CollapseArguments
}

struct CollapseBPFTraceCommand: CollapseFormatCommand {
    static let format = CollapseFormat.bpftrace
    @OptionGroup var arguments: CollapseArguments
}

struct CollapseOTLPCommand: CollapseFormatCommand {
    static let format = CollapseFormat.otlp
    @OptionGroup var arguments: CollapseArguments
}

struct CollapseFoldedCommand: CollapseFormatCommand {
    static let format = CollapseFormat.folded
    static let configuration = CommandConfiguration(commandName: format.name, abstract: "Adds up equal stacks of folded text.")
    @OptionGroup var arguments: CollapseArguments
}

struct CollapseArguments: ParsableArguments {
    @Argument(help: "What the other profiler printed, files or - for standard input. Several are merged.", completion: .file())
    var files = ["-"]

    private var file: String { files.joined(separator: ", ") }

    @Option(name: .shortAndLong, help: ArgumentHelp("Write here instead of standard output.", valueName: "file"), completion: .file())
    var output: String?

    @Flag(help: "Write names and numbers only: no marks of kinds (_[k] kernel, _[j] JIT-compiled, _[i] inlined), no comments.")
    var plain = false

    @Flag(help: "Show consecutive equal frames as one.")
    var mergeRecursion = false

    @Flag(help: "Leave out the numbers at the end of the names of processes and threads: worker-7 is worker.")
    var mergeThreads = false

    @Flag(help: "Show the process's number beside its name.")
    var pid = false

    @Flag(help: "Show the process's and the thread's number beside the name.")
    var tid = false

    @Flag(help: "Show the addresses of frames that have no symbol.")
    var addrs = false

    @Flag(help: "perf, cpuprofile: count samples, whatever their periods and times.")
    var count = false

    @Option(
        help: ArgumentHelp(
            "pprof, otlp: show the values of these labels or attributes below the frames, the first at the bottom, instead of process, thread and state. Separated by commas; '' for none.",
            valueName: "keys"))
    var labels: String?

    @Flag(help: "pprof, otlp: show file and line of each frame.")
    var lines = false

    @Option(
        help: ArgumentHelp(
            """
            perf, callgrind, bpftrace: count this event or map only, or with perf and bpftrace several: repeat it. The default is the first event in \
            the input, the first map with stacks. pprof, otlp: count values of this type; the default are samples of a CPU.
            """, valueName: "event"))
    var eventFilter: [String] = []

    @Option(
        help: ArgumentHelp(
            "bpftrace: what the map's keys are, as in the script: kstack,ustack,comm,pid. The default is what the text tells.", valueName: "keys"))
    var keys: String?

    @Flag(help: "perf, bpftrace: mark kernel frames only.")
    var kernel = false

    @Flag(help: "perf, bpftrace: mark JIT-compiled frames only; with --kernel, both.")
    var jit = false

    @Flag(help: "perf, bpftrace: mark frames of all kinds, as without this option: kept for scripts that say so.")
    var all = false

    @Flag(help: "perf: show inlined functions, marked with _[i]: those that perf printed, and those that addr2line finds.")
    var `inline` = false

    @Flag(help: "perf: with --inline, show file and line of what addr2line finds.")
    var context = false

    func validate() throws {
        if plain, kernel || jit || all || `inline` { throw ValidationError("--plain writes no marks: leave out --kernel, --jit, --all and --inline.") }
        if let keys, keyNames.contains("") { throw ValidationError("--keys \(keys): name each key of the map: --keys kstack,ustack,comm") }
        if context, !`inline` { throw ValidationError("--context shows where inlined functions come from: give --inline too.") }
    }

    // MARK: Reading

    /// Collapses all files. Without a format, that of each text is found; together they make sense in one format only.
    func collapse(_ named: CollapseFormat?) throws {
        try refuseOutput(output, onto: files)
        var found: (format: CollapseFormat, collapser: any Collapser)?
        var (readFiles, emptyFiles): ([String], [String]) = ([], [])
        func open(_ format: CollapseFormat) throws -> any Collapser {
            try check(format)
            let collapser = format.collapser(options, `inline` ? AddressLines(showsContext: context) : nil)
            found = (format, collapser)
            return collapser
        }
        if let named { _ = try open(named) }
        for file in files {
            var isEmpty = true
            var beginning: [UInt8] = []
            var isKnown = named != nil
            var failure: (any Error)?
            func guess() throws {
                guard let format = CollapseFormat.guess(beginning, among: CollapseFormat.known) else {
                    let formats = CollapseFormat.known.map(\.title).joined(separator: ", ")
                    throw Failure("\(file): \(isEmpty ? "nothing is in it" : "no known format"). There are: \(formats).")
                }
                if let found, found.format.name != format.name {
                    throw Failure("\(file): \(format.title), but \(readFiles.first ?? "") is \(found.format.title): collapse each by itself.")
                }
                isKnown = true
                let collapser = try found?.collapser ?? open(format)
                beginning.withUnsafeBytes { collapser.read($0) }
            }
            try readPieces(of: file, named?.title ?? "what another profiler printed") { piece in
                if !piece.isEmpty { isEmpty = false }
                if failure != nil { return }
                if isKnown {
                    found?.collapser.read(piece)
                } else {
                    beginning.append(contentsOf: piece)
                    if beginning.count >= CollapseFormat.beginningLength { do { try guess() } catch { failure = error } }
                }
            }
            if let failure { throw failure }
            // valgrind --separate-threads=yes leaves such a file beside those of the threads.
            if isEmpty, files.count > 1 {
                emptyFiles.append(file)
                continue
            }
            if !isKnown { try guess() }
            found?.collapser.endInput()
            readFiles.append(file)
        }
        guard emptyFiles.count < files.count else {
            throw Failure("\(file): nothing is in them. Give text of one of the formats that `kiln collapse --help` lists.")
        }
        for file in emptyFiles { say("kiln: \(file): nothing is in it") }
        guard let (format, collapser) = found else { return }
        if let damaged = collapser.report.unreadableInputs.first {
            throw Failure("cannot read \(readFiles[damaged.input]): \(damaged.reason). Give \(format.title).")
        }
        collapser.finish()
        tell(collapser.report, format, readFiles)
        try check(collapser.report, format)
        if plain { for note in collapser.notes { say("kiln: \(file): \(note)") } }
        try writePieces(to: output) { write in
            if !plain { try write(Array((collapser.measure.comments + collapser.notes.map { "# \($0)\n" }.joined()).utf8)) }
            try collapser.writeFolded(write)
        }
    }

    private var options: CollapseOptions {
        var options = CollapseOptions()
        options.showsProcess = pid
        options.showsThread = tid
        let marksAll = all || !plain && !kernel && !jit
        options.marksKernel = kernel || marksAll
        options.marksJIT = jit || marksAll
        options.marksInlined = `inline` || marksAll
        options.countsSamples = count
        options.mergesRecursion = mergeRecursion
        options.mergesThreads = mergeThreads
        options.demangle = { demangled($0) }
        options.showsAddresses = addrs
        options.labels = labels.map { $0.split(separator: ",").map(String.init) }
        options.showsLines = lines
        options.events = eventFilter
        options.keys = keyNames
        return options
    }

    /// The parts of `--keys`: `kstack(perf, 3), comm` has two.
    private var keyNames: [String] {
        var (names, depth) = ([""], 0)
        for letter in keys ?? "" {
            depth += letter == "(" ? 1 : letter == ")" ? -1 : 0
            if letter == ",", depth == 0 { names.append("") } else if !letter.isWhitespace { names[names.count - 1].append(letter) }
        }
        return keys == nil ? [] : names
    }

    /// Refuses what means nothing in a format.
    private func check(_ format: CollapseFormat) throws {
        let given: [(CollapseFormat.Switch, Bool)] = [
            (.pid, pid), (.tid, tid), (.kernel, kernel), (.jit, jit), (.all, all), (.count, count), (.addrs, addrs), (.inline, `inline`),
            (.context, context), (.labels, labels != nil), (.lines, lines), (.keys, keys != nil), (.eventFilter, !eventFilter.isEmpty),
            (.mergeThreads, mergeThreads),
        ]
        let useless = given.filter { $0.1 && !format.switches.contains($0.0) }.map { "--\($0.0.rawValue)" }
        guard useless.isEmpty else { throw Failure("\(useless.joined(separator: ", ")): means nothing for \(format.title). Leave it out.") }
    }

    // MARK: What is said

    private func tell(_ report: CollapseReport, _ format: CollapseFormat, _ readFiles: [String]) {
        for line in report.rejectedLines { say("kiln: \(line.input < readFiles.count ? readFiles[line.input] : file): \(line)") }
        if report.rejectedCount > report.rejectedLines.count {
            say("kiln: \(file): \(report.rejectedCount) lines in all could not be understood")
        }
        let counted = report.events.filter { $0.isCounted && !$0.name.isEmpty }.map(\.name)
        let left = report.events.filter { !$0.isCounted }
        if !counted.isEmpty, !left.isEmpty {
            let samples = report.events.contains { $0.samples > 0 } ? "\(report.samples) samples of " : ""
            say("kiln: \(file): counted \(samples)\(counted.joined(separator: ", ")); left out \(list(left)). Choose another with --event-filter.")
        }
        if report.samplesWithoutStack == report.samples, report.samples > 0 {
            let advice = format.name == CollapseFormat.perf.name ? " `perf record -g` records stacks." : ""
            say("kiln: \(file): no sample has a stack: only processes are counted.\(advice)")
        } else if report.samplesWithoutStack > 0, format.name == CollapseFormat.perf.name {
            say("kiln: \(file): \(report.samplesWithoutStack) of \(report.samples) samples have no stack: only their process is counted")
        }
    }

    private func check(_ report: CollapseReport, _ format: CollapseFormat) throws {
        if report.samples > 0 { return }
        if !eventFilter.isEmpty, !report.events.isEmpty {
            throw Failure("\(file): no sample of \(eventFilter.joined(separator: ", ")); there are \(list(report.events)). Name one with --event-filter.")
        }
        throw Failure("\(file): no samples. \(format.advice)")
    }

    private func list(_ events: [CollapseReport.Event]) -> String {
        let hasSamples = events.contains { $0.samples > 0 }
        return events.map { (hasSamples ? "\($0.samples) of " : "") + ($0.name.isEmpty ? "no named event" : $0.name) }.joined(separator: ", ")
    }
}
