import ArgumentParser

/// What stacks are sampled and how their frames are named.
struct SamplingOptions: ParsableArguments {
    @Option(name: [.customShort("F"), .customLong("frequency")], help: ArgumentHelp(
        "Stack samples a second of CPU time; 0: none. (default: 99)", valueName: "hz"
    ))
    var givenFrequency: Int?

    var frequency: Int { givenFrequency ?? 99 }

    @Flag(help: "Show inlined functions as frames of their own, where debugging information tells of them.")
    var inline = false

    @Flag(help: "Show each thread's name as a frame below its stacks.")
    var threads = false

    @Flag(name: .customLong("no-demangle"), help: "Leave the names of C++, Rust and Swift functions as linkers know them.")
    var noDemangle = false

    /// Somebody wants stacks, and doesn't get them only because nothing was said.
    var isAskedFor: Bool { givenFrequency.map { $0 > 0 } ?? (inline || threads || noDemangle) }

    func validate() throws {
        guard (0...10_000).contains(frequency) else {
            throw ValidationError("--frequency \(frequency) makes no sense: give 0 to 10000 samples a second.")
        }
    }
}
