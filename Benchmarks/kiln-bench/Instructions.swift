import Foundation

/// The regression gate: instructions that the scanners take for a command, counted by valgrind on their source compiled for user
/// space. They are the same in each run, on a busy machine too; what changes them is the source, or the compiler.
enum Instructions {
    static let recorded = "Benchmarks/instructions.json"
    /// More than a compiler's or libc's version makes of the same source, less than any change that matters.
    private static let tolerance = 0.05
    private static let workloads = ["get", "get-pipeline", "mixed-pipeline", "set-1000-pipeline", "reply", "reply-elements"]
    private static let commands = 1600

    /// Compare with what is recorded: throws where a workload takes more, or less, because a gain that isn't recorded can be lost unseen.
    /// `renews`: record instead.
    static func check(scanner: String, renews: Bool) throws {
        report("Instructions a command of the scanners (valgrind, user space)")
        let known = renews ? [:] : try JSONDecoder().decode([String: Double].self, from: Data(contentsOf: URL(fileURLWithPath: recorded)))
        // valgrind 3.19 gives up on debugging information that clang writes.
        let bare = NSTemporaryDirectory() + "kiln-bench-\(UUID().uuidString).bare"
        guard try launch(["strip", "-o", bare, scanner]).wait() == 0 else {
            throw BenchFailure("strip failed on \(scanner): is it built, and binutils installed?")
        }
        defer { try? FileManager.default.removeItem(atPath: bare) }
        var counted: [String: Double] = [:], others: [String] = []
        for workload in workloads {
            let once = try count(bare, workload, commands), twice = try count(bare, workload, 2 * commands)
            let each = Double(twice - once) / Double(commands)
            counted[workload] = (each * 100).rounded() / 100
            guard !renews else { continue }
            guard let before = known[workload] else { throw BenchFailure("\(recorded) has no \(workload): renew it by the part renew-instructions") }
            let change = each / before - 1
            if abs(change) > tolerance { others.append("\(workload) \(percent(change))") }
            report(row([workload, decimal(each), "recorded \(decimal(before))", percent(change)]))
        }
        if renews {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
            try (encoder.encode(counted) + Data("\n".utf8)).write(to: URL(fileURLWithPath: recorded))
            report("  wrote \(recorded)")
        }
        guard others.isEmpty else {
            throw BenchFailure(
                "the scanners take other numbers of instructions than recorded: \(others.joined(separator: ", ")). If that is meant, renew \(recorded) by the part renew-instructions."
            )
        }
        report("")
    }

    private static func count(_ scanner: String, _ workload: String, _ commands: Int) throws -> Int {
        let errors = scanner + ".errors"
        defer { try? FileManager.default.removeItem(atPath: errors) }
        let status = try launch(
            ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", scanner, workload, "\(commands)"], errors: errors
        ).wait()
        let said = (try? String(contentsOfFile: errors, encoding: .utf8)) ?? ""
        // ==123== Collected : 456
        guard status == 0, let line = said.split(separator: "\n").first(where: { $0.contains("Collected :") }),
            let number = line.split(separator: " ").last.flatMap({ Int($0) })
        else { throw BenchFailure("valgrind didn't count: \(said.suffix(300))") }
        return number
    }
}
