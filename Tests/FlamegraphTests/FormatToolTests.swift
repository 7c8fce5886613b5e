import Foundation
import Glibc
import TestSupport
import Testing
@testable import Flamegraph

/// What other tools say of a program whose stacks are known.
@Suite(.serialized) struct FormatToolTests {
    private static func has(_ names: String...) -> Bool { (names + ["gcc"]).allSatisfy { program($0) != nil } }

    private func built(_ name: String, in directory: TemporaryDirectory, _ options: [String] = []) throws -> String {
        let source = PerfScriptTests.fixtures.deletingLastPathComponent().appendingPathComponent("\(name).c").path
        let binary = directory.url.appendingPathComponent(name).path
        _ = try run("gcc", ["-g", "-O1", "-fno-optimize-sibling-calls", "-fno-omit-frame-pointer", source, "-o", binary, "-lpthread"] + options)
        return binary
    }

    private func run(_ name: String, _ arguments: [String]) throws -> [UInt8] {
        let process = Process()
        let output = Pipe()
        process.executableURL = URL(fileURLWithPath: try #require(program(name)))
        process.arguments = arguments
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        process.standardInput = FileHandle.nullDevice
        // gdb waits for a signal.
        try runWithoutBlockedSignals(process)
        let bytes = Array(try output.fileHandleForReading.readToEnd() ?? Data())
        process.waitUntilExit()
        return bytes
    }

    /// Runs a program that waits, and gives its number once it does.
    private func whileWaiting(_ body: (String) throws -> Void) throws {
        let directory = try TemporaryDirectory()
        let process = Process()
        let output = Pipe()
        process.executableURL = URL(fileURLWithPath: try built("waiting", in: directory))
        process.standardOutput = output
        try process.run()
        defer {
            kill(process.processIdentifier, SIGKILL)
            process.waitUntilExit()
        }
        #expect(try output.fileHandleForReading.read(upToCount: 6)?.count == 6)
        // Threads have begun; each needs a moment to wait.
        let tasks = "/proc/\(process.processIdentifier)/task"
        #expect(
            waited(for: 10) {
                let names = (try? FileManager.default.contentsOfDirectory(atPath: tasks)) ?? []
                return names.count == 4 && names.allSatisfy { (try? String(contentsOfFile: "\(tasks)/\($0)/stat", encoding: .utf8))?.contains(") S ") == true }
            })
        try body("\(process.processIdentifier)")
    }

    private func waited(for seconds: Double, _ condition: () -> Bool) -> Bool {
        let end = Date().addingTimeInterval(seconds)
        while !condition() {
            if Date() > end { return false }
            usleep(20_000)
        }
        return true
    }

    /// The part of each stack that the program itself decides, with the thread's name.
    private func own(_ lines: [String]) -> [String: Int] {
        var known: [String: Int] = [:]
        for line in lines {
            let parts = line.split(separator: " ")
            let frames = parts[0].split(separator: ";").map(String.init)
            let named = frames.filter { ["run", "outer", "recurse", "wait_here"].contains($0) }
            guard !named.isEmpty else { continue }
            known[([frames[0]] + named).joined(separator: ";"), default: 0] += Int(parts[1]) ?? 0
        }
        return known
    }

    @Test(.enabled(if: has("gdb"), "there is no gdb or gcc"))
    func gdbTellsTheStacksOfAllThreads() throws {
        try whileWaiting { pid in
            let dump = try run("gdb", ["-p", pid, "-batch", "-nx", "-ex", "thread apply all bt"])
            #expect(CollapseFormat.guess(dump)?.name == "gdb")
            let (lines, collapser) = try #require(read(dump + dump, collapseDefaults))
            #expect(collapser.report.rejectedCount == 0, "\(collapser.report.rejectedLines)")
            #expect(collapser.report.samples == 8)
            #expect(
                own(lines) == [
                    "worker-1;run;outer;wait_here": 2, "worker-2;run;outer;wait_here": 2,
                    "recursion_\"x\":_;run;recurse;recurse;recurse;recurse;wait_here": 2,
                ])
            var options = collapseDefaults
            (options.mergesThreads, options.mergesRecursion) = (true, true)
            let merged = try #require(read(dump, options)).lines
            #expect(own(merged) == ["worker;run;outer;wait_here": 2, "recursion_\"x\":_;run;recurse;wait_here": 1])
        }
    }

    @Test(
        .enabled(if: has("eu-stack"), "there is no eu-stack or gcc"),
        arguments: [[], ["-i"], ["-s"], ["-m"], ["-b"], ["-a"], ["-l"], ["-v"], ["-i", "-a", "-m", "-s"]])
    func euStackTellsTheStacksOfAllThreads(arguments: [String]) throws {
        try whileWaiting { pid in
            let dump = try run("eu-stack", arguments + ["-p", pid])
            #expect(CollapseFormat.guess(dump)?.name == "eu-stack")
            let (lines, collapser) = try #require(read(dump + dump, collapseDefaults))
            #expect(collapser.report.rejectedCount == 0, "\(collapser.report.rejectedLines)")
            #expect(collapser.report.samples == 8)
            #expect(own(lines) == ["[unknown];run;outer;wait_here": 4, "[unknown];run;recurse;recurse;recurse;recurse;wait_here": 2])
        }
    }

    @Test(
        .enabled(if: has("valgrind"), "there is no valgrind or gcc"),
        arguments: [
            [], ["--dump-instr=yes"], ["--dump-instr=yes", "--collect-jumps=yes"], ["--compress-strings=no", "--compress-pos=no"], ["--cache-sim=yes"],
            ["--separate-callers=3"], ["--separate-recs=4"], ["--combine-dumps=yes", "--dump-every-bb=20000"],
        ])
    func callgrindTellsWhatEachFunctionCosts(arguments: [String]) throws {
        let directory = try TemporaryDirectory()
        let output = directory.url.appendingPathComponent("callgrind.out")
        _ = try run("valgrind", ["--tool=callgrind", "--callgrind-out-file=\(output.path)"] + arguments + [try built("calls", in: directory)])
        let text = Array(try Data(contentsOf: output))
        #expect(CollapseFormat.guess(text)?.name == "callgrind")
        let (lines, collapser) = try #require(read(text, collapseDefaults))
        // The reader compares the sum of all costs with the `totals:` of the file.
        #expect(collapser.report.rejectedCount == 0, "\(collapser.report.rejectedLines)")
        let totals = String(decoding: text, as: UTF8.self).split(separator: "\n").filter { $0.hasPrefix("totals: ") }
        #expect(sumOfWeights(Array(lines.joined(separator: "\n").utf8)) == totals.reduce(0) { $0 + (UInt64($1.split(separator: " ")[1]) ?? 0) })
        func cost(_ part: String) -> Double {
            lines.filter { $0.contains(part) }.reduce(0) { $0 + (Double($1.split(separator: " ").last ?? "") ?? 0) }
        }
        if arguments.contains("--separate-callers=3") { return }
        // The loop decides: three times as much.
        #expect(abs(cost("once;leaf") / cost("thrice;leaf") - 1 / 3.0) < 0.01)
        #expect(cost(";fib") > 0 && cost("[recursion];even") > 0 && cost("[recursion];odd") > 0)
    }
}
