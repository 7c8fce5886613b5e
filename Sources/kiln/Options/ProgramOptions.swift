import ArgumentParser

/// What kiln reports about its BPF programs.
struct ProgramOptions: ParsableArguments {
    @Flag(name: .customLong("bpf-statistics"), help: "Switch on the kernel's run-time statistics of BPF programs (system-wide, costs time).")
    var bpfStatistics = false

    @Flag(name: .shortAndLong, help: "Print which BPF programs are loaded, where they are attached, how often they ran, and what the kernel refused.")
    var verbose = false
}
