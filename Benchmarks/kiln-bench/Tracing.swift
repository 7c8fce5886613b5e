import Foundation

/// A program that watches until SIGINT and says when it does.
private final class Watcher {
    private let process: Process
    private let errors = Pipe()

    init(_ command: [String]) throws {
        process = try launch(command, errors: errors.fileHandleForWriting)
        try errors.fileHandleForWriting.close()
        var said = ""
        while !said.contains("attached to") {
            let piece = errors.fileHandleForReading.availableData
            guard !piece.isEmpty else { throw BenchFailure("\(command[0]) did not attach: \(said)") }
            said += String(decoding: piece, as: UTF8.self)
        }
    }

    /// What it says at its end.
    func end() -> String {
        process.interrupt()
        let said = errors.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return String(decoding: said, as: UTF8.self)
    }
}

extension Bench {
    /// Server CPU time per command with traces, beside counting alone, and beside one perf-buffer record with 1 KiB of payload for
    /// each receive (kiln-observer, where it was built).
    func traceCPU(rounds: Int) throws {
        let pid = "\(server.pid)"
        var cells: [(name: String, command: [String]?)] = [
            ("nothing", nil), ("kiln redis -F 0", nil),
            ("trace, nothing matches", [kiln, "trace", "redis", "-p", pid, "--command", "NOSUCH"]),
            ("trace, none is as slow", [kiln, "trace", "redis", "-p", pid, "--slower-than", "10000"]),
            ("trace of everything", [kiln, "trace", "redis", "-p", pid, "--brief"]),
        ]
        let shipping = (kiln as NSString).deletingLastPathComponent + "/kiln-observer"
        if FileManager.default.isExecutableFile(atPath: shipping) { cells.append(("1 KiB perf records", [shipping, "ship", pid])) }
        report("Server CPU per command with traces (ns of its CPU clock; medians of \(rounds) interleaved rounds)")
        for workload in Workload.all.prefix(2) {
            var measured = [[Double]](repeating: [], count: cells.count), lost: [String: [String]] = [:]
            for _ in 0..<rounds {
                for (index, cell) in cells.enumerated() {
                    let counting = index == 1 ? try Session(kiln, server.pid, ["--no-syscalls", "-F", "0"]) : nil
                    let watcher = try cell.command.map { try Watcher($0) }
                    let before = try server.clock.nanoseconds()
                    try server.load(workload, share: 0.4)
                    measured[index].append(Double(try server.clock.nanoseconds() - before) / (Double(workload.commands) * 0.4))
                    if let said = watcher?.end() {
                        // A trace says `nothing lost`, or how many of what were; so does the observer.
                        lost[cell.name, default: []].append(said.split(separator: "\n").first { $0.contains("lost") }.map(String.init) ?? "silent")
                    }
                    try counting?.end(expecting: nil)
                }
            }
            reportRatios(cells.map(\.name), measured, workload: workload.name)
            for cell in cells { if let said = lost[cell.name]?.max() { report("  \(cell.name), in one of the rounds: \(said)") } }
        }
        report("")
    }
}
