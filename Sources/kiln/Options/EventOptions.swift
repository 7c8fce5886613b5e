import ArgumentParser
import KilnKernel

/// Events at which stacks are taken.
struct EventOptions: ParsableArguments {
    @Option(
        name: [.customShort("e"), .customLong("event")],
        help: ArgumentHelp(
            "Count this event and record its stacks; repeat for several. `-e list [GLOB]` lists what this host has.",
            discussion: """
                A tracepoint (sched:sched_switch, syscalls:sys_enter_openat), page-faults, context-switches, cpu-migrations, a counter of the \
                hardware (cycles), or a place of a program: uprobe:PATH:FUNCTION[+OFFSET], uretprobe:PATH:FUNCTION, usdt:PATH:PROVIDER:NAME. \
                On-CPU samples are then taken with -F only.
                """, valueName: "event"
        ))
    var names: [String] = []

    @Option(
        name: [.customShort("c"), .customLong("count")],
        help: ArgumentHelp("With --event: take a stack at each Nth event; all are counted, and the stack weighs N.", valueName: "n"))
    var every: UInt32?

    @Argument(help: .hidden)
    var pattern: String?

    /// `-e list`
    var lists: Bool { names == ["list"] }

    /// A comma stands between names, as in perf; a path may hold one.
    var split: [String] {
        names.flatMap { name in
            ["uprobe:", "uretprobe:", "usdt:"].contains(where: name.hasPrefix) ? [name] : name.split(separator: ",").map(String.init)
        }
    }

    /// The events, and how stacks are sampled beside them: on-CPU samples are taken only if a frequency is given. `pids`: of the targets.
    func events(beside sampling: SamplingOptions, pids: [Int32]) throws -> ([Event], SamplingOptions) {
        let events = try EventNames(every: UInt64(every ?? 1), frequency: sampling.givenFrequency, pids: pids).events(split)
        var sampling = sampling
        if !events.isEmpty, sampling.givenFrequency == nil { sampling.frequencyArgument = FrequencyArgument(hertz: 0) }
        return (events, sampling)
    }

    func validate() throws {
        if let pattern, !lists { throw ValidationError("Unexpected argument '\(pattern)': a command stands behind --.") }
        if let every, every == 0 { throw ValidationError("--count 0 takes no stack: give 1 or more.") }
        if every != nil && names.isEmpty { throw ValidationError("--count is about events: give --event, too.") }
        if names.contains(where: \.isEmpty) { throw ValidationError("--event needs a name; `-e list` lists what this host has.") }
    }
}
