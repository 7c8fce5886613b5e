// What watching costs: `kiln-bench PATH-TO-KILN [ROUNDS] [PART ...]`, as root; parts: server, bpf, tables, names, samples, sampling, trace,
// switching, waiting, syscalls, functions, own, tls, truth, instructions, renew-instructions.
// `kiln-bench PATH-TO-KILN ROUNDS compare [OBSERVER ...]` holds kiln against every other observer, or those with these words in their
// names, and writes Benchmarks/comparison/.
// `kiln-bench PATH-TO-KILN ROUNDS inlined FILE [ADDRESSES]` times how kiln and addr2line name addresses of FILE with the functions inlined there.
// ADDRESSES is a number of random addresses, or a file with offsets in FILE. KILN_BENCH_NAMES: a file for kiln's names.
//
// A redis-server pinned to one CPU, redis-benchmark on another; cells with and without kiln alternate, so that a
// drift of the machine's speed meets all alike. Costs are of the server's CPU clock, not of throughput.
import Foundation

guard CommandLine.arguments.count >= 2 else {
    print("usage: kiln-bench PATH-TO-KILN [ROUNDS] [PART ...]")
    exit(2)
}
let rounds = CommandLine.arguments.count > 2 ? Int(CommandLine.arguments[2]) ?? 5 : 5
let parts: [(name: String, measure: (Bench) throws -> Void)] = [
    ("server", { try $0.serverCPU(rounds: 4 * rounds) }),
    ("bpf", { try $0.bpfTime(rounds: rounds) }),
    ("tables", { try $0.tables() }),
    ("names", { try $0.names() }),
    ("samples", { try $0.sampleTime(rounds: rounds) }),
    ("sampling", { try $0.samplingCPU(rounds: 4 * rounds) }),
    ("switching", { try $0.switching(rounds: rounds) }),
    ("waiting", { try $0.waitingCPU(rounds: 2 * rounds) }),
    ("syscalls", { try $0.timingSyscalls(rounds: 2 * rounds) }),
    ("functions", { try $0.functions(rounds: rounds) }),
    ("trace", { try $0.traceCPU(rounds: 2 * rounds) }),
    ("own", { try $0.ownCost() }),
    ("tls", { try $0.encryptedCPU(rounds: 2 * rounds) }),
    ("truth", { try $0.truth(runs: 20) }),
]
let wanted = Array(CommandLine.arguments.dropFirst(3))

/// Servers end with what holds them: nothing here leaves by exit().
@MainActor func measure() throws {
    let kiln = CommandLine.arguments[1]
    if wanted.first == "compare" {
        let comparison = try Comparison(kiln: kiln, only: Array(wanted.dropFirst()))
        try comparison.run(rounds: rounds)
        return try comparison.write(to: "Benchmarks/comparison", kiln: kiln, rounds: rounds)
    }
    if wanted.first == "inlined" { return try InlinedNaming.measure(Array(wanted.dropFirst()), rounds: rounds) }
    let renews = wanted.contains("renew-instructions")
    if wanted.isEmpty || wanted.contains("instructions") || renews {
        try Instructions.check(scanner: (kiln as NSString).deletingLastPathComponent + "/scanner-count", renews: renews)
    }
    let chosen = parts.filter { wanted.isEmpty || wanted.contains($0.name) }
    guard !chosen.isEmpty else { return }
    let bench = try Bench(kiln: kiln)
    for part in chosen { try part.measure(bench) }
}

do { try measure() } catch {
    FileHandle.standardError.write(Data("kiln-bench: \(error)\n".utf8))
    exit(1)
}
