import Flamegraph
import Foundation
import TestSupport
import Testing
@testable import KilnProfiles

/// `go tool pprof` beside kiln: what it reads of kiln's files, and what kiln reads of Go's.
@Suite(.enabled(if: program("go") != nil, "go is not installed: it is in golang-go"), .serialized)
struct GoTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    private func go(_ arguments: [String]) throws -> String {
        let folder = directory.url.path
        return try Child.output(
            of: ["env", "GO111MODULE=off", "GOFLAGS=", "GOCACHE=\(folder)/cache", "HOME=\(folder)", "PPROF_TMPDIR=\(folder)", "go"] + arguments)
    }

    /// What `go tool pprof -traces` prints, as folded stacks: without labels, the outermost frame first, with the values of samples of one stack added up.
    private func traces(_ file: String, type: String) throws -> [String: UInt64] {
        let text = try go(["tool", "pprof", "-traces", "-unit=\(type == "cpu" || type == "off_cpu" ? "ns" : "B")", "-sample_index=\(type)", file])
        var stacks: [String: UInt64] = [:], value: UInt64?, frames: [String] = []
        func end() {
            if let value, value > 0 { stacks[frames.reversed().joined(separator: ";"), default: 0] += value }
            (value, frames) = (nil, [])
        }
        for line in text.split(separator: "\n").drop(while: { !$0.hasPrefix("-----------+") }) {
            if line.hasPrefix("-----------+") {
                end()
            } else if value == nil, let match = line.wholeMatch(of: #/ *([0-9]+)(?:ns|B)? {3}(.+)/#) {
                value = UInt64(match.1)
                frames.append(withoutMark(match.2))
            } else if value != nil {
                frames.append(withoutMark(line.dropFirst(13)))
            }
            // Lines before a value are labels.
        }
        end()
        return stacks
    }

    private func withoutMark(_ frame: Substring) -> String { String(frame.hasSuffix(" (inline)") ? frame.dropLast(9) : frame) }

    /// Names of a terminal's width and of one line: pprof prints others in its own way.
    private static let session: WrittenSession = {
        var session = WrittenSession.full
        session.samples.removeAll { sample in sample.frames.contains { frame in WrittenSession.hostileNames.contains { frame.text.hasPrefix($0) } } }
        return session
    }()

    @Test(arguments: [("on-cpu", "samples", false), ("on-cpu", "samples", true), ("off-cpu", "off_cpu", false), ("page-faults", "page_faults", false)])
    func tracesOfKilnsFilesAreItsFoldedStacks(kind: String, type: String, inlinedAreLines: Bool) throws {
        var options = ExportOptions()
        options.inlinedAreLines = inlinedAreLines
        let bytes = try ExportFormat.pprof.bytes(try Self.session.profile(of: kind), options)
        let file = try directory.write(Gzip.compressed(bytes), as: "kiln.pb.gz")
        // pprof prints function names without marks and places.
        func plain(_ frame: WrittenSession.Frame) -> String { FunctionName(folded: frame.text).name }
        let expected = Self.session.folded(kind) { $0.frames.map(plain).joined(separator: ";") }
        let traces = try traces(file.path, type: type)
        for (stack, weight) in expected where traces[stack] != weight { Issue.record("\(stack): \(weight), not \(traces[stack] ?? 0)") }
        #expect(traces == expected)
    }

    @Test func pprofShowsTimeLabelsAndTheProgram() throws {
        let bytes = try ExportFormat.pprof.bytes(try Self.session.profile(of: "on-cpu"), .init())
        let file = try directory.write(bytes, as: "kiln.pb").path
        let sum = Self.session.weight(of: "on-cpu")
        let top = try go(["tool", "pprof", "-top", "-unit=ms", file])
        #expect(top.contains("File: server\n") && top.contains("Build ID: 5545a6c7162d325fbe5ffabcbfe4e5521b66ce70\n"))
        #expect(top.contains("Type: cpu\n") && top.contains("Duration: 10s, Total samples = \(sum * 10)ms"))
        let tags = try go(["tool", "pprof", "-tags", "-sample_index=samples", file])
        for key in ["command", "latency", "phase", "process", "thread", "verdict"] { #expect(tags.contains(" \(key): Total "), "\(key)") }
    }

    // MARK: Go's own profiles

    private static let source = """
        package main

        import (
        \t"context"
        \t"os"
        \t"runtime"
        \t"runtime/pprof"
        )

        var sink uint64
        var kept [][]byte

        //go:noinline
        func spin(count int) {
        \tfor i := 0; i < count; i++ {
        \t\tsink = sink*6364136223846793005 + 1442695040888963407
        \t}
        }

        //go:noinline
        func twice() { spin(40_000) }

        //go:noinline
        func once() { spin(20_000) }

        //go:noinline
        func allocate() { kept = append(kept, make([]byte, 1<<20)) }

        func labelled(value string, work func()) {
        \tpprof.Do(context.Background(), pprof.Labels("job", value), func(context.Context) { work() })
        }

        func main() {
        \tcpu, _ := os.Create(os.Args[1])
        \tpprof.StartCPUProfile(cpu)
        \tfor i := 0; i < 10_000; i++ {
        \t\tlabelled("a", twice)
        \t\tlabelled("b", once)
        \t}
        \tpprof.StopCPUProfile()
        \tcpu.Close()
        \tfor i := 0; i < 20; i++ {
        \t\tallocate()
        \t}
        \truntime.GC()
        \theap, _ := os.Create(os.Args[2])
        \tpprof.WriteHeapProfile(heap)
        \theap.Close()
        }
        """

    @Test func profilesOfGoAreReadAsPprofReadsThem() throws {
        let source = try directory.write(Array(Self.source.utf8), as: "main.go").path, folder = directory.url.path
        _ = try go(["build", "-o", "\(folder)/program", source])
        let cpu = "\(folder)/cpu", heap = "\(folder)/heap"
        _ = try Child.output(of: ["\(folder)/program", cpu, heap])

        let bytes = Array(try Data(contentsOf: URL(fileURLWithPath: cpu)))
        #expect(CollapseFormat.guess(bytes, among: [.pprof, .otlp] + CollapseFormat.all)?.name == "pprof")
        func collapsed(_ file: [UInt8], _ change: (inout CollapseOptions) -> Void = { _ in }) throws -> Collapsed {
            try Collapsed(.pprof, file) { options in
                (options.labels, options.marksInlined, options.showsLines) = ([], false, false)
                change(&options)
            }
        }
        let samples = try collapsed(bytes)
        #expect(samples.measure.unit == "samples")
        #expect(try samples.stacks == traces(cpu, type: "samples"))
        #expect(try collapsed(bytes) { $0.events = ["cpu"] }.stacks == traces(cpu, type: "cpu"))
        // Two thirds of the work have one label, a third the other, in turns much shorter than the time between samples.
        let jobs = try collapsed(bytes) { $0.labels = ["job"] }
        func weight(_ job: String) -> Double { Double(jobs.stacks.filter { $0.key.hasPrefix("\(job);") }.values.reduce(0, +)) }
        #expect(weight("a") + weight("b") > 20 && jobs.stacks.values.reduce(0, +) == samples.stacks.values.reduce(0, +))
        let share = weight("a") / (weight("a") + weight("b"))
        #expect(abs(share - 2 / 3.0) < 5 * (2 / 9.0 / (weight("a") + weight("b"))).squareRoot(), "\(share)")
        #expect(jobs.stacks.filter { $0.key.hasPrefix("a;") }.keys.allSatisfy { !$0.contains("main.once") })

        let memory = Array(try Data(contentsOf: URL(fileURLWithPath: heap)))
        let inUse = try collapsed(memory)
        #expect(inUse.measure.unit == "bytes" && inUse.measure.event == "inuse_space")
        #expect(try inUse.stacks == traces(heap, type: "inuse_space"))
        #expect(inUse.stacks.filter { $0.key.hasSuffix("main.allocate") }.values.reduce(0, +) > 10 << 20)
        #expect(try collapsed(memory) { $0.events = ["alloc_objects"] }.stacks == traces(heap, type: "alloc_objects"))
    }
}
