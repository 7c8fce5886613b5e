import ArgumentParser
import KilnModel

/// Which system calls, by name and by class.
struct SystemCallOptions: ParsableArguments {
    @Option(
        name: .customLong("call"),
        help: ArgumentHelp("Only calls with this name, or with names like this pattern ('epoll_*'); several with commas between them.", valueName: "names"))
    var calls: [String] = []

    @Option(
        name: .customLong("class"),
        help: ArgumentHelp(
            """
            Only calls of this class, or of several with commas between them: file (takes a path), descriptor (reads, writes or changes one), network \
            (sockets), memory (mappings), process (start, end, wait, identity), signal, ipc (shared memory, queues, pipes, futexes), time (clocks, timers, \
            sleep), poll (waits for events), scheduler (CPUs, priorities).
            """, valueName: "classes"))
    var classes: [String] = []

    func validate() throws { _ = try chosen() }

    /// Those of all names and classes together, and of `more` names; nil: none is given.
    func chosen(and more: [String] = []) throws -> Set<SystemCall>? {
        var chosen: Set<SystemCall>?
        for name in (calls + more).flatMap({ $0.split(separator: ",", omittingEmptySubsequences: false).map(String.init) }) {
            let matching = SystemCall.matching(name)
            guard !matching.isEmpty else {
                throw ValidationError("no system call is named \(name.isEmpty ? "''" : name).\(near(name, SystemCall.named.map(\.name)))")
            }
            chosen = (chosen ?? []).union(matching)
        }
        for name in classes.flatMap({ $0.split(separator: ",", omittingEmptySubsequences: false).map(String.init) }) {
            guard let found = SystemCallClass(rawValue: name) else {
                throw ValidationError(
                    "no class of system calls is named \(name.isEmpty ? "''" : name): give \(SystemCallClass.allCases.map(\.rawValue).joined(separator: ", "))."
                )
            }
            chosen = (chosen ?? []).union(found.calls)
        }
        return chosen
    }

    private func near(_ name: String, _ names: [String]) -> String {
        let near = nearNames(to: name, among: Set(names))
        return near.isEmpty ? "" : " Similar: \(near.joined(separator: ", "))."
    }
}

/// A time with its unit, or a number of milliseconds.
struct MillisecondsArgument: ExpressibleByArgument {
    let time: Nanoseconds

    init?(argument: String) {
        guard let time = TimeArgument(argument: argument) ?? TimeArgument(argument: argument + "ms") else { return nil }
        self.time = time.time
    }
}
