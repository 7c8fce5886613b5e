import Foundation
import KilnSymbols
import Testing

/// Broken call frame information gives a table or an error, never a crash, and what is a table is sound.
@Suite(.enabled(if: Tools.compiler, "needs cc (build-essential)"))
struct UnwindDamageTests {
    typealias Seeded = BrokenFileTests.Seeded

    /// An ELF file and where damage hurts.
    struct Victim {
        let bytes: [UInt8]
        let frames: Range<Int>

        init(_ options: [String], section: String) throws {
            let workshop = try Workshop()
            defer { workshop.remove() }
            let path = try workshop.compile(UnwindFixtureTests.frames, to: "program", options)
            bytes = Array(try Data(contentsOf: URL(fileURLWithPath: path)))
            // Lines of `readelf -SW`: [Nr] name type address offset size
            let lines = try run("readelf", ["-SW", path]).split(separator: "\n")
            let fields = try #require(lines.first { $0.contains(" \(section) ") }).split(separator: "]")[1].split(separator: " ")
            let (offset, size) = (try #require(Int(fields[3], radix: 16)), try #require(Int(fields[4], radix: 16)))
            frames = offset..<offset + size
        }
    }

    static let victims = [
        ([String](), ".eh_frame"), (["-g", "-fno-asynchronous-unwind-tables"], ".debug_frame"), (["-static"], ".eh_frame"),
    ]

    static func survives(_ image: [UInt8], _ checks: Bool) -> Bool {
        guard let table = try? UnwindTable(image: image, named: "damaged") else { return false }
        if checks { expectSound(table) }
        for address: UInt64 in [0, table.base, table.base &+ 0x139, 0x401136, .max] { _ = table.row(at: address) }
        return true
    }

    @Test(.enabled(if: Tools.binutils, "needs readelf (binutils)"), arguments: [(0, 4000), (1, 2000), (2, 60)])
    func damagedEntriesGiveATableOrAnError(victim number: Int, images: Int) throws {
        let victim = try Victim(Self.victims[number].0, section: Self.victims[number].1)
        #expect(Self.survives(victim.bytes, true))
        var random = Seeded(seed: UInt64(1789 + number))
        var tables = 0
        for _ in 0..<images {
            var damaged = victim.bytes
            for _ in 0..<Int.random(in: 1...12, using: &random) {
                let place = Int.random(in: victim.frames, using: &random)
                let extremes: [UInt8] = [0, 1, 0x0f, 0x10, 0x16, 0x7f, 0x80, 0xff, UInt8.random(in: 0...255, using: &random)]
                let count = [1, 1, 4, 8][Int.random(in: 0..<4, using: &random)]
                let value = extremes[Int.random(in: 0..<extremes.count, using: &random)]
                for index in place..<min(place + count, damaged.count) { damaged[index] = value }
            }
            if Self.survives(damaged, true) { tables += 1 }
        }
        #expect(tables > images / 10)
        #expect(tables < images)
    }

    @Test func damagedHeadersGiveATableOrAnError() throws {
        let original = try BrokenFileTests.bytes([])
        let sectionHeaders = original[40..<48].reversed().reduce(0) { $0 << 8 | Int($1) }
        let places = Array(0..<800) + Array(sectionHeaders..<original.count)
        var random = Seeded(seed: 99)
        var errors = 0
        for _ in 0..<3000 {
            var damaged = original
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                let place = places[Int.random(in: 0..<places.count, using: &random)] & ~7
                let value: UInt8 = [0, 1, 0x7f, 0x80, 0xff][Int.random(in: 0..<5, using: &random)]
                for index in place..<min(place + [1, 4, 8][Int.random(in: 0..<3, using: &random)], damaged.count) {
                    damaged[index] = value
                }
            }
            if !Self.survives(damaged, true) { errors += 1 }
        }
        #expect(errors > 0)
    }

    @Test func aFileCutAtEveryLengthGivesATableOrAnError() throws {
        let original = try BrokenFileTests.bytes(["-shared", "-fPIC", "-s", "-nostdlib"])
        for length in stride(from: 0, to: original.count, by: 7) { _ = Self.survives(Array(original[..<length]), true) }
        #expect(Self.survives(original, true))
    }
}
