import Flamegraph
import Foundation
import SwiftProtobuf
import TestSupport
import Testing
@testable import KilnProfiles

/// Damaged files are read or refused with a reason, and nothing else happens. `KILN_MUTATIONS=1000000` tries more of them.
struct DamageTests {
    private static let mutations = ProcessInfo.processInfo.environment["KILN_MUTATIONS"].flatMap(Int.init) ?? 20_000

    /// A session with a few stacks of each kind of frame, so that each byte is hit often.
    private static let small: WrittenSession = {
        var session = WrittenSession(samples: [])
        session.modules = [("/bin/a", "ab12"), ("/b.so", nil)]
        typealias Sample = WrittenSession.Sample
        session.samples = [
            Sample(frames: [.init("main", 0), .init("f (a.c:1)_[i]", 1), .init("g_[k]")], weight: 3),
            Sample(
                thread: "t", command: "GET", phase: "exec", verdict: "slow", band: [8, 16], frames: [.init("main", 0), .init("j_[j]")], interval: 2, weight: 5),
            Sample(kind: "off-cpu", state: "sleeping", frames: [.init("main", 0)], weight: 7),
        ]
        return session
    }()

    @Test(arguments: ["pprof", "otlp"]) func mutationsAreReadOrRefused(name: String) throws {
        let (writer, reader) = name == "pprof" ? (ExportFormat.pprof, CollapseFormat.pprof) : (.otlp, .otlp)
        var profile = try Self.small.profile()
        if name == "pprof" { profile.series.removeLast(2) }
        var options = ExportOptions()
        options.inlinedAreLines = true
        let whole = try writer.bytes(profile, options)
        let sum = Self.small.weight(of: "on-cpu")
        #expect(try Collapsed(reader, whole).stacks.values.reduce(0, +) == sum)
        var random = SeededGenerator(seed: 17), refused = 0, read = 0
        for _ in 0..<Self.mutations {
            let collapsed = try Collapsed(reader, mutated(whole, &random)) { options in
                if Bool.random(using: &random) {
                    options.labels = nil
                } else {
                    options.labels = ["thread", "thread.name"].filter { _ in Bool.random(using: &random) }
                }
                options.mergesRecursion = Bool.random(using: &random)
            }
            if let failure = collapsed.failure {
                refused += 1
                #expect(!failure.isEmpty && failure == failure.filter { !$0.isNewline } && collapsed.stacks.isEmpty)
            } else {
                read += 1
            }
        }
        print("\(name), \(whole.count) bytes: of \(Self.mutations) mutations \(refused) are refused, \(read) are read")
        #expect(refused > 0 && read > 0)
    }

    @Test func mutationsOfCompressedFilesAreReadOrRefused() throws {
        let whole = Gzip.compressed(try ExportFormat.otlp.bytes(try Self.small.profile(), .init()))
        var random = SeededGenerator(seed: 3)
        for _ in 0..<2_000 {
            let file = mutated(whole, &random)
            _ = CollapseFormat.guess(file, among: [.pprof, .otlp])
            let collapsed = try Collapsed(.otlp, file)
            #expect(collapsed.failure != nil || !collapsed.stacks.isEmpty || collapsed.report.samples == 0)
        }
    }

    private func mutated(_ whole: [UInt8], _ random: inout SeededGenerator) -> [UInt8] {
        var file = whole
        for _ in 0...Int.random(in: 0..<4, using: &random) where !file.isEmpty {
            let place = Int.random(in: 0..<file.count, using: &random)
            switch Int.random(in: 0..<7, using: &random) {
            case 0: file[place] = .random(in: .min ... .max, using: &random)
            case 1: file[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            case 2: file.remove(at: place)
            case 3: file.insert(.random(in: .min ... .max, using: &random), at: place)
            case 4: file.removeLast(file.count - place)
            case 5:
                // A piece of the file at another place.
                let other = Int.random(in: 0..<file.count, using: &random)
                file.insert(contentsOf: file[other..<min(other + 20, file.count)], at: place)
            default:
                // A number as large as can be.
                file.replaceSubrange(place...place, with: [UInt8](repeating: 0xff, count: Int.random(in: 1...9, using: &random)) + [1])
            }
        }
        return file
    }
}
