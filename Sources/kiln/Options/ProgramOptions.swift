import ArgumentParser

/// What is told of the programs in the kernel.
struct ProgramOptions: ParsableArguments {
    @Flag(name: .customLong("bpf-statistics"), help: "Switch on the kernel's run-time statistics of BPF programs (system-wide, costs time).")
    var bpfStatistics = false

    @Flag(name: .shortAndLong, help: "Tell what is loaded into the kernel and where, how often it ran, and what was refused.")
    var verbose = false
}
