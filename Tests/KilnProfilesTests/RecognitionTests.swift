import Flamegraph
import SwiftProtobuf
import TestSupport
import Testing
@testable import KilnProfiles

struct RecognitionTests {
    private static let pprof = Pprof_Profile.with {
        $0.stringTable = ["", "samples", "count", "main"]
        $0.sampleType = [.with { ($0.type, $0.unit) = (1, 2) }]
        $0.function = [.with { ($0.id, $0.name) = (1, 3) }]
        $0.location = [
            .with {
                $0.id = 1
                $0.line = [.with { $0.functionID = 1 }]
            }
        ]
        $0.sample = [.with { ($0.locationID, $0.value) = ([1], [3]) }]
        $0.timeNanos = 1_796_040_000_000_000_000
    }

    /// Fields of a message in another order.
    private func file(_ bytes: [UInt8], last: UInt64) -> [UInt8] {
        var fields = ProtobufFields(bytes[...]), rest = bytes.count, others: [UInt8] = [], moved: [UInt8] = []
        while let field = fields.next() {
            let left = fields.count, part = bytes[(bytes.count - rest)..<(bytes.count - left)]
            if field.number == last { moved += part } else { others += part }
            rest = left
        }
        return others + moved
    }

    @Test(arguments: [1, 2, 4, 5, 6, 9] as [UInt64]) func aProfileMayBeginWithAnyField(last: UInt64) throws {
        let file = file(try Self.pprof.serializedBytes(), last: last)
        #expect(PprofReader.recognizes(file) && !OTLPReader.recognizes(file))
        #expect(try Collapsed(.pprof, file).stacks == ["main": 3])
    }

    @Test func theDictionaryMayComeFirst() throws {
        let bytes: [UInt8] = try ExportFormat.otlp.bytes(try WrittenSession.full.profile(), .init())
        let file = file(bytes, last: 1)
        #expect(file != bytes && OTLPReader.recognizes(file) && !PprofReader.recognizes(file))
        #expect(try Collapsed(.otlp, file).stacks == WrittenSession.full.folded("on-cpu"))
    }

    @Test func theBeginningIsEnough() throws {
        for (format, name) in [(ExportFormat.pprof, "pprof"), (.otlp, "otlp")] {
            let file = try format.bytes(try WrittenSession.full.profile(), .init())
            // From a few bytes on.
            for length in stride(from: 40, to: min(file.count, 5_000), by: 7) {
                let found = CollapseFormat.guess(Array(file[..<length]), among: [.pprof, .otlp])
                #expect(found?.name == name, "\(length) bytes of \(name)")
            }
        }
    }

    @Test func textIsNeither() {
        var texts = ["", "a", "main;read 1\n", "# event: cpu\n", "{\"nodes\":[]}", "\u{1f8b}", "Hello\n", "H1\n", "events: Ir\n"].map { Array($0.utf8) }
        texts += (1...300).map { [UInt8](repeating: 0x0a, count: $0) }
        texts += (0...255).map { [UInt8](repeating: $0, count: 64) }
        texts.append([0x1f, 0x8b, 8, 0, 0])
        texts.append(Array("\n\nperf 1 [000] 1.0: 1 cycles:\n\tffff f (x)\n\n".utf8))
        for text in texts { #expect(!PprofReader.recognizes(text) && !OTLPReader.recognizes(text), "\(text.prefix(80))") }
        var random = SeededGenerator(seed: 1), recognized = 0
        for _ in 0..<20_000 {
            let text = (0..<Int.random(in: 1...60, using: &random)).map { _ in [0x0a, 0x0d, 0x20, 0x30, 0x61, 0x09].randomElement(using: &random) ?? UInt8(0) }
            if PprofReader.recognizes(text) || OTLPReader.recognizes(text) {
                recognized += 1
                Issue.record("\(text)")
            }
        }
        #expect(recognized == 0)
    }
}
