// What watching costs: `kiln-bench PATH-TO-KILN [ROUNDS] [PART ...]`, as root; parts: server, bpf, tables, samples, sampling, trace,
// own.
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
    ("samples", { try $0.sampleTime(rounds: rounds) }),
    ("sampling", { try $0.samplingCPU(rounds: 4 * rounds) }),
    ("trace", { try $0.traceCPU(rounds: 2 * rounds) }),
    ("own", { try $0.ownCost() }),
]
let wanted = CommandLine.arguments.dropFirst(3)
do {
    let bench = try Bench(kiln: CommandLine.arguments[1])
    for part in parts where wanted.isEmpty || wanted.contains(part.name) { try part.measure(bench) }
} catch {
    FileHandle.standardError.write(Data("kiln-bench: \(error)\n".utf8))
    exit(1)
}
