import ArgumentParser
import KilnKernel

/// How `kiln functions` counts.
struct FunctionSessionOptions: ParsableArguments {
    @Flag(help: "Time calls, too: histograms from call to return, and each function's own time.")
    var time = false

    @Flag(
        help: ArgumentHelp(
            "Record the stack of each call, too: stacks.callers.folded, and a flamegraph of who calls, callers.svg.",
            discussion: "That takes several times as long as counting. Where it takes more than --max-cost, stacks stop first, then functions."))
    var callers = false

    @OptionGroup var debugFiles: DebugFileOptions

    @Flag(
        name: .customLong("return-probes"),
        help: ArgumentHelp(
            "With --time: see returns by return probes instead of at return instructions.",
            discussion: """
                They cost a tenth in most virtual machines, and half elsewhere. But the target must be a program that neither throws exceptions through \
                probed functions nor is written in Go: it would end. Calls nested deeper than 64 are counted without times.
                """))
    var returnProbes = false

    @Option(name: .shortAndLong, help: ArgumentHelp("Seconds between tables.", valueName: "seconds"))
    var interval = 10.0

    @Option(help: ArgumentHelp("Show this many functions in a table.", valueName: "n"))
    var top = 20

    @Flag(help: "With --time: print complete histograms, too.")
    var histograms = false

    @Flag(help: "Print JSON lines instead of tables.")
    var json = false

    @Option(name: .shortAndLong, help: ArgumentHelp("Write the session here instead of kiln-TARGET-TIME.", valueName: "dir"), completion: .directory)
    var output: String?

    @Option(
        name: .customLong("max-cost"),
        help: ArgumentHelp(
            "Stop counting the functions whose probes cost most when all probes take more than this share of the target's CPU time (of the host's, where no process and no command is the target); 100: never.",
            valueName: "percent"))
    var maxCost = 20.0

    func validate() throws {
        try require("--interval", interval, in: 0.1...3600)
        try require("--max-cost", maxCost, in: 0.1...100, unit: "percent")
        guard (1...100_000).contains(top) else { throw ValidationError("--top \(top) makes no sense: give 1 to 100000 functions.") }
        for (given, name) in [(returnProbes, "--return-probes"), (histograms, "--histograms")] where given && !time {
            throw ValidationError("\(name) is about times: give --time, too.")
        }
    }

    var timing: FunctionTiming { !time ? .none : returnProbes ? .returnProbes : .returnInstructions }
}
