import ArgumentParser
import KilnModel

/// How stacks are sampled and how their frames are named.
struct SamplingOptions: ParsableArguments {
    @Option(
        name: [.customShort("F"), .customLong("frequency")],
        help: ArgumentHelp(
            "Stack samples per second of CPU time, or max; 0 takes none. (default: 99)", valueName: "hz"
        ))
    var frequencyArgument: FrequencyArgument?

    /// The defaults, without samples: for stacks of other kinds.
    static func withoutSamples(_ debugFiles: DebugFileOptions) throws -> SamplingOptions {
        var options = try SamplingOptions.parse([])
        options.debugFiles = debugFiles
        options.frequencyArgument = FrequencyArgument(hertz: 0)
        return options
    }

    var givenFrequency: Int? { frequencyArgument?.hertz }

    var frequency: Int { givenFrequency ?? 99 }

    @Flag(help: "Show inlined functions as frames of their own, if debugging information has them.")
    var inline = false

    @Flag(
        help: ArgumentHelp(
            "Show the file and line of each frame, if debugging information or Go's tables have them: name (file.c:12).",
            discussion: "A function then has a box for each of its lines."))
    var lines = false

    @OptionGroup var debugFiles: DebugFileOptions

    @Flag(help: "Show each thread's name as a frame below its stacks.")
    var threads = false

    @Flag(name: .customLong("no-demangle"), help: "Show the linker's names of C++, Rust and Swift functions.")
    var noDemangle = false

    @Flag(name: .customLong("off-cpu"), help: "Record where threads wait, too: off-CPU time by stack, in nanoseconds.")
    var offCPU = false

    @Option(name: .customLong("min-wait"), help: ArgumentHelp("With --off-cpu: only waits of at least this time (50us, 1ms, 2s).", valueName: "time"))
    var minWait: TimeArgument?

    @Option(name: .customLong("max-wait"), help: ArgumentHelp("With --off-cpu: only waits of at most this time.", valueName: "time"))
    var maxWait: TimeArgument?

    @Option(
        name: .customLong("state"),
        help: ArgumentHelp(
            "With --off-cpu: only time in this state; repeat for several.", valueName: "state"
        ))
    var states: [WaitState] = []

    @Flag(help: "With --off-cpu: also show waits for new work (in epoll_wait and its kin) in the flamegraph.")
    var idle = false

    @Flag(help: "With --off-cpu: record who ended each wait, too: the waker's stack above the stack that waited, in wakers.svg.")
    var wakers = false

    /// Nil unless off-CPU time is recorded.
    var waits: WaitFilter? {
        guard offCPU else { return nil }
        var filter = WaitFilter()
        filter.lengths = (minWait?.time ?? .zero)...(maxWait?.time ?? Nanoseconds(.max))
        if !states.isEmpty { filter.states = Set(states) }
        return filter
    }

    /// Stacks of either kind are recorded.
    var recordsStacks: Bool { frequency > 0 || offCPU }

    /// An option asks for stacks, though the frequency may be left to its default.
    var isAskedFor: Bool { givenFrequency.map { $0 > 0 } ?? (inline || lines || threads || noDemangle) || offCPU }

    func validate() throws {
        guard (0...FrequencyArgument.most).contains(frequency) else {
            throw ValidationError("--frequency \(frequency) makes no sense: give 0 to 10000 samples a second.")
        }
        if !offCPU, minWait != nil || maxWait != nil || !states.isEmpty || idle || wakers {
            throw ValidationError("--min-wait, --max-wait, --state, --idle and --wakers are about waits: give --off-cpu, too.")
        }
        if let minWait, let maxWait, minWait.time > maxWait.time {
            throw ValidationError("--min-wait \(minWait.text) is longer than --max-wait \(maxWait.text): no wait is both.")
        }
    }
}
