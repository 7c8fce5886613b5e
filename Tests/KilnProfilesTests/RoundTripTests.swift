import Flamegraph
import Testing
@testable import KilnProfiles

/// What is written to pprof and OTLP is read back.
struct RoundTripTests {
    static let session = WrittenSession.full
    static let readers: [(ExportFormat, CollapseFormat)] = [(.pprof, .pprof), (.otlp, .otlp)]

    private func collapsed(
        _ formats: (ExportFormat, CollapseFormat), of kind: String, _ session: WrittenSession = session, _ options: ExportOptions = .init(),
        _ change: (inout CollapseOptions) -> Void = { _ in }
    ) throws -> Collapsed {
        let file = try formats.0.bytes(try session.profile(of: kind), options)
        #expect(CollapseFormat.guess(file, among: [.pprof, .otlp] + CollapseFormat.all)?.name == formats.1.name)
        let collapsed = try Collapsed(formats.1, file, change)
        #expect(collapsed.failure == nil)
        let packed = Gzip.compressed(file)
        #expect(CollapseFormat.guess(packed, among: [.pprof, .otlp])?.name == formats.1.name)
        #expect(try Collapsed(formats.1, packed, change).stacks == collapsed.stacks)
        return collapsed
    }

    @Test(arguments: readers, ["on-cpu", "off-cpu", "page-faults"])
    func theFoldedTextIsThatOfTheSession(formats: (ExportFormat, CollapseFormat), kind: String) throws {
        let collapsed = try collapsed(formats, of: kind)
        let expected = Self.session.folded(kind)
        for (stack, weight) in expected where collapsed.stacks[stack] != weight {
            Issue.record("\(stack.prefix(200)): \(weight), not \(collapsed.stacks[stack] ?? 0)")
        }
        for (stack, weight) in collapsed.stacks where expected[stack] == nil { Issue.record("\(stack.prefix(200)): \(weight) that nothing has") }
        #expect(collapsed.stacks.values.reduce(0, +) == Self.session.weight(of: kind))
        #expect(collapsed.measure.rootsAreProcesses)
        let measure = ["on-cpu": ("samples", nil), "off-cpu": ("ns", "off_cpu"), "page-faults": ("events", "page_faults")][kind]
        #expect(collapsed.measure.unit == measure?.0 && collapsed.measure.event == measure?.1)
    }

    @Test func inlinedFunctionsAsLinesOfALocationAreTheSame() throws {
        var options = ExportOptions()
        options.inlinedAreLines = true
        #expect(try collapsed(Self.readers[0], of: "on-cpu", Self.session, options).stacks == Self.session.folded("on-cpu"))
    }

    @Test(arguments: [(0, "process,command,verdict,phase"), (1, "process.executable.name,kiln.command,kiln.verdict,kiln.phase")])
    func labelsCanStandBelowTheFrames(reader: Int, keys: String) throws {
        let collapsed = try collapsed(Self.readers[reader], of: "on-cpu") { $0.labels = keys.split(separator: ",").map(String.init) }
        #expect(collapsed.stacks == Self.session.folded("on-cpu") { $0.folded([$0.process, $0.command, $0.verdict, $0.phase]) })
        #expect(collapsed.measure.rootsAreProcesses)
    }

    @Test(arguments: [(0, "latency", "latency=", " nanoseconds"), (1, "kiln.latency", "kiln.latency=", " ns")])
    func aNumberStandsWithItsKeyAndUnit(reader: Int, key: String, before: String, after: String) throws {
        let collapsed = try collapsed(Self.readers[reader], of: "on-cpu") { $0.labels = [key] }
        #expect(
            collapsed.stacks
                == Self.session.folded("on-cpu") { sample in sample.folded([sample.band.map { "\(before)\($0[0])\(after)" }]) })
        #expect(!collapsed.measure.rootsAreProcesses)
    }

    @Test(arguments: readers) func labelsCanBeLeftOut(formats: (ExportFormat, CollapseFormat)) throws {
        let collapsed = try collapsed(formats, of: "off-cpu") { $0.labels = [] }
        #expect(collapsed.stacks == Self.session.folded("off-cpu") { $0.folded([]) })
    }

    @Test(arguments: readers) func aLabelThatNoSampleHasIsOneLine(formats: (ExportFormat, CollapseFormat)) throws {
        let file = try formats.0.bytes(try Self.session.profile(of: "on-cpu"), .init())
        let collapsed = try Collapsed(formats.1, file) { $0.labels = ["no\u{1b}thing"] }
        let failure = try #require(collapsed.failure)
        #expect(failure.hasPrefix("no sample has a label no\\x1bthing. There are: ") && !failure.hasSuffix("."))
        #expect(collapsed.stacks.isEmpty)
    }

    @Test(arguments: readers) func placesAndMarksCanBeLeftOut(formats: (ExportFormat, CollapseFormat)) throws {
        let plain = try collapsed(formats, of: "on-cpu") { ($0.showsLines, $0.marksInlined, $0.marksKernel, $0.marksJIT) = (false, false, false, false) }
        #expect(plain.stacks["server;main;get;lookup"] == 13 && plain.stacks["server;main;lookup;lookup"] == 3)
        #expect(plain.stacks["server;main;read"] == 28 && plain.stacks["server;main;read;vfs_read"] == 6)
        #expect(plain.stacks.values.reduce(0, +) == Self.session.weight(of: "on-cpu"))
    }

    @Test func oneTypeOfSeveralCounts() throws {
        let file = try ExportFormat.otlp.bytes(try Self.session.profile(), .init())
        let collapsed = try Collapsed(.otlp, file)
        #expect(collapsed.stacks == Self.session.folded("on-cpu"))
        #expect(collapsed.report.events.map(\.name) == ["samples", "off_cpu", "page_faults"])
        #expect(collapsed.report.events.map(\.isCounted) == [true, false, false])
        #expect(try Collapsed(.otlp, file) { $0.events = ["off_cpu"] }.stacks == Self.session.folded("off-cpu"))
        #expect(
            try Collapsed(.otlp, file) { $0.events = ["cycles"] }.failure
                == "it has no values cycles, only samples, off_cpu, page_faults: name one of them with --event-filter")
        let cpu = try Collapsed(.pprof, try ExportFormat.pprof.bytes(try Self.session.profile(of: "on-cpu"), .init())) { $0.events = ["cpu"] }
        #expect(cpu.stacks == Self.session.folded("on-cpu").mapValues { $0 * 1_000_000_000 / WrittenSession.frequency })
        #expect(cpu.measure.unit == "ns" && cpu.measure.event == nil)
    }

    @Test(arguments: ExportFormat.all.map(\.name)) func aSessionWithoutStacksIsOneLine(name: String) throws {
        let empty = WrittenSession(samples: [])
        let error = try #require(throws: (any Error).self) { try empty.profile() }
        #expect("\(error)".hasPrefix("session has no stacks to export: ") && !"\(error)".contains("\n"))
        // Of another kind there are some, so that the profile has empty series.
        let format = try #require(ExportFormat.all.first { $0.name == name })
        let file = try format.bytes(try WrittenSession(samples: [.init(frames: [.init("main")], weight: 1)]).profile(), .init())
        #expect(!file.isEmpty)
    }
}
