/// The terms of a page, in the words of docs/glossary.md.
enum Glossary {
    static let terms: [(term: String, meaning: String)] = [
        ("target", "The process that a session watches."),
        ("queue", "The time from the arrival of the first byte of a command that was not yet read to the return of the read."),
        (
            "exec",
            "The time from the return of the read to the end of the execution: the thread's next read returns, or its next send begins."
        ),
        ("reply", "The time from the end of exec to the return of the send that took the reply's last byte."),
        ("service", "exec and reply together: from the read's return to the send's return."),
        ("total", "queue and service together."),
        ("wait", "The service time of a blocking command such as BLPOP, kept apart from latencies."),
        ("run queue", "The time that a thread was ready to run and had no CPU; the tables show its share of exec."),
        ("percentile", "The value that a given share of the commands does not exceed, to within 1/32: the midpoint of a histogram slot."),
        ("slot", "One of the ranges of a latency histogram: 16 equal ones in every power of two."),
        ("column", "An interval of the session, or neighbouring ones, in a heatmap of a report."),
        ("cell", "A column and a slot of a heatmap. Its colour is the number of calls that were answered in the column's time with a latency in the slot."),
        ("band", "Eight neighbouring slots of service: half a power of two. Stacks are counted by the band of their call's latency."),
        (
            "selection",
            "The stacks that a report's flamegraph shows: those of a command, a range of columns, a range of bands, and of what the filters let pass."
        ),
        ("baseline", "The selection with which another one is compared; its weights are scaled to as many calls, or to as long a time."),
        ("blocker", "The command that was executed while another command waited in its socket."),
        ("blocked", "The command that waited; a blocked command behind a long one is head-of-line blocking."),
        ("on-CPU", "Samples taken while a thread runs."),
        ("off-CPU", "The time that a thread doesn't run, asleep or in the run queue; `--off-cpu` records it with the stack of the switch."),
        (
            "event",
            "Something that is counted when it happens, with the stack of the thread that runs then: a tracepoint, a function, a counter; `--event`."
        ),
        (
            "work",
            "What a thread worked on: a command with its phase (exec, read, reply), a pipeline, the event loop, background work, or unknown with a reason."
        ),
        ("verdict", "Where only some calls' stacks are kept: whether the call was slow (longer than `--slower-than`) or fast."),
        ("self", "Samples in which a function is the innermost frame."),
        ("idle", "Off-CPU time in epoll_wait and its kin: the thread waits for new work."),
        (
            "guess",
            "A caller that was found without the call frame information of the code that it called; its name ends with `[guess]`."
        ),
        ("unwind termination", "The reason why unwinding of a stack ended, `complete` or another."),
        ("lost", "An event or value that kiln could not follow; each is counted under a name."),
        ("overhead", "The CPU time that watching adds to the target."),
    ]

    /// The meaning of a term.
    static func meaning(_ term: String) -> String { terms.first { $0.term == term }?.meaning ?? "" }
}
