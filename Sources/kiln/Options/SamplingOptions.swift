import ArgumentParser

/// How stacks are sampled and how their frames are named.
struct SamplingOptions: ParsableArguments {
    @Option(name: [.customShort("F"), .customLong("frequency")], help: ArgumentHelp(
        "Stack samples per second of CPU time; 0 takes none. (default: 99)", valueName: "hz"
    ))
    var givenFrequency: Int?

    var frequency: Int { givenFrequency ?? 99 }

    @Flag(help: "Show inlined functions as frames of their own, if debugging information has them.")
    var inline = false

    @Flag(help: "Show each thread's name as a frame below its stacks.")
    var threads = false

    @Flag(name: .customLong("no-demangle"), help: "Show the linker's names of C++, Rust and Swift functions.")
    var noDemangle = false

    /// An option asks for stacks, though the frequency may be left to its default.
    var isAskedFor: Bool { givenFrequency.map { $0 > 0 } ?? (inline || threads || noDemangle) }

    func validate() throws {
        guard (0...10_000).contains(frequency) else {
            throw ValidationError("--frequency \(frequency) makes no sense: give 0 to 10000 samples a second.")
        }
    }
}
